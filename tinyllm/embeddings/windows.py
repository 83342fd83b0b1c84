"""What word2vec draws from a corpus: words to keep, windows around them, words as noise."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinyllm.embeddings.vocabulary import Corpus


def keep_probabilities(counts: np.ndarray, threshold: float) -> np.ndarray:
    """Say how likely each word is kept: (√(f/t) + 1) t/f, at most 1; all are where t = 0.

    counts (V) -> probabilities (V)

    f is a word's share of the text. The formula is that of word2vec's own program; the paper has
    √(t/f), which keeps less of the words somewhat above the threshold t.
    """
    if threshold == 0:
        return np.ones(len(counts))
    ratio = counts / counts.sum() / threshold
    return np.minimum((np.sqrt(ratio) + 1) / ratio, 1.0)


def noise_distribution(counts: np.ndarray, power: float = 0.75) -> np.ndarray:
    """Return the distribution of noise, counts^¾: between that of the text and the uniform one.

    counts (V) -> probabilities (V)
    """
    weights = counts.astype(np.float64) ** power
    return weights / weights.sum()


def draw(rng: np.random.Generator, cumulative: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Draw numbers of words from a distribution that is given by its cumulative sums."""
    drawn = np.searchsorted(cumulative, rng.random(shape) * cumulative[-1], side="right")
    return np.minimum(drawn, len(cumulative) - 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Windows:
    """Words and the words around them, by their numbers.

    centres (N), contexts (N, 2·window), inside (N, 2·window): `inside` says where there is a word.
    """

    centres: np.ndarray
    contexts: np.ndarray
    inside: np.ndarray

    def halves(self) -> list["Windows"]:
        """Split the windows into two shares, of which the second can be empty."""
        middle = (len(self.centres) + 1) // 2
        shares = slice(None, middle), slice(middle, None)
        return [
            Windows(centres=self.centres[i], contexts=self.contexts[i], inside=self.inside[i])
            for i in shares
        ]


def window_batches(
    corpus: Corpus,
    keep: np.ndarray,
    rng: np.random.Generator,
    *,
    window: int,
    batch_size: int,
) -> Iterator[Windows]:
    """Go once through the kept words in random order, each with the words around it.

    Words that are not kept are gone before windows are made, which so reach farther. Each window
    takes 1 to `window` words to either side, as drawn: near words are seen more often. Centres
    without any word around them are left out.
    """
    kept = rng.random(len(corpus.tokens)) < keep[corpus.tokens]
    tokens, sentences = corpus.tokens[kept], corpus.sentences[kept]
    offsets = np.concatenate([np.arange(-window, 0), np.arange(1, window + 1)])
    order = rng.permutation(len(tokens))
    for first in range(0, len(order), batch_size):
        at = order[first : first + batch_size]
        reach = rng.integers(1, window + 1, len(at))
        places = at[:, None] + offsets
        inside = (places >= 0) & (places < len(tokens)) & (np.abs(offsets) <= reach[:, None])
        places = np.where(inside, places, 0)
        inside &= sentences[places] == sentences[at][:, None]
        some = inside.any(axis=1)
        if some.any():
            yield Windows(
                centres=tokens[at[some]], contexts=tokens[places[some]], inside=inside[some]
            )
