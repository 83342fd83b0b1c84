"""llama2.c's tokenizer.bin: the pieces of a SentencePiece vocabulary and their scores, no more.

int32 length of the longest piece, then for each piece float32 score, int32 length, bytes; all
little-endian. Spaces are spaces here, not ▁; ids 0, 1, 2 are <unk>, BOS, EOS, and 3 to 258 the
bytes (karpathy/llama2.c, tokenizer.py and run.c).
"""

import math
import struct
from pathlib import Path

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.added_tokens import MAX_IDS
from tinyllm.tokenizers.byte_fallback import BYTE_PIECES, SPACE
from tinyllm.tokenizers.sentencepiece_file import read_sentencepiece
from tinyllm.tokenizers.sentencepiece_vocabulary import PieceType, SentencePieceVocabulary
from tinyllm.tokenizers.tokenizer import Tokenizer

_CONTROL = ["<unk>", "<s>", "</s>"]
_HEAD = [*_CONTROL, *BYTE_PIECES]  # what every file begins with
_IN_FILE = {"<s>": "\n<s>\n", "</s>": "\n</s>\n"}  # as llama2.c prints them


def read_llama2c(path: Path, content: bytes) -> SentencePieceVocabulary:
    """Read the vocabulary in `content`, the bytes of `path`.

    The file does not say how spaces at the ends are treated; as in run.c, they stay.
    Raises TokenizerError where it is no such file.
    """
    try:
        pieces, scores = _read_pieces(content)
    except (ValueError, struct.error) as cause:
        raise TokenizerError(f"{path}: is no llama2.c tokenizer: {cause}") from cause
    types = [PieceType.UNKNOWN, PieceType.CONTROL, PieceType.CONTROL] + [PieceType.BYTE] * 256
    return SentencePieceVocabulary(
        pieces=pieces,
        scores=scores,
        types=types + [PieceType.NORMAL] * (len(pieces) - len(types)),
        is_unigram=False,
        byte_fallback=True,
        characters=None,
        add_dummy_prefix=True,
        remove_extra_whitespaces=False,
        escape_whitespaces=True,
        roles={"unk": "<unk>", "bos": "<s>", "eos": "</s>"},
    )


def _read_pieces(content: bytes) -> tuple[list[str], list[float]]:
    """Read pieces and scores, and check them; ValueError or struct.error where they are wrong."""
    scores: dict[str, float] = {}
    at = 4
    while at < len(content):
        score, length = struct.unpack_from("<fi", content, at)
        at += 8
        if not 0 < length <= len(content) - at:
            raise ValueError(f"piece {len(scores)} has {length} bytes of {len(content) - at}")
        piece = content[at : at + length].decode("utf-8").replace(" ", SPACE)
        at += length
        if len(scores) < len(_HEAD):
            expected = _HEAD[len(scores)]
            if piece != _IN_FILE.get(expected, expected):
                raise ValueError(f"piece {len(scores)} is {piece!r}; expected {expected!r}")
            piece = expected
        if piece in scores or not math.isfinite(score) or len(scores) == MAX_IDS:
            raise ValueError(f"piece {len(scores)}, {piece!r}, appears twice or has no score")
        scores[piece] = score
    if len(scores) < len(_HEAD):
        raise ValueError(f"it has {len(scores)} pieces; expected at least {len(_HEAD)}")
    return list(scores), list(scores.values())


def write_llama2c_tokenizer(path: Path | str, tokenizer: Tokenizer) -> None:
    """Write a tokenizer that came with tokenizer.model or tokenizer.bin, for llama2.c.

    Raises TokenizerError where it came without them, and so without scores, where llama2.c's format
    cannot hold the vocabulary, and where `path` cannot be written.
    """
    readers = {"tokenizer.bin": read_llama2c, "tokenizer.model": read_sentencepiece}
    name = next((name for name in readers if name in tokenizer.sources), None)
    if name is None:
        raise TokenizerError(
            f"{path}: llama2.c's format needs the scores in tokenizer.model, and this tokenizer"
            f" came from {', '.join(tokenizer.sources)}"
        )
    vocabulary = readers[name](Path(name), tokenizer.sources[name])
    if len(vocabulary.pieces) != tokenizer.vocab_size:
        raise TokenizerError(
            f"{path}: {name} has {len(vocabulary.pieces)} pieces, the tokenizer"
            f" {tokenizer.vocab_size}; llama2.c's format has no place for added tokens"
        )
    try:
        Path(path).write_bytes(_llama2c_bytes(vocabulary))
    except OSError as cause:
        raise TokenizerError(f"{path}: cannot be written: {cause}") from cause


def _llama2c_bytes(vocabulary: SentencePieceVocabulary) -> bytes:
    kinds = set(vocabulary.types[len(_HEAD) :])
    if vocabulary.is_unigram or vocabulary.characters is not None:
        raise TokenizerError(
            "llama2.c knows BPE, and no map of characters; this vocabulary needs another program"
        )
    if vocabulary.pieces[: len(_HEAD)] != _HEAD or not kinds <= {PieceType.NORMAL}:
        raise TokenizerError(
            "llama2.c's format needs the ids 0, 1, 2 to be <unk>, <s>, </s>, 3 to 258 the bytes,"
            " and all others pieces of text"
        )
    texts = [_IN_FILE.get(piece, piece).replace(SPACE, " ").encode() for piece in vocabulary.pieces]
    records = [
        struct.pack("<fi", score, len(text)) + text
        for score, text in zip(vocabulary.scores, texts, strict=True)
    ]
    return struct.pack("<i", max(map(len, texts))) + b"".join(records)
