"""Learn word vectors: python -m tinyllm.embed train --data FILE --out FILE

    --method skip-gram   a word's vector predicts each word around it
             cbow        the mean of the words around predicts the word
             glove       inner products fit the logarithms of counts

FILE may be text in UTF-8 or a MediaWiki dump, compressed by bzip2 or not; a
line is a sentence. Vectors are written as .safetensors where --out ends so,
else in word2vec's text format.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyllm.cli.arguments import add_backend, add_common, real, refuse_unread, whole
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.embed.flags import at_least, check_output, write_json
from tinyllm.cli.new_folder import new_paths
from tinyllm.cli.terminal import Messages
from tinyllm.errors import UsageError
from tinyllm.shown import plain

if TYPE_CHECKING:
    from tinyllm.embeddings import Corpus

METHODS: dict[
    str, dict[str, Any]
] = {  # the defaults that differ, and the flags that one method alone has
    "skip-gram": {"window": 5, "epochs": 5, "lr": 0.025},
    "cbow": {"window": 5, "epochs": 5, "lr": 0.05},
    "glove": {"window": 10, "epochs": 25, "lr": 0.05},
}
LOSS_OF = {"skip-gram": "of a window", "cbow": "of a word", "glove": "of an entry"}
OTHERS = (".npz", ".npy", ".bin", ".pt", ".gz", ".bz2")
WORD2VEC_ONLY = {"negative": "negatives", "subsample": "subsample"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog="python -m tinyllm.embed train", description=__doc__)
    parser.add_argument("--data", required=True, metavar="FILE", help="the text; - reads stdin")
    parser.add_argument(
        "--out", "-o", required=True, type=Path, metavar="FILE",
        help="a new .safetensors, or .txt, .vec, … in word2vec's format",
    )  # fmt: skip
    parser.add_argument(
        "--method", choices=list(METHODS), default="skip-gram",
        help="what is learnt, as above (default: skip-gram)",
    )  # fmt: skip
    _add_numbers(parser)
    parser.add_argument("--keep-case", action="store_true", help="do not make letters lower case")
    add_backend(parser)
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")
    add_common(parser)
    return run_command(parser, train, argv)


def _add_numbers(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("numbers")
    group.add_argument("--dim", type=whole, default=100, help="of a vector (default: 100)")
    group.add_argument("--window", type=whole, help="words to either side (default: 5; glove 10)")
    group.add_argument("--min-count", type=whole, default=5, help="drop rarer words (default: 5)")
    group.add_argument("--epochs", type=whole, help="passes (default: 5; glove 25)")
    group.add_argument("--lr", type=real, help="learning rate (default: 0.05; skip-gram 0.025)")
    group.add_argument("--negative", type=whole, help="words of noise for a pair (default: 5)")
    group.add_argument(
        "--subsample", type=real, help="thin out words above this share; 0: none (default: 0.001)"
    )
    group.add_argument(
        "--batch-size", type=whole,
        help="in a step: windows (default: 256), or for glove entries (default: 4096)",
    )  # fmt: skip
    group.add_argument("--seed", type=whole, default=0, help="of all random numbers (default: 0)")


def train(args: argparse.Namespace, messages: Messages) -> int:
    """Read the corpus, train, write the vectors, say how fast that was."""
    from tinyllm.backend import get_backend

    if args.json:
        check_output()
    options, window = _options(args)
    at_least("--min-count", args.min_count)
    xp = get_backend(args.backend)
    with new_paths(args.out) as (temporary,):
        said = _learn(xp, options, window, temporary, args, messages)
    messages.note(f"wrote {args.out}: {said.pop('said')}")
    if args.json:
        write_json({"out": str(args.out), **said})
    return 0


def _learn(
    xp: Any, options: Any, window: int, out: Path, args: argparse.Namespace, messages: Messages
) -> dict[str, Any]:
    """Read the corpus, train, write the vectors; return what is to be said of it."""
    from tinyllm.embeddings import WordVectors, save_vectors

    start = time.perf_counter()
    corpus = _read(args, messages)
    read = time.perf_counter()
    messages.note(
        f"read {corpus.total:,} words, {len(corpus.tokens):,} of them of the "
        f"{len(corpus.words):,} that come {args.min_count} times or more"
    )
    losses: list[float] = []

    def report(epoch: int, loss: float, lr: float) -> None:
        losses.append(loss)
        rate = epoch * corpus.total / (time.perf_counter() - read)
        messages.status(f"pass {epoch} of {options.epochs}: loss {loss:.4f}, {rate:,.0f} words/s")

    vectors = _train(xp, corpus, options, window, report)
    seconds = time.perf_counter() - read
    save_vectors(
        out, WordVectors(words=corpus.words, vectors=xp.to_numpy(vectors), counts=corpus.counts)
    )
    rate = options.epochs * corpus.total / seconds
    return {
        "said": f"{len(corpus.words):,} words; loss {LOSS_OF[args.method]} {losses[0]:.4f} in the "
        f"first pass, {losses[-1]:.4f} in the last; {seconds:.1f} s, {rate:,.0f} words/s",
        "words": len(corpus.words), "corpus_words": corpus.total, "losses": losses,
        "read_seconds": round(read - start, 3), "train_seconds": round(seconds, 3),
        "words_per_second": round(rate),
    }  # fmt: skip


def _options(args: argparse.Namespace) -> tuple[Any, int]:
    """Check all numbers before anything is read: the options of the method, and the window."""
    from tinyllm.embeddings import GloveOptions, Word2VecOptions

    defaults = METHODS[args.method]
    chosen = {
        name: default if getattr(args, name) is None else getattr(args, name)
        for name, default in defaults.items()
    }
    chosen |= {"dim": args.dim, "seed": args.seed}
    if args.batch_size is not None:
        chosen["batch_size"] = args.batch_size
    given = {flag: name for flag, name in WORD2VEC_ONLY.items() if getattr(args, flag) is not None}
    refuse_unread(args, (args.method == "glove", "by glove", [*WORD2VEC_ONLY]))
    if args.out.suffix in OTHERS:
        raise UsageError(
            f"{plain(args.out)}: vectors are written as .safetensors, or in word2vec's text format "
            f"as .txt or .vec, say"
        )
    if args.method == "glove":
        window = at_least("--window", chosen.pop("window"))
        return GloveOptions(**chosen), window
    chosen |= {name: getattr(args, flag) for flag, name in given.items()}
    return Word2VecOptions(method=args.method, **chosen), chosen["window"]


def _read(args: argparse.Namespace, messages: Messages) -> "Corpus":
    from tinyllm.embeddings import read_corpus
    from tinyllm.embeddings.corpus_file import corpus_lines, open_corpus

    choice = {"min_count": args.min_count, "keep_case": args.keep_case}
    messages.status(f"reading {args.data} …")
    if args.data != "-":
        with open_corpus(Path(args.data)) as lines:
            return read_corpus(lines, **choice)
    if sys.stdin is None:
        raise UsageError("standard input is closed: there is no text to read")
    return read_corpus(corpus_lines(sys.stdin.buffer, "standard input"), **choice)


def _train(xp: Any, corpus: "Corpus", options: Any, window: int, report: Any) -> Any:
    """Train by the method that the options are for; return the vectors to use, (V, D)."""
    from tinyllm.embeddings import (
        GloveOptions,
        count_cooccurrences,
        glove_vectors,
        train_glove,
        train_word2vec,
    )
    from tinyllm.embeddings.word2vec import INPUT

    if isinstance(options, GloveOptions):
        counts = count_cooccurrences(corpus, window=window)
        return glove_vectors(train_glove(xp, counts, len(corpus.words), options, report))
    return train_word2vec(xp, corpus, options, report)[INPUT]
