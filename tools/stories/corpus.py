"""The stories that the shipped model learns from, and those that it is judged by.

Two files of TinyStories (Eldan and Li 2023, arXiv:2305.07759): one in original case, its stories
separated by <|endoftext|>, and one in lower case that begins with the same text. Validation is the
end of the first; what training takes from anywhere shares no run of `RUN` letters and digits with
it.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.stories.casing import Casing

ORIGINAL = "train-original-case-2MB.txt"
LOWER = "train-lower-case-4MB.txt"
END = "<|endoftext|>"
VALIDATION = 0.05  # of the stories in original case, the last ones
PRIOR = 2.0  # how much a single line feed speaks for a new story
RUN = 60  # letters and digits: what no training story shares with a validation story

# UTF-8 that was once read as Windows-1252, and then lower-cased.
_MISREAD = {
    "â€œ": "“", "â€\x9d": "”", "â€™": "’", "â€˜": "‘", "â€“": "–", "â€”": "—", "â€¦": "…",
    "ã©": "é", "ã±": "ñ", "ã¡": "á", "ã³": "ó", "â€": "”", "ï»¿": "",
}  # fmt: skip
_STRANGE = re.compile(r"[âã€œ™\ufffd]")


@dataclass(frozen=True, slots=True)
class Stories:
    """What training may see of each file, and what judges it."""

    original: list[str]
    restored: list[str]  # of the lower-case file, cased again
    validation: list[str]


def read_stories(folder: Path) -> Stories:
    """Read both files; the last part of the original one is for validation."""
    original = split_original((folder / ORIGINAL).read_text(encoding="utf-8"))
    before, validation = split_validation(original)
    held_out = Runs(validation)
    train = [story for story in before if not held_out.shares(story)]
    lower = split_lower((folder / LOWER).read_text(encoding="utf-8"), Openings(train))
    known = Runs(train)
    new = (s for s in lower if not held_out.shares(s) and known.share(s) < 0.3)
    casing = Casing(train)
    restored = [casing.restore(story) for story in new]
    return Stories(train, restored, validation)


def split_validation(original: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part the stories that training may see from those it may not."""
    cut = len(original) - round(VALIDATION * len(original))
    return list(original[:cut]), list(original[cut:])


def split_original(text: str) -> list[str]:
    """Take the stories apart; what a story's lines end in is not kept."""
    stories = (story.strip() for story in text.split(END))
    return [story for story in stories if story]


def split_lower(text: str, openings: "Openings") -> list[str]:
    """Take the stories of the lower-case file apart, whose ends are not marked.

    A blank line never ends a story, and a single line feed nearly always does: unless what follows
    begins as stories do not.
    """
    for wrong, right in _MISREAD.items():
        text = text.replace(wrong, right)
    stories: list[list[str]] = []
    for chunk in re.split(r"(?<!\n)\n(?!\n)", text):
        paragraphs = [p.strip() for p in chunk.split("\n") if p.strip()]
        if not paragraphs:
            continue
        if stories and not openings.begins(paragraphs[0]):
            stories[-1].extend(paragraphs)
        else:
            stories.append(paragraphs)
    joined = ("\n".join(paragraphs) for paragraphs in stories)
    return [story for story in joined if not _STRANGE.search(story) and len(story) > 200]


class Openings:
    """Tells the first paragraph of a story from later ones, by its first words (naive Bayes)."""

    def __init__(self, stories: Iterable[str]) -> None:
        self._first: Counter[object] = Counter()
        self._later: Counter[object] = Counter()
        self._totals = [0, 0]
        for story in stories:
            for index, paragraph in enumerate(p for p in story.split("\n") if p.strip()):
                (self._later if index else self._first).update(_features(paragraph))
                self._totals[index > 0] += 1

    def begins(self, paragraph: str) -> bool:
        """Say whether a story begins with this."""
        first, later = self._totals
        evidence = sum(
            math.log((self._first[f] + 0.5) / (first + 1))
            - math.log((self._later[f] + 0.5) / (later + 1))
            for f in _features(paragraph)
        )
        return evidence + PRIOR > 0


def _features(paragraph: str) -> list[object]:
    words = re.findall(r"[a-z'’]+|[^a-z'’\s]", paragraph.lower())[:5]
    return [*enumerate(words), tuple(words[:2])]


def letters(text: str) -> str:
    """Return the letters and digits, in lower case."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


class Runs:
    """The runs of `RUN` letters and digits of some texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._runs = {run for text in texts for run in _runs(text)}

    def shares(self, text: str) -> bool:
        """Say whether `text` has a run of theirs."""
        return any(run in self._runs for run in _runs(text))

    def share(self, text: str) -> float:
        """Return which part of the runs of `text` they have."""
        runs = list(_runs(text))
        return sum(run in self._runs for run in runs) / max(1, len(runs))


def _runs(text: str) -> Iterator[str]:
    kept = letters(text)
    return (kept[i : i + RUN] for i in range(max(0, len(kept) - RUN + 1)))
