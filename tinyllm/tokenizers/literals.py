"""Find literal strings, such as added tokens, in a text: from the left, the longest first."""

from collections.abc import Iterator
from typing import Any

_END = ""  # the key of a node under which a literal's id stands; characters are never empty


class Literals:
    """A set of strings with ids, held as a trie (a tree of characters)."""

    __slots__ = ("_root",)

    def __init__(self, ids: dict[str, int]) -> None:
        """Build the trie; literals must not be empty."""
        self._root: dict[str, Any] = {}
        for literal, token in ids.items():
            node = self._root
            for character in literal:
                node = node.setdefault(character, {})
            node[_END] = token

    def split(self, text: str) -> Iterator[str | int]:
        """Cut `text` into ordinary text (str, never empty) and literals (their ids), in order.

        >>> list(Literals({"<s>": 1, "<s><s>": 7}).split("a<s><s><s>b"))
        ['a', 7, 1, 'b']
        """
        done = 0
        i = 0
        while i < len(text):
            length, token = self._longest(text, i) if text[i] in self._root else (0, 0)
            if length:
                if done < i:
                    yield text[done:i]
                yield token
                done = i + length
            i += length or 1
        if done < len(text):
            yield text[done:]

    def _longest(self, text: str, start: int) -> tuple[int, int]:
        """Length and id of the longest literal at `start`; (0, 0) where there is none."""
        node, found = self._root, (0, 0)
        for i in range(start, len(text)):
            if text[i] not in node:
                break
            node = node[text[i]]
            if _END in node:
                found = (i + 1 - start, node[_END])
        return found
