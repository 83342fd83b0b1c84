"""From the tensors of a file to the parameters of a model: the right ones, of one dtype."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tinyllm.backend import Backend, Params
from tinyllm.checkpoints import check_plan, release
from tinyllm.errors import CheckpointError
from tinyllm.models.architecture import Config, architecture
from tinyllm.models.storage import kept
from tinyllm.models.stored import (
    Names,
    Stored,
    put_together,
    stored_plan,
    stored_shape,
    taken_apart,
)

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

    All is kept in `dtype`, but for what `storage` says (see `tinyllm.models.storage`).

    Those that have the dtype and layout already stay views of the file, where the backend allows.
    Of the others no more than one is in memory twice.
    """
    params: Params = {}
    shapes = architecture(config).param_shapes(config)
    named = _named(tensors, config)
    for name, stored in _plan(config).items():
        tensor = named[name]
        if tensor.nbytes >= SLOW:
            report(f"{len(params)} of {len(shapes)} tensors")
        parts = taken_apart(tensor, stored, [shapes[part] for part in stored.names])
        for part, x in zip(stored.names, parts, strict=True):
            params[part] = kept(xp, part, x, dtype=dtype, storage=storage)
        if all(params[part] is not tensor for part in stored.names):
            release(tensor)
    return {name: params[name] for name in shapes}


def parameters_in(tensors: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Return the parameters that the tensors of a file hold, in the file's dtypes."""
    shapes, named = architecture(config).param_shapes(config), _named(tensors, config)
    params: dict[str, Any] = {}
    for name, stored in _plan(config).items():
        parts = taken_apart(named[name], stored, [shapes[part] for part in stored.names])
        params |= dict(zip(stored.names, parts, strict=True))
    return {name: params[name] for name in shapes}


def stored_tensors(params: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Undo `parameters_in`: return the tensors as the files of the config's family hold them.

    `params` are in NumPy; gradients, which have the same names and shapes, are as welcome.
    """
    return {
        name: put_together([params[part] for part in stored.names], stored)
        for name, stored in _plan(config).items()
    }


def check_params(
    tensors: Mapping[str, Any], config: Config, *, where: str, tie: bool | None = None
) -> Config:
    """Check all names and shapes against the config, before any data is read.

    Returns the config with `tie_embeddings` as decided (see `decide_tie`). Raises CheckpointError
    that lists all that does not fit.
    """
    config = decide_tie(config, tensors, tie, where)
    kind = architecture(config)
    names, shapes = kind.names(config), kind.param_shapes(config)
    unused = (_in_file(HEAD, names),) if config.tie_embeddings else ()
    plan = {
        name: stored_shape(stored, [shapes[part] for part in stored.names])
        for name, stored in _plan(config).items()
    }
    ignore = (*BUFFERS, *names.buffers, *unused)
    check_plan(plan, _named(tensors, config), where, ignore=ignore)
    return config


def _plan(config: Config) -> dict[str, Stored]:
    kind = architecture(config)
    return stored_plan(list(kind.param_shapes(config)), kind.names(config))


def _named(tensors: Mapping[str, Any], config: Config) -> Mapping[str, Any]:
    """Give names the prefix that the file left out, and the ends that they have today."""
    names = architecture(config).names(config)
    if names.leaves:
        tensors = {_with_leaf(name, names.leaves): tensor for name, tensor in tensors.items()}
    if not names.prefix or any(name.startswith(names.prefix) for name in tensors):
        return tensors
    head = _in_file(HEAD, names)
    return {x if x == head else names.prefix + x: tensor for x, tensor in tensors.items()}


def _with_leaf(name: str, leaves: Mapping[str, str]) -> str:
    module, dot, leaf = name.rpartition(".")
    return module + dot + leaves.get(leaf, leaf)


def _in_file(name: str, names: Names) -> str:
    (stored,) = stored_plan([name], names)
    return stored


def decide_tie(config: Config, tensors: Mapping[str, Any], tie: bool | None, where: str) -> Config:
    """Say whether the head is the embedding table: by config and file together, or by `tie`.

    Raises CheckpointError where the two contradict each other and `tie` does not decide.
    """
    if tie is not None:
        return replace(config, tie_embeddings=tie)
    named, names = _named(tensors, config), architecture(config).names(config)
    embedding, head = _in_file(EMBEDDING, names), _in_file(HEAD, names)
    if embedding not in named:
        return config  # the strict plan has more to say about that
    has_head = head in named
    if config.tie_embeddings and has_head and not _equal(named[head], named[embedding]):
        raise CheckpointError(
            f"{where}: tie_word_embeddings is true, but {head} differs from {embedding}; "
            f"--tie yes uses the embedding as head, --tie no the file's own head"
        )
    if not config.tie_embeddings and not has_head:
        raise CheckpointError(
            f"{where}: {head} is missing and tie_word_embeddings is not true; if the head is the "
            f"embedding, --tie yes says so"
        )
    return config


def _equal(a: Any, b: Any) -> bool:
    return a.shape == b.shape and bool((a == b).all())
