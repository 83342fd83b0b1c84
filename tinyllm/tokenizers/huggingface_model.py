"""What the readers of tokenizer.json's kinds of model give back, and what they share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.added_tokens import AddedToken, read_id
from tinyllm.tokenizers.tokenizer import EncodeWord, Pretokenize


@dataclass(frozen=True, kw_only=True, slots=True)
class HuggingFaceModel:
    """A model, with the parts of the file that mean something to its kind alone."""

    ids: dict[str, int]  # its own pieces, without those that only `added_tokens` has
    unknown: str | None
    piece_bytes: Callable[[str], bytes]  # what a piece says in a decoded text
    first_bytes: Callable[[str], bytes]  # and at the start of a text
    pretokenize: Pretokenize
    encoder: Callable[[dict[str, AddedToken]], EncodeWord]  # none of its words becomes these tokens


def read_vocab(path: Path, vocab: Any) -> dict[str, int]:
    """Check a `vocab` of pieces and their ids, which may leave holes.

    Raises TokenizerError where it is none, or where two pieces share an id.
    """
    if not isinstance(vocab, dict):
        raise TokenizerError(f"{path}: the model's 'vocab' is no object of pieces and ids")
    owner: dict[int, str] = {}
    for piece, id_ in vocab.items():
        if not piece:
            raise TokenizerError(f"{path}: the piece with the id {str(id_)[:40]} is empty")
        if owner.setdefault(read_id(path, piece, id_), piece) != piece:
            raise TokenizerError(f"{path}: {owner[id_]!r} and {piece!r} have the same id {id_}")
    return vocab


def read_unknown(path: Path, model: dict[str, Any]) -> str | None:
    """Read `unk_token`. Raises TokenizerError where it is neither text nor null."""
    unknown = model.get("unk_token")
    if not isinstance(unknown, str | None):
        raise TokenizerError(f"{path}: unk_token is {str(unknown)[:40]!r}; expected a token's text")
    return unknown


def check_keys(
    path: Path, model: dict[str, Any], read: set[str], neutral: dict[str, tuple[Any, ...]]
) -> None:
    """Refuse the keys of a model that are not `read`, unless they say nothing.

    A key of `neutral` changes nothing when it has one of the values there. Raises TokenizerError
    that names the first other one.
    """
    for key, value in model.items():
        if key not in read | {"type"} and not (key in neutral and value in neutral[key]):
            raise TokenizerError(f"{path}: {key!r} = {str(value)[:40]} is not supported")
