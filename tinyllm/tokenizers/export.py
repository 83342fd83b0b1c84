"""Write a SentencePiece vocabulary as tokenizer.json, which transformers and others read.

There BPE has an order of merges instead of scores: for every piece, all its splits into two pieces
of the vocabulary, by descending score; of equal scores the longer first half comes first, as in
transformers' Llama converter.
"""

from typing import Any

from tinyllm.tokenizers.byte_fallback import SPACE
from tinyllm.tokenizers.decoders import decoders
from tinyllm.tokenizers.json_export import json_files, post_processor, role_names
from tinyllm.tokenizers.normalizers import LEADING_SPACES, RUNS_OF_SPACES, TRAILING_SPACES
from tinyllm.tokenizers.sentencepiece_vocabulary import PieceType, SentencePieceVocabulary
from tinyllm.tokenizers.tokenizer import Tokenizer


def export_files(vocabulary: SentencePieceVocabulary, tokenizer: Tokenizer) -> dict[str, bytes]:
    """Make tokenizer.json and tokenizer_config.json for the tokenizer of a vocabulary.

    There are none where they could not make the same ids: tokenizer.json has no pieces that come
    apart again, and none that stand for themselves without a text beginning anew behind them; it
    sums scores in another precision, and replaces characters by another rule.
    """
    odd = {PieceType.USER_DEFINED, PieceType.UNUSED}
    if odd.intersection(vocabulary.types) or not vocabulary.escape_whitespaces:
        return {}
    if vocabulary.is_unigram or vocabulary.characters is not None:
        return {}
    return json_files(
        tokenizer,
        normalizer={"type": "Sequence", "normalizers": _normalizers(vocabulary)},
        pre_tokenizer=None,
        post_processor=post_processor(tokenizer, pair="<A><B>"),
        decoder={"type": "Sequence", "decoders": decoders(vocabulary.drops_space)},
        model={
            "type": "BPE",
            "dropout": None,
            "unk_token": role_names(tokenizer)["unk"],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece: i for i, piece in enumerate(vocabulary.pieces)},
            "merges": _merges(vocabulary),
        },
    )


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
