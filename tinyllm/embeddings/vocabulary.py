"""The words of a corpus, and the corpus as their numbers."""

import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tinyllm.errors import UsageError

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")  # letters, with apostrophes inside
MOST_WORDS = 10**9  # four bytes each


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """A text as numbers of words; words that are too rare are gone, and not counted.

    words (V), counts (V), tokens (N), sentences (N): `sentences` numbers the line of each token.
    """

    words: tuple[str, ...]  # the most frequent first
    counts: np.ndarray
    tokens: np.ndarray
    sentences: np.ndarray
    total: int  # words of the text, the rare ones included


def split_words(line: str, *, keep_case: bool = False) -> list[str]:
    """Return the words of a line, in lower case: runs of letters, in any script.

    >>> split_words("It's 4:00pm in Århus")
    ["it's", 'pm', 'in', 'århus']
    """
    return _WORD.findall(line if keep_case else line.lower())


def read_corpus(lines: Iterable[str], *, min_count: int = 5, keep_case: bool = False) -> Corpus:
    """Number the words that occur `min_count` times or more, by frequency; a line is a sentence.

    Raises UsageError where fewer than two words are left: there is nothing to tell apart.
    """
    index: dict[str, int] = {}
    tokens, sentences = array("i"), array("i")
    for number, line in enumerate(lines):
        words = split_words(line, keep_case=keep_case)
        tokens.extend([index.setdefault(word, len(index)) for word in words])
        sentences.extend([number] * len(words))
        if len(tokens) > MOST_WORDS:
            raise UsageError(f"the corpus has more than {MOST_WORDS:,} words; train on a part")
    return _without_rare(
        list(index), np.asarray(tokens), np.asarray(sentences), min_count=min_count
    )


def check_length(corpus: Corpus, window: int) -> None:
    """Raise UsageError for a corpus shorter than a window."""
    if len(corpus.tokens) <= window:
        raise UsageError(
            f"the corpus has {len(corpus.tokens)} words that are not too rare, fewer than a window "
            f"takes in one direction: {window} beside the word itself"
        )


def _without_rare(
    words: list[str], tokens: np.ndarray, sentences: np.ndarray, *, min_count: int
) -> Corpus:
    """Drop the rare words and number the others again: by falling count, ties as first met."""
    counts = np.bincount(tokens, minlength=len(words))
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] >= min_count]
    if len(order) < 2:
        raise UsageError(
            f"the corpus has {len(tokens):,} words, {len(order)} of them different and found "
            f"{min_count} times or more (min_count); expected at least 2"
        )
    new = np.full(len(words), -1, np.int32)
    new[order] = np.arange(len(order), dtype=np.int32)
    numbered = new[tokens]
    kept = numbered >= 0
    return Corpus(
        words=tuple(words[i] for i in order),
        counts=counts[order],
        tokens=numbered[kept],
        sentences=sentences[kept],
        total=len(tokens),
    )
