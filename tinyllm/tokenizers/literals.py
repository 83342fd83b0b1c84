"""Find literal strings, such as added tokens, in a text: from the left, the longest first."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tinyllm.tokenizers.unicode import WHITE_SPACE

_END = ""  # the key of a node under which a literal's id stands; characters are never empty
_SPACE = re.compile(f"[{WHITE_SPACE}]*")
_CIRCLED = re.compile("[Ⓐ-ⓩ🄰-🅉🅐-🅩🅰-🆉]")  # letters by use: Unicode's Other_Alphabetic


class Edges(NamedTuple):
    """How a literal treats the text around it."""

    single_word: bool = False  # it is none with a letter, a mark or a digit right beside it
    lstrip: bool = False  # the white space before it belongs to it
    rstrip: bool = False  # the white space behind it belongs to it


PLAIN = Edges()


class Literals:
    """A set of strings with ids, held as a trie (a tree of characters)."""

    __slots__ = ("_begin", "_edges", "_root")

    def __init__(self, ids: Mapping[str, int], edges: Mapping[int, Edges] | None = None) -> None:
        """Build the trie; literals must not be empty. `edges` has the ids that are not plain."""
        self._edges = dict(edges or {})
        self._root: dict[str, Any] = {}
        for literal, token in ids.items():
            node = self._root
            for character in literal:
                node = node.setdefault(character, {})
            node[_END] = token
        first = re.escape("".join(self._root)) or r"^\s\S"  # without literals: no character at all
        self._begin = re.compile(f"[{first}]")

    def split(self, text: str) -> Iterator[str | int]:
        """Cut `text` into ordinary text (str, never empty) and literals (their ids), in order.

        >>> list(Literals({"<s>": 1, "<s><s>": 7}).split("a<s><s><s>b"))
        ['a', 7, 1, 'b']
        """
        done = i = 0
        while begin := self._begin.search(text, i):
            start = begin.start()
            length, token = self._longest(text, start)
            i = start + (length or 1)
            if not length:
                continue
            if token in self._edges:
                single_word, lstrip, rstrip = self._edges[token]
                if single_word and (_is_word(text[start - 1 : start]) or _is_word(text[i : i + 1])):
                    continue
                while lstrip and start > done and _SPACE.fullmatch(text, start - 1, start):
                    start -= 1
                if rstrip and (spaces := _SPACE.match(text, i)):
                    i = spaces.end()
            if done < start:
                yield text[done:start]
            yield token
            done = i
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


def _is_word(character: str) -> bool:
    r"""Whether a character, or nothing, is Unicode's \w (technical standard 18, annex C)."""
    if not character:
        return False
    kind = unicodedata.category(character)
    return (
        kind[0] in "LM"
        or kind in ("Nd", "Nl", "Pc")
        or character in "\u200c\u200d"
        or _CIRCLED.match(character) is not None
    )
