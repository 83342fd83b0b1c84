"""From prompts to texts: run the model, choose tokens, turn them into characters, know the end."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Protocol

import numpy as np

from tinyllm.decode_plan import Drawing
from tinyllm.errors import TinyllmError, UsageError
from tinyllm.inference.decode import CompiledReader
from tinyllm.inference.sampling import NAN_SCORES, Sampling, check_range, choose_token
from tinyllm.inference.stops import StopStrings

LARGEST_SEED = 2**64 - 1
AHEAD = 16  # tokens that a device draws before the host looks at them
SHARPEST = 1e-6  # temperature that a device divides by, in float32


class Scorer(Protocol):
    """What scores next tokens: `tinyllm.inference.session.Session`, say."""

    def prefill(self) -> Any:
        """Run the prompts: -> logits (B, V)."""
        ...

    def step(self, tokens: Sequence[int]) -> Any:
        """Append one token to each row: -> logits (B, V)."""
        ...

    def resume(self, earlier: Any, tokens: int) -> int:
        """Take over what an earlier one computed of the first tokens: -> how many it had."""
        ...

    @property
    def compiled(self) -> CompiledReader | None:
        """What reads on and draws on the device, after the prompts; None where nothing does."""
        ...


class TextStream(Protocol):
    """What turns tokens into characters as they come."""

    def push(self, token: int) -> str:
        """Take a token; return the characters that are complete."""
        ...

    def flush(self) -> str:
        """Return what is left at the end."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationOptions(Sampling):
    """What a caller may ask of a generation: how to choose tokens, and when to stop.

    Raises UsageError for a number out of its range.
    """

    max_tokens: int = 256
    seed: int | None = None  # None: a new one, which the result names
    stop: Sequence[str] = ()
    stop_tokens: Sequence[int] = ()  # they end a text beside the model's own, as a chat's turns do
    ignore_eos: bool = False
    logprobs: int | None = None  # how many of the likeliest tokens to report at each step
    context: int | None = None  # tokens; None: as many as the model's config allows
    use_cache: bool = True

    def __post_init__(self) -> None:
        """Check the ranges: before a model is loaded, where the options come first."""
        Sampling.__post_init__(self)
        check_range("max_tokens", self.max_tokens, self.max_tokens >= 0, "at least 0")
        check_range("context", self.context, self.context is None or self.context > 0, "at least 1")
        logprobs = self.logprobs
        check_range("logprobs", logprobs, logprobs is None or logprobs >= 0, "at least 0")
        if self.seed is not None:
            rng_for(self.seed, 0)
        StopStrings(self.stop)


@dataclass(frozen=True, kw_only=True, slots=True)
class Timings:
    """Wall-clock seconds of a whole batch: running the prompts, and all after that."""

    prompt_seconds: float
    decode_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLogprobs:
    """Log-probabilities in nats before any filter or temperature."""

    token: int
    logprob: float
    top: dict[int, float]  # the likeliest tokens, the likeliest first


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """One finished text.

    `tokens` are all that were drawn, the one that ended the text included; `finish_reason` is "eos"
    (a token that ends texts), "stop" (a stop string) or "length" (max_tokens or a full context).
    """

    text: str
    tokens: list[int]
    logprobs: list[TokenLogprobs] | None
    finish_reason: str
    prompt_tokens: int
    seed: int
    timings: Timings


@dataclass(kw_only=True, slots=True)
class Row:
    """One text of a batch while it grows. Its methods return the characters that are certain."""

    prompt: list[int]
    max_tokens: int
    rng: np.random.Generator
    text_stream: TextStream
    stops: StopStrings
    pieces: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    finish_reason: str = ""

    def push(self, token: int) -> str:
        """Add a token that is text."""
        self.pieces.append(self.stops.push(self.text_stream.push(token)))
        return self.pieces[-1]

    def finish(self, reason: str) -> str:
        """End the text, with what was held back in case more followed."""
        piece = self.stops.push(self.text_stream.flush())
        self.finish_reason = "stop" if self.stops.found else reason
        self.pieces.append(piece + self.stops.flush())
        return self.pieces[-1]


def rng_for(seed: int, index: int) -> np.random.Generator:
    """Return the generator of text `index`: its draws are the same in any batch, or alone.

    Raises UsageError for a seed outside 0 … 2⁶⁴-1.
    """
    check_range("seed", seed, 0 <= seed <= LARGEST_SEED, f"0 to {LARGEST_SEED}")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index])))


def check_room(prompt_tokens: int, max_tokens: int, context: int) -> int:
    """Return how many tokens may follow a prompt: `max_tokens`, or what the context leaves.

    Raises UsageError where nothing may.
    """
    if prompt_tokens >= context:
        raise UsageError(
            f"the prompt has {prompt_tokens} tokens and the context {context}: no room for an "
            f"answer; shorten the prompt"
        )
    return min(max_tokens, context - prompt_tokens)


def check_length(encode: Callable[[str], list[int]], text: str, context: int) -> None:
    """Refuse a text far beyond the context by its beginning: encoding all of it could take long.

    Raises UsageError. A text that is not refused may still have too many tokens.
    """
    beginning = text[: 16 * context]
    if len(beginning) < len(text) and (tokens := len(encode(beginning))) > 2 * context:
        raise UsageError(
            f"the prompt has more than {tokens} tokens and the context {context}: no room for an "
            f"answer; shorten the prompt"
        )


