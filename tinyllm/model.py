"""A model as a user holds it: load, score, trace, differentiate, generate, save."""

import os
import secrets
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tinyllm.backend import Array, Backend, Params, get_backend
from tinyllm.checkpoints import (
    find_model,
    read_config,
    read_generation_config,
    read_weights,
    require_folder,
    write_checkpoint,
)
from tinyllm.errors import UsageError
from tinyllm.evaluation.scoring import target_logprobs
from tinyllm.inference.encoding import Guess, fill_mask, text_vectors
from tinyllm.inference.generation import (
    Generation,
    GenerationOptions,
    Row,
    Run,
    check_room,
    rng_for,
)
from tinyllm.inference.reader import make_reader
from tinyllm.inference.session import Session, UncachedSession
from tinyllm.inference.stops import StopStrings
from tinyllm.inference.translation import Translation, translate_ids
from tinyllm.key_reader import KeyReader
from tinyllm.models.architecture import Config, architecture, require_use, understand
from tinyllm.models.config_json import read_eos
from tinyllm.models.cost import check_memory, memory_needed
from tinyllm.models.encoder_config import EncoderConfig
from tinyllm.models.positions import Learned
from tinyllm.models.seq2seq import Pair
from tinyllm.models.seq2seq_config import Seq2SeqConfig
from tinyllm.models.storage import BITS, STORAGES
from tinyllm.models.weights import check_params, load_params, stored_tensors
from tinyllm.ops.losses import IGNORED, cross_entropy_backward, cross_entropy_forward
from tinyllm.ops.quantization import Quantized
from tinyllm.params import nest
from tinyllm.shown import plain, quantity
from tinyllm.tokenizers import Tokenizer, check_rows, has_tokenizer, load_tokenizer
from tinyllm.tokenizers.frames import source_ids

Prompt = str | Sequence[int]  # text, or token ids as they are
DTYPES = ("float32", "float64")


