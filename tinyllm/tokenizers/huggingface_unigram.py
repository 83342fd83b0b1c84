"""Read a tokenizer.json whose model is Unigram (T5, XLM-R, mBART)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.shown import shown
from tinyllm.tokenizers.added_tokens import MAX_IDS, AddedToken
from tinyllm.tokenizers.byte_fallback import BYTE_PIECES, byte_ids, first_piece_bytes, piece_bytes
from tinyllm.tokenizers.decoders import decoders
from tinyllm.tokenizers.huggingface_model import HuggingFaceModel, check_keys
from tinyllm.tokenizers.metaspace import metaspace_bytes, read_metaspace
from tinyllm.tokenizers.pretokenizers import read_pretokenizer
from tinyllm.tokenizers.tokenizer import EncodeWord
from tinyllm.tokenizers.unigram import UNKNOWN_PENALTY, unknown_encoder, word_encoder

_LARGEST = 1e30  # so that sums of scores stay finite


def read_unigram(path: Path, file: dict[str, Any]) -> HuggingFaceModel:
    """Read the model of `file`, the contents of `path`.

    Raises TokenizerError where it is damaged, or asks for what tinyllm does not do.
    """
    model = file["model"]
    check_keys(path, model, {"vocab", "unk_id", "byte_fallback"}, {})
    scores = _read_scores(path, model.get("vocab"))
    own = {piece: i for i, piece in enumerate(scores)}
    unknown = model.get("unk_id")
    if type(unknown) is not int or not 0 <= unknown < len(own):
        raise TokenizerError(
            f"{path}: unk_id is {shown(unknown)}; expected the place of a piece among {len(own)}"
        )
    falls_back = model.get("byte_fallback", False)
    if type(falls_back) is not bool:
        raise TokenizerError(f"{path}: byte_fallback is {shown(falls_back)}; expected a boolean")
    bytes_ = byte_ids(path, own) if falls_back else []

    def encoder(added: dict[str, AddedToken]) -> EncodeWord:
        hidden = added.keys() | (BYTE_PIECES if falls_back else {})
        return word_encoder(
            own,
            {piece: score for piece, score in scores.items() if piece not in hidden},
            unknown_score=min(scores.values()) - UNKNOWN_PENALTY,
            unknown=unknown_encoder(unknown, bytes_),
            precision="d",
        )

    in_text, at_start = _read_decoder(path, file.get("decoder"))
    return HuggingFaceModel(
        ids=own,
        unknown=list(own)[unknown],
        piece_bytes=in_text,
        first_bytes=at_start,
        pretokenize=read_pretokenizer(path, file.get("pre_tokenizer")),
        encoder=encoder,
    )


def _read_scores(path: Path, vocab: Any) -> dict[str, float]:
    """Check the list of pieces and scores; a piece's id is its place."""
    if not isinstance(vocab, list) or not 0 < len(vocab) <= MAX_IDS:
        raise TokenizerError(f"{path}: the model's 'vocab' is no list of pieces and scores")
    scores: dict[str, float] = {}
    for i, entry in enumerate(vocab):
        match entry:
            case [str(piece), float() | int() as score] if type(score) is not bool and piece:
                if piece in scores:
                    raise TokenizerError(f"{path}: the piece {piece!r} is in 'vocab' twice")
                if not abs(score) < _LARGEST:  # NaN is not, either
                    raise TokenizerError(f"{path}: the score of {piece!r} is {shown(score)}")
                scores[piece] = score
            case _:
                raise TokenizerError(
                    f"{path}: piece {i} is {shown(entry)}; expected a text and its score"
                )
    return scores


def _read_decoder(path: Path, spec: Any) -> tuple[Callable[[str], bytes], Callable[[str], bytes]]:
    """What pieces are in a text, and at the start of one."""
    match spec:
        case {"type": "Metaspace"}:
            return metaspace_bytes(read_metaspace(path, spec))
        case {"type": "Sequence", "decoders": [*steps]}:
            if steps == decoders(drops_space=True):
                return piece_bytes, first_piece_bytes
            if steps == decoders(drops_space=False):
                return piece_bytes, piece_bytes
    raise TokenizerError(f"{path}: the decoder {shown(spec)} is not supported")
