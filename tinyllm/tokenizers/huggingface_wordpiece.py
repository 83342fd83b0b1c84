"""Read a tokenizer.json whose model is WordPiece (BERT, DistilBERT, ELECTRA)."""

from pathlib import Path
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.shown import shown
from tinyllm.tokenizers.huggingface_model import (
    HuggingFaceModel,
    check_keys,
    read_unknown,
    read_vocab,
)
from tinyllm.tokenizers.pretokenizers import read_pretokenizer
from tinyllm.tokenizers.wordpiece import (
    check_word_length,
    first_piece_bytes,
    piece_bytes,
    wordpiece_encoder,
)


def read_wordpiece(path: Path, file: dict[str, Any]) -> HuggingFaceModel:
    """Read the model of `file`, the contents of `path`.

    Raises TokenizerError where it is damaged, or asks for what tinyllm does not do.
    """
    model = file["model"]
    keys = {"vocab", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word"}
    check_keys(path, model, keys, {})
    own = read_vocab(path, model.get("vocab"))
    unknown = read_unknown(path, model)
    if unknown not in own:
        raise TokenizerError(f"{path}: the unk token {shown(unknown)} is not in the vocabulary")
    prefix = model.get("continuing_subword_prefix")
    if not isinstance(prefix, str):
        raise TokenizerError(f"{path}: continuing_subword_prefix is {shown(prefix)}")
    longest_word = check_word_length(path, model.get("max_input_chars_per_word"))
    shown_prefix, cleanup = _read_decoder(path, file.get("decoder"))

    return HuggingFaceModel(
        ids=own,
        unknown=unknown,
        piece_bytes=piece_bytes(shown_prefix, cleanup),
        first_bytes=first_piece_bytes(cleanup),
        pretokenize=read_pretokenizer(path, file.get("pre_tokenizer")),
        encoder=wordpiece_encoder(own, prefix, own[unknown], longest_word),
    )


def _read_decoder(path: Path, spec: Any) -> tuple[str, bool]:
    match spec:
        case {"type": "WordPiece", "prefix": str(prefix), "cleanup": bool(cleanup)}:
            return prefix, cleanup
    raise TokenizerError(f"{path}: the decoder {shown(spec)} is not supported")
