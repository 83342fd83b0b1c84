"""tokenizer.json's normalizers: functions from text to text that run before the model.

A regular expression in a file is compared with those known here and never compiled: it could take
for ever.
"""

import re
from functools import partial
from pathlib import Path
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.bert import bert_normalizer, lowercase, strip_accents
from tinyllm.tokenizers.byte_fallback import SPACE
from tinyllm.tokenizers.character_map import precompiled_normalizer, read_base64_character_map
from tinyllm.tokenizers.tokenizer import Normalize
from tinyllm.tokenizers.unicode import WHITE_SPACE, normal_form

# What a file calls a pattern, and what it does to a text with the replacement given.
# A run of ▁ at the end is sought from where it begins, or long runs would take quadratic time.
LEADING_SPACES, RUNS_OF_SPACES = r"\A +", " {2,}"
TRAILING_SPACES = rf"(?<!{SPACE}){SPACE}+\z"
_PATTERNS: dict[str, re.Pattern[str]] = {
    LEADING_SPACES: re.compile(r"\A +"),
    RUNS_OF_SPACES: re.compile(" {2,}"),
    TRAILING_SPACES: re.compile(rf"(?<!{SPACE}){SPACE}+\Z"),
}


def read_normalizer(path: Path, spec: dict[str, Any] | None) -> Normalize:
    """Return the function that a `normalizer` entry describes; None stands for no change.

    Raises TokenizerError that names what is unknown.
    """
    if spec is None:
        return lambda text: text
    match spec:
        case {"type": "NFC" | "NFD" | "NFKC" | "NFKD" as form}:
            return partial(normal_form, form)
        case {"type": "Sequence", "normalizers": [*specs]}:
            return _in_sequence([read_normalizer(path, inner) for inner in specs])
        case {"type": "Prepend", "prepend": str(prefix)}:
            return lambda text: prefix + text if text else text
        case {"type": "Replace", "pattern": {"String": str(old)}, "content": str(new)} if old:
            return lambda text: text.replace(old, new)
        case {"type": "Replace", "pattern": {"Regex": str(regex)}, "content": str(new)}:
            if regex in _PATTERNS:
                pattern = _PATTERNS[regex]
                return lambda text: pattern.sub(lambda _: new, text)
        case {"type": "Precompiled", "precompiled_charsmap": str(charsmap)}:
            return precompiled_normalizer(read_base64_character_map(path, charsmap))
        case {"type": "Lowercase"}:
            return lowercase
        case {"type": "StripAccents"}:
            return strip_accents
        case {"type": "Strip", "strip_left": bool(left), "strip_right": bool(right)}:
            return partial(_strip, left, right)
        case {
            "type": "BertNormalizer",
            "clean_text": bool(cleans),
            "handle_chinese_chars": bool(spaces),
            "strip_accents": bool() | None as strips,
            "lowercase": bool(lowers),
        }:
            return bert_normalizer(
                clean_text=cleans,
                handle_chinese_chars=spaces,
                strip_accents=strips,
                lowercase=lowers,
            )
    raise TokenizerError(f"{path}: the normalizer {str(spec)[:120]} is not supported")


def _strip(left: bool, right: bool, text: str) -> str:
    text = text.lstrip(WHITE_SPACE) if left else text
    return text.rstrip(WHITE_SPACE) if right else text


def _in_sequence(steps: list[Normalize]) -> Normalize:
    def normalize(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    return normalize
