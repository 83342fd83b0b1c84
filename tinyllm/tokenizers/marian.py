"""Marian's translation models: SentencePiece cuts the text, and vocab.json has the ids.

source.spm cuts texts of the language that is translated, target.spm of the other; one vocab.json
numbers the pieces of both. Facts: transformers, models/marian/tokenization_marian.py.
"""

import re
from pathlib import Path

from tinyllm.errors import TokenizerError
from tinyllm.files import read_bytes
from tinyllm.json_file import MEBIBYTE, read_json
from tinyllm.tokenizers.added_tokens import AddedToken, combine
from tinyllm.tokenizers.assembly import assemble
from tinyllm.tokenizers.byte_fallback import byte_piece, first_piece_bytes, piece_bytes
from tinyllm.tokenizers.huggingface_model import read_vocab
from tinyllm.tokenizers.sentencepiece_encoders import unigram_encoder
from tinyllm.tokenizers.sentencepiece_file import read_sentencepiece
from tinyllm.tokenizers.sentencepiece_normalizer import sentencepiece_normalizer
from tinyllm.tokenizers.sentencepiece_vocabulary import PieceType
from tinyllm.tokenizers.settings import Settings
from tinyllm.tokenizers.tokenizer import Tokenizer

VOCABULARY, SIDES = "vocab.json", ("source.spm", "target.spm")
_LANGUAGE = re.compile(r">>[^<>]+<<")  # which the text is to be translated to
_MAX_BYTES = 64 * MEBIBYTE


def marian_tokenizer(
    path: Path, content: bytes, settings: Settings, sources: dict[str, bytes]
) -> Tokenizer:
    """Build the tokenizer of one side: of `content`, the bytes of the file `path`.

    The tokens >>xx<< of a vocabulary with several languages are special. Raises TokenizerError
    where a file is damaged, or where the two languages have a vocabulary each.
    """
    if settings.entries.get("separate_vocabs"):
        raise TokenizerError(f"{path}: separate_vocabs is not supported; one vocab.json is")
    vocabulary = read_sentencepiece(path, content)
    if not vocabulary.is_unigram:
        raise TokenizerError(f"{path}: is a BPE model; of Marian, Unigram is supported")
    beside = path.parent / VOCABULARY
    own = read_vocab(beside, read_json(beside, TokenizerError, _MAX_BYTES))
    usual = {"unk": "<unk>", "eos": "</s>", "pad": "<pad>"}
    roles: dict[str, str | None] = {role: p for role, p in usual.items() if p in own}
    roles |= settings.roles
    unknown = roles.get("unk", usual["unk"])
    if unknown not in own:
        raise TokenizerError(
            f"{beside}: has no unknown token; expected <unk>, or what tokenizer_config.json names"
        )
    special = [p for p in own if p in roles.values() or _LANGUAGE.fullmatch(p)]
    ids, added = combine(
        beside,
        own,
        [AddedToken(content=p, id=own[p], special=True, normalized=False) for p in special]
        + list(settings.added),
        roles,
    )

    def numbered(piece: str) -> int:
        return own.get(piece, own[unknown]) if piece not in added else own[unknown]

    def spell(text: str) -> list[int]:
        """Unknown to one of the two sides, a text may still be a piece of the other."""
        if vocabulary.byte_fallback:
            return [numbered(byte_piece(byte)) for byte in text.encode()]
        return [numbered(text)]

    pieces = vocabulary.of_type(PieceType.NORMAL, PieceType.USER_DEFINED)
    return assemble(
        path,
        ids=ids,
        added=added,
        user_defined={},
        piece_bytes=piece_bytes,
        first_bytes=first_piece_bytes,
        roles=roles,
        add_bos=False,
        add_eos=roles.get("eos") is not None,
        settings=settings,
        normalize=sentencepiece_normalizer(vocabulary),
        pretokenize=lambda part, at_start: (part,),
        encode_word=unigram_encoder(vocabulary, {p: numbered(p) for p in pieces}, spell),
        sources=sources | _read_beside(path.parent),
        export=lambda tokenizer: {},
    )


def _read_beside(folder: Path) -> dict[str, bytes]:
    """Read the files that a folder of this kind has to have."""
    names = (VOCABULARY, *SIDES)
    return {name: read_bytes(folder / name, TokenizerError, _MAX_BYTES) for name in names}