class Run:
    """A batch of texts under way: iterate for (row, new characters), then ask for the results."""

    def __init__(
        self,
        rows: Sequence[Row],
        scorer: Scorer,
        options: GenerationOptions,
        *,
        seed: int,
        eos_ids: frozenset[int],
        vocab_size: int,
    ) -> None:
        """Ids from `vocab_size` on stand for no token, and are never drawn."""
        self.rows, self.seed = rows, seed
        self._scorer, self._options = scorer, options
        ends = frozenset() if options.ignore_eos else frozenset(options.stop_tokens)
        self._eos_ids, self._vocab_size = eos_ids | ends, vocab_size
        self._start = self._first = self._last = time.perf_counter()

    def resume(self, earlier: "Run") -> int:
        """Go on from a run whose text begins as this prompt does; return the tokens saved.

        For runs of one text each, before the iteration. What both have in common is not computed
        again, as when a conversation has grown by a turn.
        """
        (row,), (before,) = self.rows, earlier.rows
        pairs = zip(row.prompt[:-1], before.prompt + before.tokens, strict=False)
        common = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
        return self._scorer.resume(earlier._scorer, common)

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Let every row grow until all have finished."""
        self._start = self._first = self._last = time.perf_counter()
        for index, row in enumerate(self.rows):
            if row.max_tokens == 0:
                yield index, row.finish("length")
        if all(row.finish_reason for row in self.rows):
            return
        logits = self._scorer.prefill()
        self._first = time.perf_counter()
        while True:
            for index, row in enumerate(self.rows):
                if not row.finish_reason:
                    piece = self._grow(row, logits[index, : self._vocab_size])
                    self._last = time.perf_counter()
                    yield index, piece
            if all(row.finish_reason for row in self.rows):
                return
            if (how := self._drawing()) is not None:
                yield from self._grow_on_device(self.rows[0], how)
                return
            # Rows that have finished keep their place in the batch; what they score is ignored.
            logits = self._scorer.step([row.tokens[-1] for row in self.rows])

    def results(self) -> list[Generation]:
        """Return the texts as they are now."""
        timings = Timings(
            prompt_seconds=self._first - self._start, decode_seconds=self._last - self._first
        )
        return [
            Generation(
                text="".join(row.pieces),
                tokens=row.tokens,
                logprobs=None if self._options.logprobs is None else row.logprobs,
                finish_reason=row.finish_reason,
                prompt_tokens=len(row.prompt),
                seed=self.seed,
                timings=timings,
            )
            for row in self.rows
        ]

    def _grow(self, row: Row, logits: Any) -> str:
        """Draw one token, and end the text where it ends."""
        token = choose_token(logits, row.prompt + row.tokens, self._options, row.rng)
        if self._options.logprobs is not None:
            row.logprobs.append(token_logprobs(logits, token, self._options.logprobs))
        return self._append(row, token)

    def _append(self, row: Row, token: int) -> str:
        """Add a token that was drawn, and end the text where it ends."""
        row.tokens.append(token)
        if token in self._eos_ids:
            return row.finish("eos")
        piece = row.push(token)
        if row.stops.found:
            return piece + row.finish("stop")
        full = len(row.tokens) == row.max_tokens
        return piece + row.finish("length") if full else piece

    def _drawing(self) -> Drawing | None:
        """Say how a device is to draw; None where the host has to see the scores of each token."""
        o = self._options
        plain = o.repetition_penalty == 1.0 and not o.logit_bias and o.logprobs is None
        sharp = 0.0 < o.temperature < SHARPEST
        if not plain or sharp or len(self.rows) > 1 or self._scorer.compiled is None:
            return None
        return Drawing(
            temperature=o.temperature, top_k=o.top_k, top_p=o.top_p, min_p=o.min_p,
            vocab_size=self._vocab_size,
        )  # fmt: skip

    def _grow_on_device(self, row: Row, how: Drawing) -> Iterator[tuple[int, str]]:
        """Let the device draw some tokens ahead; what it drew after the end of the text is dropped.

        As on the host each token takes one number of the row's generator, and none without a
        temperature.
        """
        assert self._scorer.compiled is not None
        while not row.finish_reason:
            n = min(AHEAD, row.max_tokens - len(row.tokens))
            uniforms = [0.0] * n if how.temperature == 0 else row.rng.random(n).tolist()
            for token in self._scorer.compiled.draw(row.tokens[-1], uniforms, how):
                if token < 0:
                    raise TinyllmError(NAN_SCORES)
                piece = self._append(row, token)
                self._last = time.perf_counter()
                yield 0, piece
                if row.finish_reason:
                    break


def token_logprobs(logits: Any, token: int, top: int) -> TokenLogprobs:
    """Return the log-probability of the token drawn and of the `top` likeliest ones, in nats."""
    scores = np.asarray(logits, np.float64)
    highest = scores.max()
    log_probs = scores - (highest + np.log(np.exp(scores - highest).sum()))
    best = np.argsort(-log_probs, kind="stable")[:top]
    return TokenLogprobs(
        token=token,
        logprob=float(log_probs[token]),
        top={int(i): float(log_probs[i]) for i in best},
    )
