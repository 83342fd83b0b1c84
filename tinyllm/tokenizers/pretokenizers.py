"""tokenizer.json's pre-tokenizers: cut a text into the words that the model then splits."""

import re
from pathlib import Path
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.byte_fallback import SPACE
from tinyllm.tokenizers.tokenizer import Pretokenize

_WORDS = re.compile(f"{SPACE}?[^{SPACE}]+|{SPACE}")  # each ▁ begins a word


def read_pretokenizer(path: Path, spec: dict[str, Any] | None) -> Pretokenize:
    """Return the function that a `pre_tokenizer` entry describes; None: the text is one word.

    Raises TokenizerError that names what is unknown.
    """
    if spec is None:
        return lambda text, at_start: (text,)
    match spec:
        case {"type": "Metaspace", "replacement": "▁"}:
            scheme = spec.get("prepend_scheme")
            if scheme is None:  # as files before 2023 say it
                scheme = "always" if spec.get("add_prefix_space", True) is True else "never"
            split = spec.get("split", True)
            if scheme in ("always", "first", "never") and type(split) is bool:
                return _metaspace(scheme, split)
    raise TokenizerError(f"{path}: the pre_tokenizer {str(spec)[:120]} is not supported")


def _metaspace(scheme: str, split: bool) -> Pretokenize:
    """Write ▁ for spaces, with one before the text (or each part of it) where none is."""

    def pretokenize(text: str, at_start: bool) -> list[str]:
        text = text.replace(" ", SPACE)
        prefixed = scheme == "always" or (scheme == "first" and at_start)
        if prefixed and not text.startswith(SPACE):
            text = SPACE + text
        return _WORDS.findall(text) if split else [text]

    return pretokenize
