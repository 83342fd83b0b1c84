"""tokenizer_config.json: what a model's folder says beside the vocabulary itself."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.json_file import MEBIBYTE, read_json
from tinyllm.tokenizers.added_tokens import AddedToken, read_added_token

ROLES = ("bos", "eos", "unk", "pad")


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What is said; what is not said stays with the vocabulary's own word."""

    roles: dict[str, str | None] = field(
        default_factory=dict
    )  # "bos" -> "<s>"; None: there is none
    add_bos: bool | None = None
    add_eos: bool | None = None
    added: tuple[AddedToken, ...] = ()
    entries: dict[str, Any] = field(default_factory=dict)  # all of it, for what one kind reads


def read_settings(path: Path) -> Settings:
    """Read tokenizer_config.json.

    Keys that only programs of other kinds use (chat templates, lengths, class names) are passed
    over. Raises TokenizerError where the rest is not as expected.
    """
    entries = read_json(path, TokenizerError, 16 * MEBIBYTE)
    decoder = entries.get("added_tokens_decoder", {})
    if not isinstance(decoder, dict):
        raise TokenizerError(f"{path}: added_tokens_decoder is no object of ids and tokens")
    return Settings(
        roles={
            role: token_name(path, key, entries[key])
            for role in ROLES
            if (key := f"{role}_token") in entries
        },
        add_bos=_flag(path, entries, "add_bos_token"),
        add_eos=_flag(path, entries, "add_eos_token"),
        entries=entries,
        added=tuple(
            read_added_token(path, entry, int(id_) if id_.isdecimal() and len(id_) < 10 else id_)
            for id_, entry in decoder.items()
        ),
    )


def _flag(path: Path, entries: dict[str, Any], key: str) -> bool | None:
    """Read a boolean; None where it is not there."""
    value = entries.get(key)
    if not isinstance(value, bool | None):
        raise TokenizerError(f"{path}: {key} is {str(value)[:40]!r}; expected a boolean")
    return value


def token_name(path: Path, key: str, value: Any) -> str | None:
    """Read the token that a key names, by its text or by an object with its text.

    Raises TokenizerError where it is neither, nor null.
    """
    name = value.get("content") if isinstance(value, dict) else value
    if name is not None and not isinstance(name, str):
        raise TokenizerError(f"{path}: {key} is {str(value)[:40]!r}; expected the token's text")
    return name
