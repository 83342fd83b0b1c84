"""How surprised a model is by a text: NLL = -(1/t) Σ log p(xᵢ | what is before), PPL = exp(NLL).

A uniform model has the perplexity V, the size of its vocabulary; none has less than 1. Two numbers
compare only for the same tokenizer, text, protocol, context, stride and BOS, so these come along.
Across tokenizers bits per byte do, Σ -log₂ p / bytes: of the text that the scored tokens stand for.

Perplexity depends on what a text is about, says how sure a model is and not whether it is right,
and is low for a text that goes round in circles.
"""

import hashlib
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tinyllm.errors import UsageError
from tinyllm.evaluation.scoring import Scorer, Window, score_windows
from tinyllm.evaluation.windows import (
    chunk_windows,
    document_window,
    encode_text,
    stride_windows,
)
from tinyllm.shown import shown
from tinyllm.tokenizers import Tokenizer

PROTOCOLS = {
    "chunk": "blocks of the context's length, each without what is before it",
    "stride": "a window that slides on by the stride; every token is scored once",
    "doc": "each document on its own, cut at the context's length",
}
LONGEST_CONTEXT = 2048  # unless a longer one is asked for: what is usual in papers


@dataclass(frozen=True, kw_only=True, slots=True)
class Perplexity:
    """The numbers, and all that they depend on beside the model and the text."""

    nll: float  # nats a token
    ppl: float  # inf where exp overflows
    bits_per_byte: float | None  # None where the scored tokens stand for no byte
    tokens_scored: int
    bytes_scored: int
    documents: int
    protocol: str  # of PROTOCOLS
    context: int
    stride: int | None  # of the protocol "stride" alone
    bos: bool  # whether BOS comes first; it is never scored
    eos: bool  # whether the end of a document is scored
    tokenizer: str


def measure_perplexity(
    model: Scorer,
    documents: Sequence[str],
    *,
    protocol: str = "chunk",
    context: int | None = None,
    stride: int | None = None,
    bos: bool | None = None,
    eos: bool | None = None,
    max_tokens: int | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Perplexity:
    """Score documents by a protocol, which PROTOCOLS names.

    "chunk" and "stride" take them as one text, with BOS before it where a prompt begins with BOS;
    "doc" takes each from BOS to EOS, where the vocabulary has them, and cuts it at `context`
    tokens. `bos` and `eos` say otherwise. The default context is the model's, 2,048 at most, and
    the default stride half of it. No more than the first `max_tokens` are read. Raises UsageError
    for what is out of range, and where there are not two tokens.
    """
    tokenizer = _tokenizer(model)
    context, stride = _checked(model, protocol, context, stride)
    by_document = protocol == "doc"
    if bos is None:
        bos = tokenizer.bos_id is not None if by_document else tokenizer.add_bos
    if eos is None:
        eos = by_document and tokenizer.eos_id is not None
    texts = documents if by_document else ["".join(documents)]
    windows: list[Window] = []
    left = sys.maxsize if max_tokens is None else max_tokens
    for number, text in enumerate(texts):
        if left < 2:
            texts = texts[:number]
            break
        tokens, sizes = encode_text(tokenizer, text, bos=bos, eos=eos)
        encoded = tokens[:left], sizes[:left]
        left -= min(len(tokens), context if by_document else left)
        if by_document:
            windows.append(document_window(encoded, context))
        elif stride is None:
            windows += chunk_windows(encoded, context)
        else:
            windows += stride_windows(encoded, context, stride)
    nll, scored = mean_nats(model, windows, report)
    n_bytes = sum(window.n_bytes for window in windows)
    return Perplexity(
        nll=nll,
        ppl=exp_or_inf(nll),
        bits_per_byte=nll * scored / math.log(2) / n_bytes if n_bytes else None,
        tokens_scored=scored,
        bytes_scored=n_bytes,
        documents=len(texts),
        protocol=protocol,
        context=context,
        stride=stride,
        bos=bos,
        eos=eos,
        tokenizer=fingerprint(tokenizer),
    )


def mean_nats(
    model: Scorer, windows: Sequence[Window], report: Callable[[str], None] = lambda line: None
) -> tuple[float, int]:
    """Return the mean -log p of the scored tokens in nats, and how many they are.

    Raises UsageError where there is none.
    """
    scored = sum(window.scored for window in windows)
    if scored < 1:
        raise UsageError("the text has fewer than two tokens: there is none to score after another")
    nats = -math.fsum(float(x.sum()) for x in score_windows(model, windows, report))
    return nats / scored, scored


def document_bits_per_byte(
    model: Scorer, documents: Sequence[str], *, context: int = 512, eos: bool = True
) -> float:
    """Return the bits that a model needs for a byte of the documents.

    Each is read from BOS on and cut at `context` tokens, BOS and EOS among them. The bits are those
    of all its tokens but BOS; the bytes are those of UTF-8 that these tokens stand for, so what was
    cut off counts on neither side, and EOS costs bits for no byte. Raises UsageError as
    `measure_perplexity` does, and where the tokens stand for no byte.
    """
    found = measure_perplexity(model, documents, protocol="doc", context=context, eos=eos)
    if found.bits_per_byte is None:
        raise UsageError("the documents have no text")
    return found.bits_per_byte


def fingerprint(tokenizer: Tokenizer) -> str:
    """Tell vocabularies apart: their size, and the beginning of a SHA-256 of what each id means."""
    meanings = {**tokenizer.table, **{i: s.encode() for s, i in tokenizer.special_tokens.items()}}
    digest = hashlib.sha256(repr(sorted(meanings.items())).encode()).hexdigest()
    return f"{len(meanings)} tokens, {digest[:12]}"


def _tokenizer(model: Scorer) -> Tokenizer:
    if model.tokenizer is None:
        raise UsageError("the model's folder has no tokenizer: a text cannot become its tokens")
    return model.tokenizer


def _checked(
    model: Scorer, protocol: str, context: int | None, stride: int | None
) -> tuple[int, int | None]:
    """Return the context and, for the protocol "stride", the stride."""
    if protocol not in PROTOCOLS:
        raise UsageError(f"no protocol is called {shown(protocol)}; there are {[*PROTOCOLS]}")
    longest = model.config.max_seq_len
    context = min(longest, LONGEST_CONTEXT) if context is None else context
    if not 2 <= context <= longest:
        raise UsageError(f"context is {context}, expected 2 to {longest}, what the model reads")
    if protocol != "stride":
        if stride is not None:
            raise UsageError(f"stride is for the protocol 'stride', and this is {protocol!r}")
        return context, None
    stride = max(1, context // 2) if stride is None else stride
    if not 1 <= stride <= context:
        raise UsageError(f"stride is {stride}, expected 1 to {context}, the context")
    return context, stride


def exp_or_inf(nll: float) -> float:
    """Return the perplexity of a mean in nats: eˣ, or infinity beyond what a number can be."""
    try:
        return math.exp(nll)
    except OverflowError:
        return math.inf
