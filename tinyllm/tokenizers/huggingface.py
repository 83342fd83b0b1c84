"""Read Hugging Face's tokenizer.json: what all kinds of model share, and a table of the kinds.

Facts: huggingface/tokenizers, src/tokenizer/serialization.rs. The parts `truncation` and `padding`
say how batches are made, not what ids a text has, and are passed over.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.json_file import read_json
from tinyllm.tokenizers.added_tokens import AddedToken, combine, read_added_token
from tinyllm.tokenizers.assembly import assemble
from tinyllm.tokenizers.huggingface_byte_fallback import read_byte_fallback
from tinyllm.tokenizers.huggingface_byte_level import read_byte_level
from tinyllm.tokenizers.huggingface_model import HuggingFaceModel
from tinyllm.tokenizers.huggingface_unigram import read_unigram
from tinyllm.tokenizers.huggingface_wordpiece import read_wordpiece
from tinyllm.tokenizers.normalizers import read_normalizer
from tinyllm.tokenizers.post_processors import Frame, read_post_processor
from tinyllm.tokenizers.settings import Settings
from tinyllm.tokenizers.tokenizer import Normalize, Tokenizer

# The reader of each kind takes the path and the whole file, of which `model` is an object.
_READERS: dict[str, Callable[[Path, dict[str, Any]], HuggingFaceModel]] = {
    "BPE with byte_fallback": read_byte_fallback,
    "BPE": read_byte_level,
    "Unigram": read_unigram,
    "WordPiece": read_wordpiece,
}
_USUAL_NAMES = {
    "bos": ("<s>", "<|begin_of_text|>", "<|endoftext|>", "[CLS]"),
    "eos": ("</s>", "<|end_of_text|>", "<|endoftext|>", "[SEP]"),
    "unk": ("<unk>",),
    "pad": ("<pad>", "[PAD]"),
}


def read_tokenizer_json(path: Path, settings: Settings, sources: dict[str, bytes]) -> Tokenizer:
    """Build the tokenizer that the file `path` describes; `sources` is what its `save` writes.

    Raises TokenizerError as `read_description` does, and where the file is damaged.
    """
    return read_description(path, read_json(path, TokenizerError), settings, sources, {})


def read_description(
    path: Path,
    file: dict[str, Any],
    settings: Settings,
    sources: dict[str, bytes],
    export: dict[str, bytes],
) -> Tokenizer:
    """Build the tokenizer that `file` describes, the object that a tokenizer.json at `path` holds.

    `export` are files that its `save` writes beside `sources`. Raises TokenizerError where `file`
    is wrong, contradicts `settings`, or asks for what tinyllm does not do.
    """
    kind = _kind(path, file.get("model"))
    return build_tokenizer(
        path,
        _READERS[kind](path, file),
        added=_read_added_tokens(path, file.get("added_tokens")),
        frame=read_post_processor(path, file.get("post_processor")),
        normalize=read_normalizer(path, file.get("normalizer")),
        settings=settings,
        sources=sources,
        export=lambda tokenizer: export,
    )


def build_tokenizer(
    path: Path,
    model: HuggingFaceModel,
    *,
    added: list[AddedToken],
    frame: Frame,
    normalize: Normalize,
    settings: Settings,
    sources: dict[str, bytes],
    export: Callable[[Tokenizer], dict[str, bytes]],
) -> Tokenizer:
    """Build the tokenizer of a model, its added tokens and those that stand around a text.

    Raises TokenizerError where these, or `settings`, contradict one another.
    """
    first, last = frame
    roles = _roles(model.unknown, added, first, last) | settings.roles
    ids, by_content = combine(path, model.ids, [*added, *settings.added], roles)
    return assemble(
        path,
        ids=ids,
        added=by_content,
        user_defined={},
        piece_bytes=model.piece_bytes,
        first_bytes=model.first_bytes,
        roles=roles,
        add_bos=first is not None and first == roles.get("bos"),
        add_eos=last is not None and last == roles.get("eos"),
        settings=settings,
        normalize=normalize,
        pretokenize=model.pretokenize,
        encode_word=model.encoder(by_content),
        sources=sources,
        export=export,
    )


def _kind(path: Path, model: Any) -> str:
    """Tell the kind of a model, one of `_READERS`."""
    if not isinstance(model, dict):
        raise TokenizerError(f"{path}: has no 'model' object")
    kind = str(model.get("type"))[:40]
    if kind == "BPE":
        kind += " with byte_fallback" if model.get("byte_fallback") is True else ""
    if kind not in _READERS:
        raise TokenizerError(
            f"{path}: a model of type {kind!r} is not supported; {', '.join(_READERS)} are"
        )
    return kind


def _read_added_tokens(path: Path, entries: Any) -> list[AddedToken]:
    if not isinstance(entries, list | None):
        raise TokenizerError(f"{path}: 'added_tokens' is no list")
    return [
        read_added_token(path, entry, entry.get("id") if isinstance(entry, dict) else None)
        for entry in entries or []
    ]


def _roles(
    unknown: str | None, added: list[AddedToken], first: str | None, last: str | None
) -> dict[str, str | None]:
    """Tell BOS, EOS and the others by what the file says of them, or by their usual names."""
    special = {token.content for token in added if token.special}
    told = {"bos": first, "eos": last, "unk": unknown}
    return {
        role: told.get(role) or next((name for name in usual if name in special), None)
        for role, usual in _USUAL_NAMES.items()
    }
