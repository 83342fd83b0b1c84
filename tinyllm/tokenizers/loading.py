"""Find a tokenizer's files, and choose the reader by what they are."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

from tinyllm.errors import TokenizerError
from tinyllm.files import read_bytes
from tinyllm.json_file import MEBIBYTE
from tinyllm.tokenizers.export import export_files
from tinyllm.tokenizers.huggingface import read_tokenizer_json
from tinyllm.tokenizers.llama2c import read_llama2c
from tinyllm.tokenizers.sentencepiece import SentencePieceVocabulary, sentencepiece_tokenizer
from tinyllm.tokenizers.sentencepiece_file import read_sentencepiece
from tinyllm.tokenizers.settings import Settings, read_settings
from tinyllm.tokenizers.tokenizer import Tokenizer

_NAMES = ("tokenizer.json", "tokenizer.model")  # the first that is there
_CONFIG = "tokenizer_config.json"
_MAX_BYTES = 64 * MEBIBYTE
_RANK_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} [0-9]+\r?\n")

# A reader takes a file's path and content, what tokenizer_config.json says, and the files to keep.
Reader: TypeAlias = Callable[[Path, bytes, Settings, dict[str, bytes]], Tokenizer]


def load_tokenizer(path: Path | str) -> Tokenizer:
    """Load the tokenizer in a file or a folder.

    A folder's is its tokenizer.json, else tokenizer.model, else its one tokenizer.bin or tok*.bin;
    tokenizer_config.json beside any of them is read too. Raises TokenizerError where there is no
    tokenizer, or one that is damaged or of an unknown kind.
    """
    path = Path(path)
    folder, file = (path, _find(path)) if path.is_dir() else (path.parent, path)
    content = read_bytes(file, TokenizerError, _MAX_BYTES)
    name, read = _recognise(file, content)
    beside = _read_beside(folder, _CONFIG)
    settings = read_settings(folder / _CONFIG) if beside else Settings()
    if path.is_dir() and name == "tokenizer.json":
        # the same vocabulary with its scores, where it lies there
        beside |= _read_beside(folder, "tokenizer.model", "tokenizer.bin")
    return read(file, content, settings, {name: content} | beside)


def has_tokenizer(folder: Path | str) -> bool:
    """Say whether a folder holds a tokenizer's file, of a known kind or not."""
    folder = Path(folder)
    names = (*_NAMES, "vocab.json", "vocab.txt")
    return any((folder / name).exists() for name in names) or any(folder.glob("tok*.bin"))


def _find(folder: Path) -> Path:
    """Choose the tokenizer's file in a folder."""
    for name in _NAMES:
        if (folder / name).exists():
            return folder / name
    binaries = {*folder.glob("tokenizer.bin"), *folder.glob("tok*.bin")}
    if len(binaries) == 1:
        return binaries.pop()
    found = f"; it has {', '.join(sorted(file.name for file in binaries))}" if binaries else ""
    raise TokenizerError(
        f"{folder}: has no tokenizer; looked for tokenizer.json, tokenizer.model and exactly one"
        f" tokenizer.bin or tok*.bin{found}"
    )


def _read_beside(folder: Path, *names: str) -> dict[str, bytes]:
    """Read those of the files that are there."""
    there = [name for name in names if (folder / name).exists()]
    return {name: read_bytes(folder / name, TokenizerError, _MAX_BYTES) for name in there}


def _recognise(path: Path, content: bytes) -> tuple[str, Reader]:
    """Tell the kinds of files apart by how they begin: the file's usual name, and its reader."""
    if content.lstrip().startswith(b"{"):
        return "tokenizer.json", _tokenizer_json
    if content[12:17] == b"<unk>":  # the first piece, behind three numbers
        return "tokenizer.bin", partial(_with_scores, read_llama2c)
    if _RANK_LINE.match(content):
        raise TokenizerError(
            f"{path}: is a list of ranks as tiktoken has them (Llama-3), which is not supported"
        )
    if content.startswith(b"\n"):  # field 1, a piece, is the first of every model
        return "tokenizer.model", partial(_with_scores, read_sentencepiece)
    raise TokenizerError(
        f"{path}: is no tokenizer that tinyllm reads: tokenizer.json, a SentencePiece"
        f" tokenizer.model or llama2.c's tokenizer.bin; it begins with {content[:16]!r}"
    )


def _tokenizer_json(
    path: Path, content: bytes, settings: Settings, sources: dict[str, bytes]
) -> Tokenizer:
    return read_tokenizer_json(path, settings, sources)


def _with_scores(
    read: Callable[[Path, bytes], SentencePieceVocabulary],
    path: Path,
    content: bytes,
    settings: Settings,
    sources: dict[str, bytes],
) -> Tokenizer:
    """Build the tokenizer of a vocabulary with scores."""
    vocabulary = read(path, content)
    return sentencepiece_tokenizer(
        path, vocabulary, settings, sources, partial(export_files, vocabulary)
    )
