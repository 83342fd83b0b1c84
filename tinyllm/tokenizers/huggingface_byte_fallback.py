"""Read a tokenizer.json whose model is BPE with byte fallback (Llama-1/2, Mistral)."""

from pathlib import Path
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.added_tokens import AddedToken
from tinyllm.tokenizers.byte_fallback import (
    BYTE_PIECES,
    byte_ids,
    first_piece_bytes,
    piece_bytes,
    word_encoder,
)
from tinyllm.tokenizers.decoders import decoders
from tinyllm.tokenizers.huggingface_bpe import check_bpe, read_merges
from tinyllm.tokenizers.huggingface_model import HuggingFaceModel, read_unknown, read_vocab
from tinyllm.tokenizers.pretokenizers import read_pretokenizer
from tinyllm.tokenizers.tokenizer import EncodeWord


def read_byte_fallback(path: Path, file: dict[str, Any]) -> HuggingFaceModel:
    """Read the model of `file`, the contents of `path`.

    Raises TokenizerError where it is damaged, or asks for what tinyllm does not do.
    """
    model = file["model"]
    check_bpe(path, model)
    own = read_vocab(path, model.get("vocab"))
    ranks = read_merges(path, model.get("merges"), own)
    for pair, i in ranks.items():
        if not BYTE_PIECES.keys().isdisjoint(pair):
            raise TokenizerError(f"{path}: merge {i} joins a byte piece, which is not supported")
    bytes_ = byte_ids(path, own)

    def encoder(added: dict[str, AddedToken]) -> EncodeWord:
        text = {p: i for p, i in own.items() if p not in added and p not in BYTE_PIECES}
        return word_encoder(
            text,
            bytes_,
            # What only looks like a token that is no text must not come out of merges either.
            lambda left, right: ranks.get((left, right)) if left + right in text else None,
        )

    return HuggingFaceModel(
        ids=own,
        unknown=read_unknown(path, model),
        piece_bytes=piece_bytes,
        first_bytes=first_piece_bytes if _drops_space(path, file.get("decoder")) else piece_bytes,
        pretokenize=read_pretokenizer(path, file.get("pre_tokenizer")),
        encoder=encoder,
    )


def _drops_space(path: Path, spec: Any) -> bool:
    """Whether the decoder takes a space away at the start of a text."""
    if isinstance(spec, dict) and spec.get("type") == "Sequence":
        for drops_space in (False, True):
            if spec.get("decoders") == decoders(drops_space):
                return drops_space
    raise TokenizerError(f"{path}: the decoder {str(spec)[:120]} is not supported")
