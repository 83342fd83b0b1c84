"""Write a SentencePiece vocabulary as tokenizer.json, which transformers and others read.

There BPE has an order of merges instead of scores: for every piece, all its splits into two pieces
of the vocabulary, by descending score; of equal scores the longer first half comes first, as in
transformers' Llama converter.
"""

import json
from typing import Any

from tinyllm.tokenizers.byte_fallback import SPACE
from tinyllm.tokenizers.decoders import decoders
from tinyllm.tokenizers.normalizers import LEADING_SPACES, RUNS_OF_SPACES, TRAILING_SPACES
from tinyllm.tokenizers.sentencepiece import PieceType, SentencePieceVocabulary
from tinyllm.tokenizers.settings import ROLES
from tinyllm.tokenizers.tokenizer import Tokenizer


def export_files(vocabulary: SentencePieceVocabulary, tokenizer: Tokenizer) -> dict[str, bytes]:
    """Make tokenizer.json and tokenizer_config.json for the tokenizer of a vocabulary.

    There are none where they could not make the same ids: tokenizer.json has no pieces that come
    apart again, and none that stand for themselves without a text beginning anew behind them.
    """
    odd = {PieceType.USER_DEFINED, PieceType.UNUSED}
    if odd.intersection(vocabulary.types) or not vocabulary.escape_whitespaces:
        return {}
    return {
        "tokenizer.json": _dump(_tokenizer_json(vocabulary, tokenizer)),
        "tokenizer_config.json": _dump(_tokenizer_config(tokenizer)),
    }


def _dump(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def _tokenizer_json(vocabulary: SentencePieceVocabulary, tokenizer: Tokenizer) -> dict[str, Any]:
    """Describe the tokenizer in the terms of Hugging Face's tokenizers."""
    names = _role_names(tokenizer)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": id_,
                "content": content,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for content, id_ in sorted(tokenizer.special_tokens.items(), key=lambda item: item[1])
        ],
        "normalizer": {"type": "Sequence", "normalizers": _normalizers(vocabulary)},
        "pre_tokenizer": None,
        "post_processor": _post_processor(tokenizer, names["bos"]) if tokenizer.add_bos else None,
        "decoder": {"type": "Sequence", "decoders": decoders(vocabulary.drops_space)},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": names["unk"],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece: i for i, piece in enumerate(vocabulary.pieces)},
            "merges": _merges(vocabulary),
        },
    }


def _merges(vocabulary: SentencePieceVocabulary) -> list[list[str]]:
    """Turn scores into an order of pairs."""
    scores = {
        piece: score
        for piece, score, kind in zip(
            vocabulary.pieces, vocabulary.scores, vocabulary.types, strict=True
        )
        if kind is PieceType.NORMAL
    }
    pairs = [
        (-score, -cut, piece)
        for piece, score in scores.items()
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]
    pairs.sort(key=lambda pair: pair[:2])  # stable: of equal ones the lower id first
    return [[piece[:-cut], piece[-cut:]] for _, cut, piece in pairs]


def _normalizers(vocabulary: SentencePieceVocabulary) -> list[dict[str, Any]]:
    """The steps of `sentencepiece.normalizer`."""

    def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
        return {"type": "Replace", "pattern": pattern, "content": content}

    steps = []
    if vocabulary.remove_extra_whitespaces:
        steps += [replace({"Regex": LEADING_SPACES}, ""), replace({"Regex": RUNS_OF_SPACES}, " ")]
    if vocabulary.add_dummy_prefix:
        steps.append({"type": "Prepend", "prepend": SPACE})
    steps.append(replace({"String": " "}, SPACE))
    if vocabulary.remove_extra_whitespaces:
        steps.append(replace({"Regex": TRAILING_SPACES}, ""))
    return steps


def _post_processor(tokenizer: Tokenizer, bos: str | None) -> dict[str, Any]:
    """Put BOS before a text, and before each text of a pair."""
    first = {"SpecialToken": {"id": bos, "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    second = [
        {"SpecialToken": {"id": bos, "type_id": 1}},
        {"Sequence": {"id": "B", "type_id": 1}},
    ]
    return {
        "type": "TemplateProcessing",
        "single": [first, text],
        "pair": [first, text, *second],
        "special_tokens": {bos: {"id": bos, "ids": [tokenizer.bos_id], "tokens": [bos]}},
    }


def _tokenizer_config(tokenizer: Tokenizer) -> dict[str, Any]:
    """Name the roles; the class is the one that takes tokenizer.json at its word."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": tokenizer.add_bos,
        "clean_up_tokenization_spaces": False,
        **{f"{role}_token": name for role, name in _role_names(tokenizer).items()},
    }


def _role_names(tokenizer: Tokenizer) -> dict[str, str | None]:
    names = {id_: content for content, id_ in tokenizer.special_tokens.items()}
    ids = (tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.pad_id)
    return {r: None if i is None else names.get(i) for r, i in zip(ROLES, ids, strict=True)}
