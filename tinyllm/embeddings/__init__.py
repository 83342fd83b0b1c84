"""Word vectors: a vector for each word, learned from the words around it.

    corpus  = read_corpus(lines)                       words, and the text as their numbers
    params  = train_word2vec(xp, corpus, options)      skip-gram or CBOW with negative sampling
    params  = train_glove(xp, counts, V, options)      GloVe, on count_cooccurrences(corpus)
    vectors = load_vectors(path)                       .neighbours("king"), .analogy(a, b, c)

The gradients are in `ops/negative_sampling.py` and `ops/glove.py`. Evaluation, the projection on
two dimensions and its drawing are in modules of these names.
"""

from tinyllm.embeddings.cooccurrence import Cooccurrences, count_cooccurrences
from tinyllm.embeddings.files import load_vectors, save_vectors
from tinyllm.embeddings.glove import GloveOptions, glove_vectors, train_glove
from tinyllm.embeddings.vocabulary import Corpus, read_corpus
from tinyllm.embeddings.word2vec import Word2VecOptions, train_word2vec
from tinyllm.embeddings.word_vectors import WordVectors

__all__ = [
    "Cooccurrences",
    "Corpus",
    "GloveOptions",
    "Word2VecOptions",
    "WordVectors",
    "count_cooccurrences",
    "glove_vectors",
    "load_vectors",
    "read_corpus",
    "save_vectors",
    "train_glove",
    "train_word2vec",
]
