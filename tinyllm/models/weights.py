"""From the tensors of a file to the parameters of a model: the right ones, of one dtype."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tinyllm.backend import Backend, Params
from tinyllm.checkpoints import check_plan, release
from tinyllm.errors import CheckpointError
from tinyllm.models.architecture import Config, architecture

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
SLOW = 2**20  # bytes of a tensor that is worth a word
BUFFERS = ("rotary_emb.inv_freq",)  # RoPE's frequencies, which old files hold beside the weights


def load_params(
    xp: Backend,
    tensors: Mapping[str, Any],
    config: Config,
    *,
    dtype: str,
    storage: str | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Params:
    """Convert the tensors of a checked plan, one at a time; `report` hears of each large one.

    Matrices are converted to `storage`, all else to `dtype`, and matrices too where it is None.

    Those that have the dtype already stay views of the file, where the backend allows. Of the
    others no more than one is in memory twice.
    """
    params: Params = {}
    shapes = architecture(config).param_shapes(config)
    for done, (name, shape) in enumerate(shapes.items()):
        if tensors[name].nbytes >= SLOW:
            report(f"{done} of {len(shapes)} tensors")
        wanted = storage if storage is not None and len(shape) == 2 else dtype
        converted = tensors[name].astype(wanted, copy=False)
        params[name] = xp.asarray(converted)
        if params[name] is not tensors[name]:
            release(tensors[name])
    return params


def check_params(
    tensors: Mapping[str, Any], config: Config, *, where: str, tie: bool | None = None
) -> Config:
    """Check all names and shapes against the config, before any data is read.

    Returns the config with `tie_embeddings` as decided (see `decide_tie`). Raises CheckpointError
    that lists all that does not fit.
    """
    config = decide_tie(config, tensors, tie, where)
    unused = (HEAD,) if config.tie_embeddings else ()
    shapes = architecture(config).param_shapes(config)
    check_plan(shapes, tensors, where, ignore=(*BUFFERS, *unused))
    return config


def decide_tie(config: Config, tensors: Mapping[str, Any], tie: bool | None, where: str) -> Config:
    """Say whether the head is the embedding table: by config and file together, or by `tie`.

    Raises CheckpointError where the two contradict each other and `tie` does not decide.
    """
    if tie is not None:
        return replace(config, tie_embeddings=tie)
    if EMBEDDING not in tensors:
        return config  # the strict plan has more to say about that
    has_head = HEAD in tensors
    if config.tie_embeddings and has_head and not _equal(tensors[HEAD], tensors[EMBEDDING]):
        raise CheckpointError(
            f"{where}: tie_word_embeddings is true, but {HEAD} differs from {EMBEDDING}; "
            f"--tie yes uses the embedding as head, --tie no the file's own head"
        )
    if not config.tie_embeddings and not has_head:
        raise CheckpointError(
            f"{where}: {HEAD} is missing and tie_word_embeddings is not true; if the head is the "
            f"embedding, --tie yes says so"
        )
    return config


def _equal(a: Any, b: Any) -> bool:
    return a.shape == b.shape and bool((a == b).all())
