"""Find a tokenizer's files, and choose the reader by what they are."""

import re
from functools import partial
from pathlib import Path

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
_RANK_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} [0-9]+\r?\n")
_MAX_BYTES = 64 * MEBIBYTE


def load_tokenizer(path: Path | str) -> Tokenizer:
    """Load the tokenizer in a file or a folder.

    A folder's is its tokenizer.json, else tokenizer.model, else its one tokenizer.bin or tok*.bin;
    tokenizer_config.json beside any of them is read too. Raises TokenizerError where there is no
    tokenizer, or one that is damaged or of an unknown kind.
    """
    path = Path(path)
    folder, file = (path, _find(path)) if path.is_dir() else (path.parent, path)
    content = read_bytes(file, TokenizerError, _MAX_BYTES)
    beside = _read_beside(folder, _CONFIG)
    settings = read_settings(folder / _CONFIG) if beside else Settings()
    if content.lstrip().startswith(b"{"):
        if path.is_dir():  # the same vocabulary with its scores, where it lies there
            beside |= _read_beside(folder, "tokenizer.model", "tokenizer.bin")
        return read_tokenizer_json(file, settings, {"tokenizer.json": content} | beside)
    name, vocabulary = _read_vocabulary(file, content)
    return sentencepiece_tokenizer(
        file, vocabulary, settings, {name: content} | beside, partial(export_files, vocabulary)
    )


def _read_beside(folder: Path, *names: str) -> dict[str, bytes]:
    """Read those of the files that are there."""
    there = [name for name in names if (folder / name).exists()]
    return {name: read_bytes(folder / name, TokenizerError, _MAX_BYTES) for name in there}


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


def _read_vocabulary(path: Path, content: bytes) -> tuple[str, SentencePieceVocabulary]:
    """Tell the formats of a vocabulary with scores apart; return the file's usual name too."""
    if content[12:17] == b"<unk>":  # the first piece, behind three numbers
        return "tokenizer.bin", read_llama2c(path, content)
    if _RANK_LINE.match(content):
        raise TokenizerError(
            f"{path}: is a list of ranks as tiktoken has them (Llama-3), which is not supported"
        )
    if not content.startswith(b"\n"):  # field 1, a piece, is the first of every model
        raise TokenizerError(
            f"{path}: is no tokenizer that tinyllm reads: tokenizer.json, a SentencePiece"
            f" tokenizer.model or llama2.c's tokenizer.bin; it begins with {content[:16]!r}"
        )
    return "tokenizer.model", read_sentencepiece(path, content)
