"""SentencePiece's precompiled_charsmap: strings and what replaces them, compiled into a trie.

The bytes are: uint32 size of the trie, the trie, the replacements in UTF-8, each with a zero byte
behind it. The trie is a double array (s-yata/darts-clone) over the bytes of the strings, of
little-endian units of 32 bits:

    bit 31 set    a value in bits 0-30: here the place of a replacement
    otherwise     bits 0-7 the label, 8 whether there is a value, 10-30 the offset,
                  9 whether the offset is to be multiplied by 256

The unit at p leads by the byte c to the one at p ^ offset(p) ^ c if that has the label c; its own
value is at p ^ offset(p). The first unit is the empty string. Strings share their ends: those of
Unicode's form NFKC are 225,000 out of 30,000 units, and so they stay in the trie.
"""

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.graphemes import graphemes
from tinyllm.tokenizers.tokenizer import Normalize

_MOST_BYTES = 2**22  # of the trie; Unicode's form NFKC needs 120,000
_LONGEST = 256  # characters of a string, and bytes of what replaces it
_VALUE = 2**31
_CLUSTER_BYTES = 6


class CharacterMap:
    """Strings, each with what replaces it."""

    __slots__ = ("_bases", "_labels", "_replacements")

    def __init__(self, content: bytes) -> None:
        """Read `content`. Raises ValueError where it is no such map."""
        size = int.from_bytes(content[:4], "little") if len(content) > 4 else 0
        if size % 4 or not 0 < size <= min(_MOST_BYTES, len(content) - 4):
            raise ValueError(f"its trie has {size} of {len(content)} bytes")
        units = np.frombuffer(content, "<u4", size // 4, offset=4).astype(np.int64)
        is_value = units >= _VALUE
        offsets = (units >> 10 & 0x1FFFFF) << np.where(units & 512, 8, 0)
        bases = np.arange(len(units)) ^ offsets
        values = bases[~is_value & (units & 256 > 0)]  # where they are to be
        if not (values < len(units)).all() or not is_value[values].all():
            raise ValueError("a string of its trie has no value")
        # What begins or ends outside leads nowhere, and a value is the child of nothing.
        self._labels: list[int] = np.where(is_value, -1, units & 511).tolist()
        self._bases: list[int] = bases.tolist()
        texts = content[4 + size :]
        self._replacements = {
            int(place): _replacement(texts, int(units[place]) - _VALUE) for place in set(values)
        }

    def matches(self, text: str, at: int) -> Iterator[tuple[int, str]]:
        """Yield (length, replacement) of each string that begins at `at`, the shortest first."""
        base = self._bases[0]
        for end in range(at, min(len(text), at + _LONGEST)):
            has_value = False
            for byte in text[end].encode():
                place = base ^ byte
                if place >= len(self._labels) or self._labels[place] & 255 != byte:
                    return
                has_value = self._labels[place] & 256 > 0
                base = self._bases[place]
            if has_value:
                yield end + 1 - at, self._replacements[base]

    def longest(self, text: str, at: int) -> tuple[int, str] | None:
        """Return the last of `matches`, or None."""
        return max(self.matches(text, at), default=None)


def _replacement(texts: bytes, begin: int) -> str:
    end = texts.find(b"\0", begin, begin + _LONGEST)
    if end < 0:
        raise ValueError(f"no replacement ends within {_LONGEST} bytes from {begin}")
    return texts[begin:end].decode("utf-8")


def read_character_map(path: Path, content: bytes) -> CharacterMap:
    """Read the map in `content`. Raises TokenizerError where it is damaged."""
    try:
        return CharacterMap(content)
    except ValueError as cause:  # bytes that are not UTF-8, too
        raise TokenizerError(f"{path}: the precompiled_charsmap is damaged: {cause}") from cause


def read_base64_character_map(path: Path, text: str) -> CharacterMap:
    """Read the map as tokenizer.json has it. Raises TokenizerError where it is damaged."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as cause:  # ValueError: characters beyond ASCII
        raise TokenizerError(f"{path}: the precompiled_charsmap is no base64: {cause}") from cause
    return read_character_map(path, content)


def precompiled_normalizer(characters: CharacterMap) -> Normalize:
    """Return the function that tokenizer.json's Precompiled is, which is not SentencePiece's.

    A letter with its marks, in up to five bytes, becomes what replaces the shortest string that it
    begins with, and the rest is lost; others go character by character
    (huggingface/tokenizers, src/normalizers/precompiled.rs, and huggingface/spm_precompiled).
    """

    def replace(cluster: str) -> str | None:
        found = next(characters.matches(cluster, 0), None)
        return None if found is None else found[1]

    def normalize(text: str) -> str:
        parts = []
        for cluster in graphemes(text):
            whole = replace(cluster) if len(cluster.encode()) < _CLUSTER_BYTES else None
            if whole is not None:
                parts.append(whole)
                continue
            for character in cluster:
                new = replace(character)
                parts.append(character if new is None else new)
        return "".join(parts)

    return normalize
