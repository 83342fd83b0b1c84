"""Token ids in a file that is mapped, not read: made once out of a text, then used as it is."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinyllm.checkpoints.atomic import atomic_write
from tinyllm.errors import UsageError
from tinyllm.shown import plain
from tinyllm.tokenizers import Tokenizer
from tinyllm.training.documents import read_text, split_documents

CHUNK = 2**20  # numbers
TOKEN_FILES = (".npy", ".bin")


def open_tokens(path: Path, vocab_size: int) -> Any:
    """Map a file of token ids: a .npy of whole numbers with one axis, or a .bin of 16-bit ones.

    -> tokens (N,)

    Raises UsageError where it is damaged, empty, or has an id that the model does not have.
    """
    if not path.is_file():
        what = "is not a regular file" if path.exists() else "no such file"
        raise UsageError(f"{plain(path)}: {what}; expected a file of token ids")
    try:
        if path.suffix == ".npy":
            tokens = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            tokens = np.memmap(path, np.dtype("<u2"), mode="r")
    except (OSError, ValueError, EOFError) as error:  # ValueError: half a number, and much else
        raise UsageError(f"{plain(path)}: is no file of token ids: {error}") from error
    if not isinstance(tokens, np.ndarray) or tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        what = f"{tokens.dtype} {tokens.shape}" if isinstance(tokens, np.ndarray) else "an archive"
        raise UsageError(f"{plain(path)}: is {what}; expected whole numbers with one axis")
    if not len(tokens):
        raise UsageError(f"{plain(path)}: is empty; expected token ids")
    for start in range(0, len(tokens), CHUNK):
        chunk = tokens[start : start + CHUNK]
        if chunk.min() < 0 or chunk.max() >= vocab_size:
            at = int(np.argmax((chunk < 0) | (chunk >= vocab_size)))
            raise UsageError(
                f"{plain(path)}: token {start + at} is {chunk[at]}, and the model's ids end at "
                f"{vocab_size - 1}: these are another tokenizer's"
            )
    return tokens


def tokenize_file(
    text: Path,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    separator: str | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write the tokens of a text into `folder`, once: return the file's path.

    Its name tells text, tokenizer and separator, so that a file that is there need not be made
    again. A document begins with BOS where the tokenizer's prompts do, and ends with EOS; if these
    are one token, it stands once between two documents. Without either, the separator itself stays.

    Raises UsageError for a text that cannot be read (see `documents.read_text`).
    """
    path = folder / f"tokens-{_fingerprint(text, tokenizer, separator)}.npy"
    if not path.exists():
        with atomic_write(path) as file:
            _write_tokens(file, text, tokenizer, separator, report)
    return path


def _write_tokens(
    file: Any,
    text: Path,
    tokenizer: Tokenizer,
    separator: str | None,
    report: Callable[[str], None],
) -> None:
    """Write a .npy part by part, then its length into the head of the file."""
    dtype = np.dtype("<u2" if tokenizer.vocab_size <= 2**16 else "<u4")
    _write_header(file, dtype, 0)
    before, after = _frame(tokenizer, separator)
    count, begins = 0, True
    for part, ends in split_documents(read_text(text), separator):
        ids = [*(before if begins else []), *tokenizer.encode(part), *(after if ends else [])]
        file.write(np.asarray(ids, dtype).tobytes())
        count, begins = count + len(ids), ends
        report(f"{count:,} tokens")
    _write_header(file, dtype, count)


def _frame(tokenizer: Tokenizer, separator: str | None) -> tuple[list[int], list[int]]:
    """Return what stands before and behind every document."""
    before = [tokenizer.bos_id] if tokenizer.add_bos and tokenizer.bos_id is not None else []
    after = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    if before and before == after:  # one token for both: each stands between two documents
        return before, []
    if not before and not after and separator:
        return [], tokenizer.encode(separator)
    return before, after


def _write_header(file: Any, dtype: Any, count: int) -> None:
    """Write the head of a .npy; its length does not depend on the number, so it can come late."""
    file.seek(0)
    np.lib.format.write_array_header_1_0(
        file, {"descr": dtype.str, "fortran_order": False, "shape": (count,)}
    )


def _fingerprint(text: Path, tokenizer: Tokenizer, separator: str | None) -> str:
    """Return what differs where the tokens may: the hash of text, tokenizer and separator."""
    found = hashlib.sha256(repr(separator).encode())
    for name, content in sorted({**tokenizer.export(tokenizer), **tokenizer.sources}.items()):
        found.update(f"{name} {len(content)} ".encode() + content)
    for piece in read_text(text):
        found.update(piece.encode())
    return found.hexdigest()[:16]


def digest(tokens: Any) -> str:
    """Return the SHA-256 of the ids, by which a run knows that its data are the same.

    tokens (N,)
    """
    found = hashlib.sha256()
    for start in range(0, len(tokens), CHUNK):
        found.update(tokens[start : start + CHUNK].astype("<u4").tobytes())
    return found.hexdigest()


def is_token_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name says that it holds ids, not text."""
    return os.path.splitext(path)[1] in TOKEN_FILES
