"""Find a tokenizer's files, and choose the reader by what they are."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

from tinyllm.errors import TokenizerError
from tinyllm.files import read_bytes
from tinyllm.json_file import MEBIBYTE
from tinyllm.tokenizers.bert_vocabulary import bert_tokenizer
from tinyllm.tokenizers.export import export_files
from tinyllm.tokenizers.huggingface import read_tokenizer_json
from tinyllm.tokenizers.llama2c import read_llama2c
from tinyllm.tokenizers.marian import marian_tokenizer
from tinyllm.tokenizers.rank_file import rank_tokenizer
from tinyllm.tokenizers.sentencepiece import SentencePieceVocabulary, sentencepiece_tokenizer
from tinyllm.tokenizers.sentencepiece_file import read_sentencepiece
from tinyllm.tokenizers.settings import Settings, read_settings
from tinyllm.tokenizers.tokenizer import Tokenizer
from tinyllm.tokenizers.vocab_merges import vocab_merges_tokenizer

_NAMES = (  # the first that is there
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.txt",
    "source.spm",
    "vocab.json",
)
_ENDINGS = ("*.tiktoken", "tok*.bin")  # else the one file of such a name
_OTHER_FORMS = (*_NAMES[1:], "target.spm", "tokenizer.bin", "merges.txt")
_CONFIG = "tokenizer_config.json"
_MAX_BYTES = 64 * MEBIBYTE
_RANK_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} [0-9]+\r?\n")

# A reader takes a file's path and content, what tokenizer_config.json says, and the files to keep.
Reader: TypeAlias = Callable[[Path, bytes, Settings, dict[str, bytes]], Tokenizer]


def load_tokenizer(path: Path | str) -> Tokenizer:
    """Load the tokenizer in a file or a folder.

    A folder's is its tokenizer.json, else tokenizer.model, spiece.model (T5), vocab.txt (BERT),
    source.spm with vocab.json (Marian), vocab.json with merges.txt, else its one *.tiktoken or
    tok*.bin; tokenizer_config.json beside any of them is read too. The file target.spm is for the
    language that a Marian model translates to. A list of ranks (*.tiktoken, Llama 3's
    tokenizer.model) does not say how a text is split: r50k_base, cl100k_base and Llama 3's are
    known by their SHA-256. Raises TokenizerError for other lists, and where there is no tokenizer,
    or one that is damaged or of an unknown kind.
    """
    path = Path(path)
    folder, file = (path, _find(path)) if path.is_dir() else (path.parent, path)
    content = read_bytes(file, TokenizerError, _MAX_BYTES)
    name, read = _recognise(file, content)
    beside = _read_beside(folder, _CONFIG)
    settings = read_settings(folder / _CONFIG) if beside else Settings()
    if path.is_dir() and name == "tokenizer.json":  # keep the same vocabulary in its other forms
        beside |= _read_beside(folder, *_OTHER_FORMS)
    return read(file, content, settings, {name: content} | beside)


def has_tokenizer(folder: Path | str) -> bool:
    """Say whether a folder holds a tokenizer's file, of a known kind or not."""
    folder = Path(folder)
    there = (folder / name for name in _NAMES)
    return any(map(Path.exists, there)) or any(any(folder.glob(name)) for name in _ENDINGS)


def _find(folder: Path) -> Path:
    """Choose the tokenizer's file in a folder."""
    for name in _NAMES:
        if (folder / name).exists():
            return folder / name
    others = sorted(file for ending in _ENDINGS for file in folder.glob(ending))
    if len(others) == 1:
        return others[0]
    found = f"; it has {', '.join(file.name for file in others)}" if others else ""
    raise TokenizerError(
        f"{folder}: has no tokenizer; looked for {', '.join(_NAMES)} and exactly one"
        f" {' or '.join(_ENDINGS)}{found}"
    )


def _read_beside(folder: Path, *names: str) -> dict[str, bytes]:
    """Read those of the files that are there."""
    there = [name for name in names if (folder / name).exists()]
    return {name: read_bytes(folder / name, TokenizerError, _MAX_BYTES) for name in there}


def _recognise(path: Path, content: bytes) -> tuple[str, Reader]:
    """Tell the kinds of files apart by how they begin: the file's usual name, and its reader."""
    if path.name == "vocab.json":
        return "vocab.json", vocab_merges_tokenizer
    if path.suffix == ".txt":
        return "vocab.txt", bert_tokenizer
    if path.suffix == ".spm" and (path.parent / "vocab.json").exists():
        return path.name, marian_tokenizer
    if content.lstrip().startswith(b"{"):
        return "tokenizer.json", _tokenizer_json
    if content[12:17] == b"<unk>":  # the first piece, behind three numbers
        return "tokenizer.bin", partial(_with_scores, read_llama2c)
    if _RANK_LINE.match(content):
        name = path.name if path.suffix == ".tiktoken" else "tokenizer.model"
        return name, rank_tokenizer
    if content.startswith(b"\n"):  # field 1, a piece, is the first of every model
        name = path.name if path.name == "spiece.model" else "tokenizer.model"
        return name, partial(_with_scores, read_sentencepiece)
    raise TokenizerError(
        f"{path}: is no tokenizer that tinyllm reads: tokenizer.json, tokenizer.model of"
        f" SentencePiece or Llama 3, vocab.txt, vocab.json with merges.txt, tiktoken's ranks or"
        f" llama2.c's tokenizer.bin; it begins with {content[:16]!r}"
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
