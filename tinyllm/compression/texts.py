"""Texts that calibrate a model or measure it, as one row of token ids."""

from pathlib import Path
from typing import Any

import numpy as np

from tinyllm.errors import UsageError
from tinyllm.evaluation.perplexity import exp_or_inf, mean_nats
from tinyllm.evaluation.scoring import Scorer
from tinyllm.evaluation.windows import chunk_windows
from tinyllm.shown import plain
from tinyllm.tokenizers import Tokenizer
from tinyllm.training.documents import read_text, split_documents
from tinyllm.training.token_file import is_token_file, open_tokens


def read_tokens(
    path: Path, tokenizer: Tokenizer | None, vocab_size: int, *, separator: str | None = None
) -> Any:
    """Read a UTF-8 text, or a file of token ids: -> tokens (N,).

    What stands between separators is a document, which begins with BOS where the model's prompts
    do. Raises UsageError for a file that cannot be read, or a text where there is no tokenizer.
    """
    if is_token_file(path):
        return open_tokens(path, vocab_size)
    if tokenizer is None:
        raise UsageError(f"{plain(path)}: is a text, and the model has no tokenizer")
    parts: list[Any] = []
    begins = True
    for text, begins_next in split_documents(read_text(path), separator):
        parts.append(np.asarray(tokenizer.encode(text, bos=tokenizer.add_bos and begins), np.int64))
        begins = begins_next
    if not parts:
        raise UsageError(f"{plain(path)}: is blank; expected a text")
    return np.concatenate(parts)


def perplexity(model: Scorer, tokens: Any, *, context: int) -> tuple[float, int]:
    """Return exp of the mean nats of a token, and of how many: tokens (N,).

    The protocol is "chunk" of `tinyllm.evaluation.perplexity`, as Wanda's authors measure it. The
    perplexity is infinite where it is beyond what a number can be.
    """
    nll, scored = mean_nats(model, chunk_windows((tokens.tolist(), [0] * len(tokens)), context))
    return exp_or_inf(nll), scored
