"""Word vectors to ask: which words are near, and what is to c as b is to a."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tinyllm.errors import UsageError
from tinyllm.shown import shown

_SEARCHED = 50_000  # most frequent words among which a near spelling is looked for


@dataclass(frozen=True, kw_only=True)
class WordVectors:
    """Words, the most frequent first, and a vector for each.

    words (V), vectors (V, D), counts (V)
    """

    words: tuple[str, ...]
    vectors: np.ndarray
    counts: np.ndarray | None = None  # where they are known

    @cached_property
    def index(self) -> dict[str, int]:
        """The number of each word."""
        return {word: i for i, word in enumerate(self.words)}

    @cached_property
    def unit(self) -> np.ndarray:
        """The vectors at length 1, so that products are cosines; a zero stays zero."""
        lengths = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        return self.vectors / np.where(lengths > 0, lengths, 1)

    def find(self, word: str) -> int | None:
        """Return the number of a word, or of its lower case; None where there is neither."""
        return self.index.get(word, self.index.get(word.lower()))

    def number(self, word: str) -> int:
        """Return the number of a word. Raises UsageError with words of a near spelling."""
        found = self.find(word)
        if found is None:
            near = difflib.get_close_matches(word.lower(), self.words[:_SEARCHED], n=3)
            hint = (
                f"did you mean {', '.join(near)}?" if near else "nor any that is spelled nearly so"
            )
            raise UsageError(f"there is no vector of {shown(word)}; {hint}")
        return found

    def neighbours(self, word: str, n: int = 10) -> list[tuple[str, float]]:
        """Return the n words whose vectors have the largest cosine with that of `word`."""
        i = self.number(word)
        return self.nearest(self.unit[i], n, without=[i])

    def analogy(self, a: str, b: str, c: str, n: int = 10) -> list[tuple[str, float]]:
        """Answer "a is to b as c is to …" by the largest cosine with b - a + c, of other words.

        Mikolov et al. 2013, "Linguistic regularities in continuous space word representations".
        """
        ids = [self.number(word) for word in (a, b, c)]
        query = self.unit[ids[1]] - self.unit[ids[0]] + self.unit[ids[2]]
        length = float(np.linalg.norm(query))
        return self.nearest(query / length if length else query, n, without=ids)

    def nearest(
        self, query: np.ndarray, n: int, without: Sequence[int] = ()
    ) -> list[tuple[str, float]]:
        """Return the n words with the largest cosine, the more frequent first where equal."""
        cosines = self.unit @ query
        best = np.argsort(-cosines, kind="stable")[: n + len(without)]
        chosen = [i for i in best if i not in without][:n]
        return [(self.words[i], float(cosines[i])) for i in chosen]
