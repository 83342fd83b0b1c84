"""tokenizer.json's post-processors: which tokens stand before and behind a text."""

from pathlib import Path
from typing import Any, TypeAlias

from tinyllm.errors import TokenizerError

Frame: TypeAlias = tuple[str | None, str | None]  # (BOS or [CLS], EOS or [SEP]), None for nothing


def read_post_processor(path: Path, spec: Any) -> Frame:
    """Return the tokens that a `post_processor` entry puts around a single text.

    Raises TokenizerError that names what is unknown.
    """
    match spec:
        case None | {"type": "ByteLevel"}:  # which only moves offsets
            return None, None
        case {"type": "TemplateProcessing", "single": [*parts]}:
            frame = _read_template(parts)
            if frame is not None:
                return frame
        case {
            "type": "RobertaProcessing" | "BertProcessing",
            "cls": [str(first), int()],
            "sep": [str(last), int()],
        }:
            return first, last
        case {"type": "Sequence", "processors": [*specs]}:
            frames = [read_post_processor(path, inner) for inner in specs]
            framing = [frame for frame in frames if frame != (None, None)]
            if len(framing) <= 1:
                return framing[0] if framing else (None, None)
    raise TokenizerError(f"{path}: the post_processor {str(spec)[:120]} is not supported")


def _read_template(parts: list[Any]) -> Frame | None:
    """Read a template of the text with at most one token on each side; None for another."""
    match parts:
        case [{"Sequence": _}]:
            return None, None
        case [{"SpecialToken": {"id": str(first)}}, {"Sequence": _}]:
            return first, None
        case [{"Sequence": _}, {"SpecialToken": {"id": str(last)}}]:
            return None, last
        case [
            {"SpecialToken": {"id": str(first)}},
            {"Sequence": _},
            {"SpecialToken": {"id": str(last)}},
        ]:
            return first, last
    return None
