"""Read a tokenizer.json whose model is byte-level BPE (GPT-2, NeoX, Llama-3, Qwen, SmolLM)."""

from pathlib import Path
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.byte_level import pieces_of_text, shown_as, word_encoder
from tinyllm.tokenizers.byte_level_pretokenizers import read_byte_level_pretokenizer
from tinyllm.tokenizers.huggingface_bpe import READ, check_bpe, read_merges
from tinyllm.tokenizers.huggingface_model import HuggingFaceModel, read_unknown, read_vocab


def read_byte_level(path: Path, file: dict[str, Any]) -> HuggingFaceModel:
    """Read the model of `file`, the contents of `path`.

    Raises TokenizerError where it is damaged, or asks for what tinyllm does not do.
    """
    model = file["model"]
    check_bpe(path, model, READ | {"ignore_merges"})
    pretokenize = read_byte_level_pretokenizer(path, file.get("pre_tokenizer"))
    own = read_vocab(path, model.get("vocab"))
    pairs = read_merges(path, model.get("merges"), own)
    whole_words = model.get("ignore_merges")
    if not isinstance(whole_words, bool | None):
        raise TokenizerError(f"{path}: ignore_merges is {str(whole_words)[:40]!r}; expected a bool")
    decoder = file.get("decoder")
    if not isinstance(decoder, dict) or decoder.get("type") != "ByteLevel":
        raise TokenizerError(f"{path}: the decoder {str(decoder)[:120]} is not supported")
    piece_bytes = shown_as(own)
    return HuggingFaceModel(
        ids=own,
        unknown=read_unknown(path, model),
        piece_bytes=piece_bytes,
        first_bytes=piece_bytes,
        pretokenize=pretokenize,
        encoder=lambda added: word_encoder(
            pieces_of_text(path, own, added), pairs, bool(whole_words)
        ),
    )
