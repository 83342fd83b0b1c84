"""Tokens that are found in a text as they stand, before the model splits what is between them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.literals import PLAIN, Edges

MAX_IDS = 2**22  # no vocabulary is near it, and a table of so many still fits in memory


@dataclass(frozen=True, kw_only=True, slots=True)
class AddedToken:
    """A literal with an id of its own."""

    content: str
    id: int
    special: bool  # no text: a user's text never becomes it
    normalized: bool  # is found in the text after normalization, not before
    edges: Edges = PLAIN


def read_id(path: Path, name: str, value: Any) -> int:
    """Check a token's id. Raises TokenizerError where it is no integer from 0 to 2²² - 1."""
    if type(value) is not int or not 0 <= value < MAX_IDS:
        raise TokenizerError(
            f"{path}: the id of {name!r} is {str(value)[:40]}; expected an integer from 0 to"
            f" {MAX_IDS - 1}"
        )
    return value


def read_added_token(path: Path, entry: Any, id_: Any) -> AddedToken:
    """Read one entry of `added_tokens` or `added_tokens_decoder`.

    Raises TokenizerError for what is no such entry.
    """
    content = entry.get("content") if isinstance(entry, dict) else None
    if not isinstance(content, str) or not content:
        raise TokenizerError(f"{path}: an added token is {str(entry)[:80]!r}; expected its content")
    for flag in ("special", "normalized", *Edges._fields):
        if type(entry.get(flag, False)) is not bool:
            raise TokenizerError(
                f"{path}: {flag!r} of the added token {content!r} is not a boolean"
            )
    special = entry.get("special", False)
    return AddedToken(
        content=content,
        id=read_id(path, content, id_),
        special=special,
        normalized=entry.get("normalized", not special),
        edges=Edges(*(entry.get(flag, False) for flag in Edges._fields)),
    )


def combine(
    path: Path, ids: dict[str, int], added: Iterable[AddedToken], roles: dict[str, str | None]
) -> tuple[dict[str, int], dict[str, AddedToken]]:
    """Put added tokens beside the pieces `ids`: all ids, and the added tokens by their content.

    Of two entries for one token the later tells its kind. The tokens that are BOS, EOS and the
    unknown token are special, said or not. Raises TokenizerError where two tokens share an id, one
    token has two, or a role's token is not there.
    """
    everything = dict(ids)
    owner = {id_: piece for piece, id_ in ids.items()}
    by_content = {}
    for token in added:
        known = everything.setdefault(token.content, token.id)
        if known != token.id:
            raise TokenizerError(
                f"{path}: the added token {token.content!r} has the ids {known} and {token.id}"
            )
        if owner.setdefault(token.id, token.content) != token.content:
            raise TokenizerError(
                f"{path}: the id {token.id} belongs to {owner[token.id]!r} and {token.content!r}"
            )
        by_content[token.content] = token
    for role, name in roles.items():
        if name is None:
            continue
        if name not in everything:
            raise TokenizerError(f"{path}: the {role} token {name!r} is not in the vocabulary")
        if role != "pad":
            plain = AddedToken(content=name, id=everything[name], special=True, normalized=False)
            by_content[name] = replace(by_content.get(name, plain), special=True)
    return everything, by_content
