"""Give lower-cased stories their capitals back.

A word takes the form that it mostly has in the middle of a sentence of the stories whose case is
known: that finds names. Sentences and direct speech begin with a capital.
"""

import re
from collections import Counter
from collections.abc import Iterable

_WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)*")
_ENDS = re.compile(
    r"(?:^|[.!?…][\"”'’)]*\s+|\n\s*)[\"“‘'(]*$"
)  # the text before a sentence's start
_SPEECH = re.compile(r"(?:^|[\s(])[\"“]$")  # the text before direct speech
_REACH = 8  # characters before a word that decide


class Casing:
    """How words are written, as learned from stories in their case."""

    def __init__(self, stories: Iterable[str]) -> None:
        seen: Counter[str] = Counter()
        for story in stories:
            for match in _WORD.finditer(story):
                if not _starts(story, match.start()):
                    seen[match.group()] += 1
        forms: dict[str, str] = {}
        for word, _ in sorted(seen.items(), key=lambda item: (item[1], item[0])):
            forms[word.lower()] = word  # the most frequent comes last
        self._forms = {low: word for low, word in forms.items() if low != word}

    def restore(self, story: str) -> str:
        """Return a lower-cased story as it was probably written."""

        def write(match: re.Match[str]) -> str:
            word = match.group()
            stem, mark, ending = word.partition("'" if "'" in word else "’")
            form = self._forms.get(word) or self._forms.get(stem, stem) + mark + ending
            return form[0].upper() + form[1:] if _starts(story, match.start()) else form

        return _WORD.sub(write, story)


def share_restored(casing: Casing, stories: Iterable[str]) -> float:
    """Return which share of the words of known stories come back as they were."""
    pairs = [
        pair
        for story in stories
        for pair in zip(
            _WORD.findall(story), _WORD.findall(casing.restore(story.lower())), strict=True
        )
    ]
    return sum(known == found for known, found in pairs) / len(pairs)


def _starts(story: str, index: int) -> bool:
    before = story[max(0, index - _REACH) : index]
    if len(before) < _REACH and index == len(before):
        before = "\n" + before
    return bool(_ENDS.search(before) or _SPEECH.search(before))
