"""The tokenizer of a SentencePiece vocabulary, BPE or Unigram.

Kudo and Richardson 2018, "SentencePiece" (arXiv:1808.06226).
"""

from collections.abc import Callable
from pathlib import Path

from tinyllm.tokenizers.added_tokens import AddedToken, combine
from tinyllm.tokenizers.assembly import assemble
from tinyllm.tokenizers.byte_fallback import byte_ids, first_piece_bytes, piece_bytes
from tinyllm.tokenizers.sentencepiece_encoders import bpe_encoder, unigram_encoder
from tinyllm.tokenizers.sentencepiece_normalizer import sentencepiece_normalizer
from tinyllm.tokenizers.sentencepiece_vocabulary import PieceType, SentencePieceVocabulary
from tinyllm.tokenizers.settings import Settings
from tinyllm.tokenizers.t5 import extra_ids
from tinyllm.tokenizers.tokenizer import Tokenizer
from tinyllm.tokenizers.unigram import unknown_encoder


def sentencepiece_tokenizer(
    path: Path,
    vocabulary: SentencePieceVocabulary,
    settings: Settings,
    sources: dict[str, bytes],
    export: Callable[[Tokenizer], dict[str, bytes]],
) -> Tokenizer:
    """Build the tokenizer of a SentencePiece vocabulary.

    Raises TokenizerError where the vocabulary cannot encode every text, or contradicts `settings`.
    """
    own = {piece: i for i, piece in enumerate(vocabulary.pieces)}
    roles = vocabulary.roles | settings.roles
    hidden = vocabulary.of_type(PieceType.UNKNOWN, PieceType.CONTROL)
    ids, added = combine(
        path,
        own,
        [AddedToken(content=p, id=i, special=True, normalized=False) for p, i in hidden.items()]
        + extra_ids(path, len(own), settings)
        + list(settings.added),
        roles,
    )

    def text_of(*wanted: PieceType) -> dict[str, int]:
        return {p: i for p, i in vocabulary.of_type(*wanted).items() if p not in added}

    kept = text_of(PieceType.USER_DEFINED)
    bytes_ = byte_ids(path, text_of(PieceType.BYTE)) if vocabulary.byte_fallback else []
    if vocabulary.is_unigram:
        unknown = unknown_encoder(own[str(vocabulary.roles["unk"])], bytes_)
        encode_word = unigram_encoder(vocabulary, text_of(PieceType.NORMAL) | kept, unknown)
    else:
        text, unused = text_of(PieceType.NORMAL), text_of(PieceType.UNUSED)
        encode_word = bpe_encoder(vocabulary.scores, text, unused, bytes_)
    return assemble(
        path,
        ids=ids,
        added=added,
        user_defined={} if vocabulary.is_unigram else kept,
        piece_bytes=piece_bytes,
        first_bytes=first_piece_bytes if vocabulary.drops_space else piece_bytes,
        roles=roles,
        add_bos=roles.get("bos") is not None,
        add_eos=vocabulary.is_unigram and roles.get("bos") is None and roles.get("eos") is not None,
        settings=settings,
        normalize=sentencepiece_normalizer(vocabulary),
        pretokenize=lambda part, at_start: (part,),
        encode_word=encode_word,
        sources=sources,
        export=export,
    )