def load(
    path: str | os.PathLike[str] | None = None,
    *,
    backend: str = "numpy",
    dtype: str = "float32",
    storage: str | None = None,
    tie: bool | None = None,
    context: int = 0,
    force: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> "Model":
    """Load a model from a folder, or from the local Hugging Face cache by its id, `org/name`.

    Without a path it is the model that ships with the package.

    The weights are computed with in `dtype`, float32 or float64, whatever the file holds. `storage`
    "bfloat16" and "float16" keep the matrices in 16 bits, for inference only: on the CPU they are
    widened as they are used, half the memory and slower; a GPU multiplies them as they are. "int8"
    and "int4" round them, too (`tinyllm.models.storage`).
    `tie` says whether the head is the embedding table, where config and file contradict each other.
    A model whose weights, and KV cache for `context` tokens, take more memory than there is, is not
    loaded unless by `force`. `report` hears, line by line, how far it is.
    Raises TinyllmError with one line on what is wrong and what to do.
    """
    if dtype not in DTYPES:
        raise UsageError(f"dtype is {dtype!r}, expected {' or '.join(DTYPES)}")
    xp = get_backend(backend)
    storage = _checked_storage(storage, dtype)
    folder = find_model(path)
    require_folder(folder)
    config = understand(KeyReader(read_config(folder), plain(folder / "config.json")))
    where = plain(folder / "generation_config.json")
    eos_ids = read_eos(KeyReader(read_generation_config(folder), where), config.vocab_size)
    tokenizer = load_tokenizer(folder) if has_tokenizer(folder) else None
    tensors = read_weights(folder)
    config = check_params(tensors, config, where=plain(folder), tie=tie)
    if not force:
        check_memory(config, context, dtype, plain(folder), storage, xp.free_memory())
    needed = quantity(memory_needed(config, context, dtype, storage), "B")
    params = load_params(
        xp, tensors, config, dtype=dtype, storage=storage,
        report=lambda done: report(f"loading {needed} in {storage or dtype}: {done}"),
    )  # fmt: skip
    return Model(config, params, xp=xp, tokenizer=tokenizer, eos_ids=eos_ids)


def _checked_storage(storage: str | None, dtype: str) -> str | None:
    """Return the dtype of matrices that are kept narrower than they are computed with, or None."""
    if storage is None or storage == dtype:
        return None
    if storage not in STORAGES:
        raise UsageError(f"storage is {storage!r}, expected {' or '.join((dtype, *STORAGES))}")
    if dtype != "float32":
        raise UsageError(f"storage {storage} is widened to float32, and dtype is {dtype}")
    return storage


class Model:
    """A language model with its parameters, and its tokenizer if it has one.

    `params` is a flat dict in a checkpoint's names, all arrays of the backend `xp`. To change a
    parameter, put another array in its place; where the backend can, it keeps the arrays from being
    written to, for copies in other layouts would not follow.
    """

    def __init__(
        self,
        config: Config,
        params: Params,
        *,
        xp: Backend,
        tokenizer: Tokenizer | None = None,
        eos_ids: Sequence[int] = (),
    ) -> None:
        """`eos_ids` end a text, beside those of the config and the tokenizer.

        Raises CheckpointError where the tokenizer has more tokens than the model has embeddings.
        """
        if tokenizer is not None:
            check_rows(tokenizer, config.vocab_size)
        self.config, self.xp, self.tokenizer = config, xp, tokenizer
        self._kind = architecture(config)
        self.params = {name: _read_only(x) for name, x in params.items()}
        self._nested: tuple[list[Array], dict[str, Any]] = ([], {})
        self._packed: tuple[dict[str, Any] | None, dict[str, Any]] = (None, {})
        own = () if tokenizer is None or tokenizer.eos_id is None else (tokenizer.eos_id,)
        self.eos_ids = frozenset([*config.eos_ids, *eos_ids, *own])

    def to_backend(self, name: str) -> "Model":
        """Return the model on another backend, with the same weights in the same dtypes.

        Raises UsageError for a name that there is not, and BackendUnavailableError.
        """
        xp = get_backend(name)

        def moved(x: Any) -> Any:
            if isinstance(x, Quantized):
                return Quantized(bits=x.bits, values=moved(x.values), scales=moved(x.scales))
            return xp.asarray(self.xp.to_numpy(x))

        params = {name: moved(x) for name, x in self.params.items()}
        return Model(
            self.config, params, xp=xp, tokenizer=self.tokenizer, eos_ids=sorted(self.eos_ids)
        )

    def forward(self, tokens: Any) -> Array:
        """Score every next token.

        tokens (B, T) -> logits (B, T, V)

        `tokens` may be a list of lists; an encoder-decoder takes a `Pair` of sources (B, S) and
        targets (B, T). Raises UsageError for ids that the model does not have.
        """
        hidden = self._hidden_states(self._host_batch(tokens))
        return self._kind.head(self.xp, hidden, self._tree(), self.config)[0]

    def logprobs(self, tokens: Any, targets: Any) -> Any:
        """Return the log-probability of each target in nats, and 0 for a target of -100.

        tokens (B, T), targets (B, T) -> (B, T), in NumPy's float64

        There are never the logits of all tokens at once. Raises UsageError for ids that the model
        does not have, and targets of another shape than tokens.
        """
        ids, wanted = self._host_pair(tokens, targets)
        xp, tree, hidden = self.xp, self._tree(), self._hidden_states(ids)
        return target_logprobs(
            xp, hidden, wanted, lambda rows: self._kind.head(xp, rows, tree, self.config)[0],
            self.config.vocab_size,
        )  # fmt: skip

    def _hidden_states(self, ids: Any) -> Array:
        """Run all but the head: ids (B, T), on the host -> (B, T, D)."""
        xp, tree, config = self.xp, self._tree(), self.config
        if self._kind.scores_stay(config):
            return make_reader(xp, tree, config, batch=len(ids), capacity=ids.shape[1]).read(ids)
        return self._kind.hidden_states(xp, self._kind.inputs(xp, ids), tree, config)

    def trace(self, tokens: Any, names: Sequence[str]) -> tuple[Array, dict[str, Array]]:
        """Score every next token, and return activations by name (see `tinyllm.models.trace`)."""
        ids = self._kind.inputs(self.xp, self._host_batch(tokens))
        logits, saved = self._kind.forward(self.xp, ids, self._tree(), self.config)
        return logits, self._kind.traced(self.xp, saved, names)

    def loss_and_grads(self, tokens: Any, targets: Any) -> tuple[float, Params]:
        """Return the mean cross-entropy in nats and its gradient for every parameter.

        tokens (B, T), targets (B, T)

        A target of -100 is not counted. Raises UsageError where targets have another shape than
        tokens, or weights are stored narrower than they are computed with.
        """
        if len({x.dtype for x in self.params.values()}) > 1:
            raise UsageError("gradients need all weights in one dtype: load without `storage`")
        xp, (batch, wanted) = self.xp, self._host_pair(tokens, targets)
        checked, ids = xp.asarray(wanted), self._kind.inputs(xp, batch)
        logits, saved = self._kind.forward(xp, ids, self._tree(), self.config)
        loss, s_loss = cross_entropy_forward(xp, logits, checked)
        dlogits, _ = cross_entropy_backward(xp, xp.ones_like(loss), s_loss)
        _, grads = self._kind.backward(xp, dlogits, saved)
        return float(loss), grads

    def generate(self, prompt: Prompt, **options: Any) -> Generation:
        """Continue a prompt. `options` are the fields of `GenerationOptions`: max_tokens …

        Raises UsageError for an option out of range, or a prompt that fills the context.
        """
        return self.generate_batch([prompt], **options)[0]

    def generate_batch(self, prompts: Sequence[Prompt], **options: Any) -> list[Generation]:
        """Continue several prompts at once; each draws the same random numbers as anywhere else."""
        run = self.run(prompts, **options)
        for _ in run:
            pass
        return run.results()

    def stream(self, prompt: Prompt, **options: Any) -> Iterator[str]:
        """Continue a prompt, piece by piece; no piece has a broken character."""
        return (piece for _, piece in self.run([prompt], **options) if piece)

    def run(self, prompts: Sequence[Prompt], **options: Any) -> Run:
        """Prepare to continue several prompts: iterate over the result, then ask it for results."""
        require_use(self.config, "generate")
        chosen = GenerationOptions(**options)
        ids = [self.encode_prompt(prompt) for prompt in prompts]
        if not ids:
            raise UsageError("there is no prompt")
        context = self.config.max_seq_len if chosen.context is None else chosen.context
        room = [check_room(len(row), chosen.max_tokens, context) for row in ids]
        self._check_reach(max(len(row) + more for row, more in zip(ids, room, strict=True)))
        seed = secrets.randbits(32) if chosen.seed is None else chosen.seed
        rows = [
            Row(
                prompt=row,
                max_tokens=room[index],
                rng=rng_for(seed, index),
                text_stream=self._text_stream(row),
                stops=StopStrings(chosen.stop),
            )
            for index, row in enumerate(ids)
        ]
        return Run(
            rows,
            Session(self.xp, self._packed_tree(), self.config, ids, max_tokens=max(room))
            if chosen.use_cache
            else UncachedSession(self.xp, self._tree(), self.config, ids),
            chosen,
            seed=seed,
            eos_ids=frozenset() if chosen.ignore_eos else self.eos_ids,
            vocab_size=self.tokenizer.vocab_size if self.tokenizer else self.config.vocab_size,
        )

    def fill_mask(self, text: str, *, top: int = 5) -> list[list[Guess]]:
        """Return the likeliest tokens for each mask of a text: see `tinyllm.inference.encoding`.

        Raises UsageError for a model that is no encoder, or a text without a mask.
        """
        config, tokenizer = self._encoder()
        return fill_mask(self.xp, self._tree(), config, tokenizer, text, top)

    def embed(self, texts: Sequence[str], *, pooling: str = "mean") -> Any:
        """Make one vector of each text, pooled by mean, cls, max or pooler.

        texts (B) -> vectors (B, D), in NumPy

        Raises UsageError for a model that is no encoder, or one that lacks the pooler.
        """
        config, tokenizer = self._encoder()
        return text_vectors(self.xp, self._tree(), config, tokenizer, texts, pooling)

    def translate(
        self, text: Prompt, *, beams: int = 4, alpha: float = 0.6, max_tokens: int = 256
    ) -> Translation:
        """Return the likeliest target text of a source that beam search finds; one beam is greedy.

        For models such as Marian, BART and T5, whose task is in the text ("translate English to
        German: …"). `alpha` is that of `tinyllm.inference.beam.length_penalty`. Raises UsageError
        for another kind of model, or a text that it cannot read.
        """
        require_use(self.config, "translate")
        assert isinstance(self.config, Seq2SeqConfig)
        tokenizer = self.tokenizer
        if isinstance(text, str) and tokenizer is not None:
            ids = source_ids(tokenizer, text)
        else:
            ids = self.encode_prompt(text)
        best, *_ = translate_ids(
            self.xp, self._tree(), self.config, ids, beams=beams, alpha=alpha,
            max_tokens=max_tokens, stop_tokens=self.eos_ids,
            allowed=None if tokenizer is None else tokenizer.vocab_size,
        )  # fmt: skip
        tokens = list(best.tokens[:-1] if best.ended else best.tokens)
        return Translation(
            text="" if tokenizer is None else tokenizer.decode(tokens), tokens=tokens,
            logprob=best.logprob, score=best.score,
            finish_reason="stop" if best.ended else "length",
        )  # fmt: skip

    def _encoder(self) -> tuple[EncoderConfig, Tokenizer]:
        require_use(self.config, "fill-mask")
        assert isinstance(self.config, EncoderConfig)
        if self.tokenizer is None:
            raise UsageError("the model's folder has no tokenizer, which makes tokens of a text")
        return self.config, self.tokenizer

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """Return the ids of a prompt, BOS first where the model was trained so.

        Raises UsageError for an empty prompt to a model without BOS, or without a tokenizer.
        """
        if isinstance(prompt, str):
            if self.tokenizer is None:
                raise UsageError("the model's folder has no tokenizer: give token ids as prompt")
            ids = self.tokenizer.encode(prompt, bos=self.tokenizer.add_bos)
        elif isinstance(prompt, bytes | bytearray):
            raise UsageError("the prompt is bytes, expected a text or token ids: decode it first")
        else:
            ids = self._host_tokens([list(prompt)])[0].tolist()
        if not ids:
            bos = self.config.bos_id if self.tokenizer is None else self.tokenizer.bos_id
            begin = "this model has no BOS token to begin with"
            if bos is not None:
                begin = f"no BOS comes before ids by itself: give [{bos}] to begin with it"
            raise UsageError(f"the prompt is empty, and {begin}")
        return ids

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model as a folder that `load` and transformers read.

        A model that is there is replaced. Raises UsageError where weights were rounded to whole
        numbers, or no folder is named; TokenizerError where another tokenizer's file in it would
        be read with the new weights.
        """
        if not os.fspath(folder):
            raise UsageError("the folder's name is empty; '.' is the one where Python runs")
        if self.tokenizer is not None:
            self.tokenizer.files_for(os.fspath(folder))  # refuses before anything is replaced
        if any(x.dtype in BITS for x in self.params.values()):
            raise UsageError("rounded weights are not for others: load without `storage` to save")
        dtype = next(iter(self.params.values())).dtype
        host = {name: np.asarray(self.xp.to_numpy(x)) for name, x in self.params.items()}
        generation = {"eos_token_id": sorted(self.eos_ids)} if self.eos_ids else None
        config_json = self._kind.write_config(self.config, str(dtype))
        write_checkpoint(folder, config_json, stored_tensors(host, self.config), generation)
        if self.tokenizer is not None:
            self.tokenizer.save(os.fspath(folder))

    def _check_reach(self, tokens: int) -> None:
        """Refuse texts of more tokens than there are positions; warn beyond the config's."""
        longest = self.config.max_seq_len
        if tokens - 1 <= longest:  # the last is drawn, and not read
            return
        if isinstance(getattr(self.config, "positions", None), Learned):
            raise UsageError(
                f"prompt and answer may have {tokens} tokens, and the model learned {longest} "
                f"positions: expected a smaller context or max_tokens"
            )
        if not self._kind.scores_stay(self.config):  # RoPE's dynamic scaling is made for this
            return
        warnings.warn(
            f"prompt and answer may have {tokens} tokens, and the model was made for {longest}: "
            f"what it says beyond them may be poor",
            stacklevel=4,
        )

    def _tree(self) -> dict[str, Any]:
        """Return the parameters nested, anew where one was replaced."""
        before, now = self._nested[0], list(self.params.values())
        if len(before) != len(now) or any(a is not b for a, b in zip(before, now, strict=True)):
            self._nested = (now, nest(self.params))
        return self._nested[1]

    def _packed_tree(self) -> dict[str, Any]:
        """Return them in the layout for inference, made when it is first needed."""
        tree = self._tree()
        if self._packed[0] is not tree:
            self._packed = (tree, self._kind.pack(self.xp, tree))
        return self._packed[1]

    def _text_stream(self, prompt: Sequence[int]) -> Any:
        if self.tokenizer is None:
            return _NoText()
        special = set(self.tokenizer.special_tokens.values())
        return self.tokenizer.stream(at_start=all(token in special for token in prompt))

    def _host_batch(self, tokens: Any) -> Any:
        if isinstance(tokens, Pair):
            require_use(self.config, "translate")
            return Pair(self._host_batch(tokens.source), self._host_batch(tokens.target))
        array = self._host_tokens(tokens)
        if not array.size:
            raise UsageError(f"tokens have shape {array.shape}: there is none, expected at least 1")
        return array

    def _host_pair(self, tokens: Any, targets: Any) -> tuple[Any, Any]:
        """Check ids and their targets, each target in the place of the token before it."""
        ids, wanted = self._host_batch(tokens), self._host_tokens(targets, ignored=True)
        shape = (ids.target if isinstance(ids, Pair) else ids).shape
        if wanted.shape != shape:
            raise UsageError(
                f"targets have shape {wanted.shape}, and tokens {shape}: expected one target for "
                f"each token"
            )
        return ids, wanted

    def _host_tokens(self, tokens: Any, *, ignored: bool = False) -> Any:
        """Check ids once, where they enter: CuPy would wrap bad ones around in silence."""
        try:
            array = np.asarray(self.xp.to_numpy(tokens) if hasattr(tokens, "dtype") else tokens)
        except ValueError as error:  # of rows that differ in length
            raise UsageError(
                "tokens are rows of different lengths, expected equal ones, (B, T): cut them, or "
                "give each alone"
            ) from error
        if array.ndim != 2 or (array.size and array.dtype.kind not in "iu"):
            raise UsageError(
                f"tokens have shape {array.shape} and dtype {array.dtype}, expected whole numbers "
                f"in rows of equal length, (B, T)"
            )
        bad = (array < 0) | (array >= self.config.vocab_size)
        if ignored:
            bad &= array != IGNORED
        if bad.any():
            raise UsageError(
                f"token id {array[bad][0]} is not in the model's vocabulary, 0 to "
                f"{self.config.vocab_size - 1}"
            )
        return array.astype(np.int64)


def _read_only(x: Array) -> Array:
    """Return a view that cannot be written to, where the backend has such views."""
    if isinstance(x, np.ndarray):
        x = x.view()
        x.flags.writeable = False
    return x


class _NoText:
    """Stands in for a tokenizer's stream where the model has none: there are ids, and no text."""

    def push(self, token: int) -> str:
        return ""

    def flush(self) -> str:
        return ""
