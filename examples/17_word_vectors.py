"""What do word vectors know, and why?

A word is known by the company it keeps. Skip-gram with negative sampling learns vectors that tell a
word's neighbours from words drawn at random; GloVe fits vectors to counts of neighbours. Three
claims, each printed as expected and as found:

1. Where there are dimensions enough, the optimum of skip-gram is known: v·u = PMI - log k (Levy &
   Goldberg 2014, "Neural word embedding as implicit matrix factorization"). On a toy language the
   expected loss is minimised, and compared.
2. Words used alike get near vectors: the neighbours of some words.
3. word2vec and GloVe learn much the same: the correlation of the two methods' cosines, over pairs
   of frequent words.

    python examples/17_word_vectors.py --quick
    python examples/17_word_vectors.py --data wikipedia.xml.bz2 --epochs 20
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from tinyllm.backend import get_backend
from tinyllm.embeddings import (
    Corpus,
    GloveOptions,
    Word2VecOptions,
    WordVectors,
    count_cooccurrences,
    glove_vectors,
    read_corpus,
    train_glove,
    train_word2vec,
)
from tinyllm.embeddings.corpus_file import open_corpus
from tinyllm.embeddings.evaluation import spearman
from tinyllm.embeddings.word2vec import INPUT
from tinyllm.ops.negative_sampling import negative_sampling_backward, negative_sampling_forward

xp = get_backend("numpy")

# 1. The optimum. Five words, and how often each pair of them stands together.


def toy_language(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return p(w, c), (5, 5), and its two margins, equal and in tenths."""
    unigram = np.array([4, 2, 2, 1, 1]) / 10
    joint = np.exp(rng.standard_normal((5, 5)) / 2)
    for _ in range(300):  # rows, then columns, until both have the margin
        joint *= (unigram / joint.sum(axis=1))[:, None]
        joint *= unigram / joint.sum(axis=0)
    return joint, unigram


def minimise(joint: np.ndarray, unigram: np.ndarray, k: int, steps: int = 4000) -> np.ndarray:
    """Return the scores v·u of all pairs after gradient descent on the expected loss."""
    V = len(unigram)
    noise = np.repeat(np.arange(V), np.rint(10 * unigram).astype(int))  # tenths: exactly p(c)
    v, u = np.eye(V), np.zeros((V, V))  # V dimensions are enough, so v need not move
    for _ in range(steps):
        targets = np.broadcast_to(
            u, (V, V, V)
        )  # each word meets every word, as often as joint says
        loss, saved = negative_sampling_forward(xp, v, targets, joint, u[noise], negatives=k)
        _, dtargets, _, dnoise = negative_sampling_backward(xp, np.ones_like(loss), saved)
        u = u - 20 / k * (dtargets.sum(axis=0) + xp.index_add(V, noise, dnoise))
    return v @ u.T


def check_optimum() -> bool:
    """Compare the minimum with PMI - log k."""
    joint, unigram = toy_language(np.random.default_rng(0))
    pmi = np.log(joint / np.outer(unigram, unigram))
    print("1. the optimum of skip-gram on a toy language: largest |v·u - (PMI - log k)|")
    errors = {k: np.abs(minimise(joint, unigram, k) - (pmi - np.log(k))).max() for k in (1, 5)}
    for k, error in errors.items():
        print(f"   k = {k}: expected 0, found {error:.1e}")
    return max(errors.values()) < 1e-6


# 2. and 3. Two methods on one text. The short form makes its text by rule: words of four kinds
# that stand in the same places of a sentence, a kind's words being used alike.

KINDS = {
    "animal": ["cat", "dog", "horse", "cow", "sheep"],
    "food": ["bread", "cheese", "apple", "soup", "rice"],
    "place": ["house", "garden", "forest", "river", "street"],
    "time": ["today", "yesterday", "often", "never", "again"],
}
PATTERNS = ["the {animal} ate the {food} {time}", "{time} a {animal} ran to the {place}",
            "we bought {food} in the {place}", "{time} the {food} was good"]  # fmt: skip


def sentences_by_rule(rng: np.random.Generator, n: int = 3000) -> list[str]:
    """Make sentences: a pattern, filled with words of the kinds that it names."""
    fill = [{kind: str(rng.choice(words)) for kind, words in KINDS.items()} for _ in range(n)]
    return [PATTERNS[i].format(**words) for i, words in zip(rng.integers(0, 4, n), fill)]


def train_both(corpus: Corpus, args: argparse.Namespace) -> tuple[WordVectors, WordVectors]:
    """Return the vectors of skip-gram and of GloVe, trained with the same window."""
    skip_gram = Word2VecOptions(dim=args.dim, epochs=args.epochs, seed=args.seed)
    glove = GloveOptions(dim=args.dim, epochs=3 * args.epochs, x_max=args.x_max, seed=args.seed)
    learned = [
        train_word2vec(xp, corpus, skip_gram)[INPUT],
        glove_vectors(
            train_glove(xp, count_cooccurrences(corpus, window=5), len(corpus.words), glove)
        ),
    ]
    one, two = (WordVectors(words=corpus.words, vectors=vectors) for vectors in learned)
    return one, two


def show_neighbours(vectors: WordVectors, words: Sequence[str]) -> None:
    """Print the words that are near."""
    print("2. the nearest neighbours, by skip-gram")
    for word in words:
        near = ", ".join(f"{other} {cosine:.2f}" for other, cosine in vectors.neighbours(word, 4))
        print(f"   {word:<10}{near}")


def share_of_own_kind(vectors: WordVectors) -> float:
    """Return how many of each word's four nearest are of its kind."""
    right = [
        other in kind
        for kind in KINDS.values()
        for word in kind
        for other, _ in vectors.neighbours(word, 4)
    ]
    return sum(right) / len(right)


def agreement(one: WordVectors, two: WordVectors, frequent: int) -> float:
    """Return Spearman's correlation of the cosines of all pairs of frequent words."""
    first, second = np.triu_indices(min(frequent, len(one.words)), 1)
    cosines = [np.sum(x.unit[first] * x.unit[second], axis=1) for x in (one, two)]
    return spearman(*cosines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the text made by rule (the default)")
    parser.add_argument("--data", type=Path, help="a text, or a MediaWiki dump")
    parser.add_argument("--words", nargs="+", default=["king", "france", "war", "music", "three"])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--x-max", type=float, default=100.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    optimum = check_optimum()
    if args.data is not None and not args.quick:
        with open_corpus(args.data) as lines:
            corpus = read_corpus(lines)
        one, two = train_both(corpus, args)
        show_neighbours(one, [word for word in args.words if one.find(word) is not None])
        near = None
    else:
        corpus = read_corpus(sentences_by_rule(np.random.default_rng(args.seed)))
        args.dim, args.epochs = 16, 6
        one, two = train_both(corpus, args)
        show_neighbours(one, [words[0] for words in KINDS.values()])
        near = share_of_own_kind(one)
        print(f"   neighbours of a word's own kind: expected nearly all, found {near:.0%}")
    rho = agreement(one, two, 500)
    print("3. word2vec's cosines against GloVe's, pairs of the 500 most frequent words")
    print(f"   Spearman: expected well above 0, found {rho:.2f}")
    ok = optimum and rho > 0.3 and (near is None or near > 0.9)
    print("reproduced" if ok else "not reproduced at this scale")
    return 0


if __name__ == "__main__":
    sys.exit(main())
