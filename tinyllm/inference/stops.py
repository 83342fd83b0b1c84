"""Stop strings: the text ends before the first of them, wherever the tokens' borders are."""

from collections.abc import Sequence

from tinyllm.errors import UsageError


class StopStrings:
    """Lets text through as soon as no stop string can begin in it.

    >>> stop = StopStrings(["###"])
    >>> stop.push("one #"), stop.push("# two"), stop.push(" ##"), stop.push("# three"), stop.found
    ('one ', '## two', ' ', '', True)
    """

    def __init__(self, strings: Sequence[str]) -> None:
        if isinstance(strings, str):
            raise UsageError("stop is a string, expected a list of strings")
        if "" in strings:
            raise UsageError("a stop string is empty, which would stop before the first character")
        self._strings, self._held, self.found = tuple(strings), "", False

    def push(self, piece: str) -> str:
        """Take the next piece of text; return what is certain to belong to the answer."""
        if self.found:
            return ""
        text = self._held + piece
        starts = [at for at in (text.find(s) for s in self._strings) if at >= 0]
        if starts:
            self.found, self._held = True, ""
            return text[: min(starts)]
        held = max((_overlap(text, s) for s in self._strings), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def flush(self) -> str:
        """Return what was held back, at the end of the text."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, string: str) -> int:
    """The length of the longest end of `text` that `string` begins with."""
    longest = min(len(text), len(string) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(string[:n])), 0)
