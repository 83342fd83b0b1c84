"""Read SentencePiece's tokenizer.model (spiece.model for T5), a Protocol Buffers message.

Field numbers: google/sentencepiece, src/sentencepiece_model.proto.
"""

import math
from pathlib import Path
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.added_tokens import MAX_IDS
from tinyllm.tokenizers.byte_fallback import BYTE_PIECES
from tinyllm.tokenizers.character_map import read_character_map
from tinyllm.tokenizers.protobuf import Schema, decode, fields
from tinyllm.tokenizers.sentencepiece_vocabulary import PieceType, SentencePieceVocabulary

_PIECE: Schema = {1: ("piece", str), 2: ("score", float), 3: ("type", int)}
_TRAINER: Schema = {
    3: ("model_type", int),
    24: ("treat_whitespace_as_suffix", bool),
    35: ("byte_fallback", bool),
    45: ("unk_piece", str),
    46: ("bos_piece", str),
    47: ("eos_piece", str),
    48: ("pad_piece", str),
}
_NORMALIZER: Schema = {
    2: ("precompiled_charsmap", bytes),
    3: ("add_dummy_prefix", bool),
    4: ("remove_extra_whitespaces", bool),
    5: ("escape_whitespaces", bool),
}
_PARTS: dict[int, tuple[str, Schema]] = {
    2: ("trainer", _TRAINER),
    3: ("normalizer", _NORMALIZER),
    5: ("denormalizer", _NORMALIZER),
}
UNIGRAM, BPE = 1, 2
_MODEL_TYPES = {3: "word", 4: "character"}


def read_sentencepiece(path: Path, content: bytes) -> SentencePieceVocabulary:
    """Read the BPE or Unigram vocabulary in `content`, the bytes of `path`.

    Raises TokenizerError where it is no such file, or asks for what tinyllm does not do.
    """
    pieces: list[dict[str, Any]] = []
    parts: dict[str, dict[str, Any]] = {name: {} for name, _ in _PARTS.values()}
    try:
        for number, _, value in fields(content):
            if number == 1 and isinstance(value, bytes):
                pieces.append({"score": 0.0, "type": 1} | decode(value, _PIECE))
            elif number in _PARTS and isinstance(value, bytes):
                name, schema = _PARTS[number]
                parts[name] |= decode(value, schema)
            if len(pieces) > MAX_IDS:
                raise ValueError(f"more than {MAX_IDS} pieces")
    except ValueError as cause:
        raise TokenizerError(f"{path}: is no SentencePiece model: {cause}") from cause
    _check_kind(path, parts)
    _check_pieces(path, pieces)
    trainer, normalizer = parts["trainer"], parts["normalizer"]
    types = {entry["piece"]: PieceType(entry["type"]) for entry in pieces}
    names = {
        role: trainer.get(f"{role}_piece", default)
        for role, default in {"bos": "<s>", "eos": "</s>", "pad": "<pad>"}.items()
    }
    unknown = [piece for piece, kind in types.items() if kind is PieceType.UNKNOWN]
    charsmap = normalizer.get("precompiled_charsmap")
    return SentencePieceVocabulary(
        is_unigram=_model_type(parts) == UNIGRAM,
        byte_fallback=trainer.get("byte_fallback", False),
        characters=read_character_map(path, charsmap) if charsmap else None,
        pieces=list(types),
        scores=[entry["score"] for entry in pieces],
        types=list(types.values()),
        add_dummy_prefix=normalizer.get("add_dummy_prefix", True),
        remove_extra_whitespaces=normalizer.get("remove_extra_whitespaces", True),
        escape_whitespaces=normalizer.get("escape_whitespaces", True),
        roles={
            "unk": unknown[0],
            **{role: name for role, name in names.items() if types.get(name) is PieceType.CONTROL},
        },
    )


def _check_kind(path: Path, parts: dict[str, dict[str, Any]]) -> None:
    """Refuse by name what would make other ids than BPE with byte fallback, or Unigram."""
    model_type = _model_type(parts)
    is_bpe = model_type == BPE
    refused = {
        f"a {_MODEL_TYPES.get(model_type, model_type)} model": not is_bpe and model_type != UNIGRAM,
        "BPE without byte_fallback": is_bpe and not parts["trainer"].get("byte_fallback"),
        "treat_whitespace_as_suffix": parts["trainer"].get("treat_whitespace_as_suffix"),
        "a denormalizer": parts["denormalizer"].get("precompiled_charsmap"),
    }
    for name, present in refused.items():
        if present:
            raise TokenizerError(
                f"{path}: {name} is not supported; of SentencePiece, Unigram and BPE with byte"
                " fallback are"
            )


def _model_type(parts: dict[str, dict[str, Any]]) -> int:
    return parts["trainer"].get("model_type", UNIGRAM)


def _check_pieces(path: Path, pieces: list[dict[str, Any]]) -> None:
    """Refuse pieces without a text, a type, a finite score, or an identity of their own."""
    seen: dict[str, int] = {}
    for i, entry in enumerate(pieces):
        piece = entry.get("piece", "")
        if not piece:
            raise TokenizerError(f"{path}: the piece {i} is empty")
        if seen.setdefault(piece, i) != i:
            raise TokenizerError(f"{path}: the pieces {seen[piece]} and {i} are both {piece!r}")
        if entry["type"] not in PieceType.__members__.values():
            raise TokenizerError(f"{path}: the type of {piece!r} is {entry['type']}; expected 1-6")
        if not math.isfinite(entry["score"]):
            raise TokenizerError(f"{path}: the score of {piece!r} is {entry['score']}")
        if entry["type"] == PieceType.BYTE and piece not in BYTE_PIECES:
            raise TokenizerError(f"{path}: {piece!r} is no byte piece; they are <0x00> to <0xFF>")
    unknown = [entry["piece"] for entry in pieces if entry["type"] == PieceType.UNKNOWN]
    if len(unknown) != 1:
        raise TokenizerError(f"{path}: {len(unknown)} pieces are of the unknown type; expected one")
