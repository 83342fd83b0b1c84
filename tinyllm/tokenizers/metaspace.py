"""Metaspace, as tokenizer.json has it: spaces written as ▁, both to cut a text and to decode it.

Facts: huggingface/tokenizers, src/pre_tokenizers/metaspace.rs.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.shown import shown
from tinyllm.tokenizers.byte_fallback import SPACE
from tinyllm.tokenizers.tokenizer import Pretokenize


@dataclass(frozen=True, kw_only=True, slots=True)
class Metaspace:
    """What an entry of this type says."""

    replacement: str  # the character written for a space
    scheme: str  # before which parts of a text one is put: "always", "first", "never"
    split: bool  # whether each begins a word


def read_metaspace(path: Path, spec: dict[str, Any]) -> Metaspace:
    """Read an entry, of a pre_tokenizer or a decoder. Raises TokenizerError where it is wrong."""
    scheme = spec.get("prepend_scheme")
    prefixed = spec.get("add_prefix_space")  # as files before 2024 say it
    if scheme is None:
        scheme = "never" if prefixed is False else "always"
    replacement, split = spec.get("replacement", SPACE), spec.get("split", True)
    if (
        scheme not in ("always", "first", "never")
        or not isinstance(prefixed, bool | None)
        or (prefixed is False and scheme != "never")
        or not (isinstance(replacement, str) and len(replacement) == 1)
        or type(split) is not bool
    ):
        raise TokenizerError(f"{path}: {shown(spec)} is no Metaspace that tinyllm knows")
    return Metaspace(replacement=replacement, scheme=scheme, split=split)


def metaspace_pretokenizer(metaspace: Metaspace) -> Pretokenize:
    """Return the function that writes the replacement for spaces, one more before the text."""
    mark, scheme = metaspace.replacement, metaspace.scheme
    words = re.compile(f"{re.escape(mark)}?[^{re.escape(mark)}]+|{re.escape(mark)}")

    def pretokenize(text: str, at_start: bool) -> list[str]:
        text = text.replace(" ", mark)
        prefixed = scheme == "always" or (scheme == "first" and at_start)
        if prefixed and not text.startswith(mark):
            text = mark + text
        return words.findall(text) if metaspace.split else [text]

    return pretokenize


def metaspace_bytes(metaspace: Metaspace) -> tuple[Callable[[str], bytes], Callable[[str], bytes]]:
    """Return the functions from a piece to its text, and to its text at the start of one.

    There no space is left, unless none was put in front either.
    """
    mark = metaspace.replacement
    first = " " if metaspace.scheme == "never" else ""
    return (
        lambda piece: piece.replace(mark, " ").encode(),
        lambda piece: piece.replace(mark, first).encode(),
    )
