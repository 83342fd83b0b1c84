"""Word vectors: python -m tinyllm.embed train --data FILE --out FILE

    train        learn vectors from text: skip-gram, CBOW or GloVe
    neighbours   print the words that are near a word
    analogy      print what is to C as B is to A
    plot         draw a map of words
    evaluate     score vectors by people's ratings, and by analogies

python -m tinyllm.embed PART --help explains one.
"""

if __name__ == "__main__":
    from tinyllm.cli import interrupts

    interrupts.end_quietly()

import sys
from collections.abc import Sequence

from tinyllm.cli.embed import ask, evaluate, plot, train
from tinyllm.cli.parts import run_part

PARTS = {
    "train": train.main,
    "neighbours": ask.neighbours_main,
    "analogy": ask.analogy_main,
    "plot": plot.main,
    "evaluate": evaluate.main,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Hand over to the part that the first word names; return its exit code."""
    return run_part("embed", __doc__, PARTS, argv)


if __name__ == "__main__":
    sys.exit(main())
