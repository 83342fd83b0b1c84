"""The pre-tokenizers of byte-level BPE in tokenizer.json: steps, one of which is ByteLevel.

    GPT-2, NeoX            ByteLevel
    Llama-3, Qwen, BLOOM   Split, ByteLevel
    SmolLM                 Digits, ByteLevel
    Falcon                 Punctuation, ByteLevel, Digits, Split

ByteLevel writes each byte as a character (see `byte_level`). What stands behind it cuts these, and
so may cut the bytes of one character apart: 贾 is è´¾ then, and ¾ is a number.
"""

from pathlib import Path
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.byte_level import piece_bytes, spell, word_bytes
from tinyllm.tokenizers.tokenizer import Pretokenize
from tinyllm.tokenizers.word_patterns import (
    DIGITS,
    EACH_DIGIT,
    GPT2,
    PUNCTUATION,
    SPLITS,
    Split,
    split_by,
)


def read_byte_level_pretokenizer(path: Path, spec: Any) -> Pretokenize:
    """Return the function that a `pre_tokenizer` entry with a ByteLevel step describes.

    Raises TokenizerError that names what is unknown.
    """
    steps: list[Split] = []
    spelled = False
    for step in _steps(spec):
        match step:
            case {"type": "ByteLevel"} if not spelled and _is_plain(step):
                spelled = True
                if step.get("add_prefix_space", True):
                    steps.append(_with_space_in_front)
                if step.get("use_regex", True):
                    steps.append(split_by(GPT2))
            case _:
                split = _read_split(step)
                if split is None:
                    raise TokenizerError(
                        f"{path}: the pre_tokenizer {str(step)[:120]} is not supported"
                    )
                steps.append(_of_spelling(split) if spelled else split)
    if not spelled:
        raise TokenizerError(
            f"{path}: BPE without byte_fallback needs the pre_tokenizer ByteLevel; the file has"
            f" {str(spec)[:120]}"
        )
    return _in_sequence(steps)


def _steps(spec: Any) -> list[Any]:
    match spec:
        case {"type": "Sequence", "pretokenizers": [*steps]}:
            return steps
        case None:
            return []
    return [spec]


def _is_plain(step: dict[str, Any]) -> bool:
    """Whether the flags of a ByteLevel step are booleans; `trim_offsets` changes no ids."""
    return all(type(step.get(flag, True)) is bool for flag in ("add_prefix_space", "use_regex"))


def _read_split(step: Any) -> Split | None:
    """Return the function of a step that cuts; None for an unknown one."""
    match step:
        case {
            "type": "Split",
            "pattern": {"Regex": str(regex)},
            "behavior": "Isolated",
            "invert": False,
        } if regex in SPLITS:
            return split_by(regex)
        case {"type": "Digits", "individual_digits": bool(each)}:
            return split_by(EACH_DIGIT if each else DIGITS)
        case {"type": "Punctuation", "behavior": "Contiguous"}:
            return split_by(PUNCTUATION)
    return None


def _with_space_in_front(text: str) -> list[str]:
    return [text if text.startswith(" ") else " " + text]


def _of_spelling(split: Split) -> Split:
    """Cut a word as it is written in the alphabet of pieces."""

    def split_spelled(word: str) -> list[str]:
        parts = split(spell(word_bytes(word)))
        return [piece_bytes(part).decode("utf-8", "surrogateescape") for part in parts]

    return split_spelled


def _in_sequence(steps: list[Split]) -> Pretokenize:
    def pretokenize(text: str, at_start: bool) -> list[str]:
        words = [text]
        for step in steps:
            words = [part for word in words for part in step(word)]
        return words

    return pretokenize
