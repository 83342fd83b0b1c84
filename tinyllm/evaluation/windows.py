"""Cut a text into the windows that a model reads: the protocols of perplexity."""

from collections.abc import Sequence

from tinyllm.evaluation.scoring import Window
from tinyllm.tokenizers import Tokenizer

Encoded = tuple[list[int], list[int]]  # tokens, and how many bytes of text each stands for


def encode_text(tokenizer: Tokenizer, text: str, *, bos: bool, eos: bool) -> Encoded:
    """Return the tokens of a text and the bytes that each stands for.

    BOS and EOS stand for none; nor does a space that a tokenizer puts before the first word.
    """
    tokens = tokenizer.encode(text, bos=bos, eos=eos)
    sizes = [len(tokenizer.token_bytes(token)) for token in tokens]
    first = next((i for i, size in enumerate(sizes) if size), None)
    if first is not None and tokens[first] in tokenizer.first_table:
        sizes[first] = len(tokenizer.first_table[tokens[first]])
    return tokens, sizes


def chunk_windows(text: Encoded, context: int) -> list[Window]:
    """Cut into blocks of `context` tokens, of which all but the first are scored.

    What is left behind the last whole block is not scored, unless there is no whole one.
    """
    tokens, sizes = text
    blocks = range(0, len(tokens) - context + 1, context) or [0]
    return [_window(tokens, sizes, i, min(i + context, len(tokens)), context - 1) for i in blocks]


def stride_windows(text: Encoded, context: int, stride: int) -> list[Window]:
    """Slide a window of `context` tokens on by `stride`, and score the tokens that it comes to.

    Each token but the first is scored once, with the `context` tokens before it at most, and
    context - stride + 1 at least, or all there are. What a window scores last it need not read, so
    it has a token more.
    """
    tokens, sizes = text
    ends = [*range(context + 1, len(tokens), stride), len(tokens)]
    scored_from = [1, *ends]
    return [
        _window(tokens, sizes, i * stride, end, end - scored_from[i]) for i, end in enumerate(ends)
    ]


def document_window(text: Encoded, context: int) -> Window:
    """Read the first `context` tokens of a document; all but the first are scored."""
    tokens, sizes = text
    return _window(tokens, sizes, 0, min(context, len(tokens)), context - 1)


def _window(
    tokens: Sequence[int], sizes: Sequence[int], start: int, end: int, scored: int
) -> Window:
    scored = min(scored, end - start - 1)
    return Window(tokens=tokens[start:end], scored=scored, n_bytes=sum(sizes[end - scored : end]))
