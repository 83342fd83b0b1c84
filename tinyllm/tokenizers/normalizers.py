"""tokenizer.json's normalizers: functions from text to text that run before the model.

A regular expression in a file is compared with those known here and never compiled: it could take
for ever.
"""

import re
from pathlib import Path
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.byte_fallback import SPACE
from tinyllm.tokenizers.tokenizer import Normalize

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
    raise TokenizerError(f"{path}: the normalizer {str(spec)[:120]} is not supported")


def _in_sequence(steps: list[Normalize]) -> Normalize:
    def normalize(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    return normalize
