"""How good a model is, in numbers: each with the definition that it is comparable under.

scoring        the log-probability that a model gives to each token of some texts
perplexity     how surprised it is by a text, in three protocols that give three numbers
masked         how surprised an encoder is by a text, each token hidden in turn
choices        how often it prefers the right one of several answers
translations   how surprised by translations, and how near its own come to them
bleu, rouge    how much of a text by people is in a text by a model
repetition     how much a text says again

Large benchmarks are claims about large models: nothing of this size can confirm or refute them.
"""

from tinyllm.evaluation.bleu import Bleu, corpus_bleu
from tinyllm.evaluation.choices import Choices, Question, answer_choices, read_questions
from tinyllm.evaluation.masked import PseudoPerplexity, measure_pseudo_perplexity
from tinyllm.evaluation.perplexity import Perplexity, document_bits_per_byte, measure_perplexity
from tinyllm.evaluation.repetition import repeated_ngram_rate
from tinyllm.evaluation.rouge import RougeL, rouge_l
from tinyllm.evaluation.scoring import Window, score_windows
from tinyllm.evaluation.translations import Translations, measure_translations

__all__ = [
    "Bleu",
    "Choices",
    "Perplexity",
    "PseudoPerplexity",
    "Question",
    "RougeL",
    "Translations",
    "Window",
    "answer_choices",
    "corpus_bleu",
    "document_bits_per_byte",
    "measure_perplexity",
    "measure_pseudo_perplexity",
    "measure_translations",
    "read_questions",
    "repeated_ngram_rate",
    "rouge_l",
    "score_windows",
]
