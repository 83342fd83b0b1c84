"""Measure speed and memory by length: python -m tinyllm.bench PART

    attention   by the formula, in tiles, and as the backend computes it
    decode      a model reads a prompt, then writes token after token

python -m tinyllm.bench PART --help explains one. Each row has the median of its
runs and their spread, for other load on the machine only ever slows them down.
"""

if __name__ == "__main__":
    from tinyllm.cli import interrupts

    interrupts.end_quietly()

import sys
from collections.abc import Sequence

from tinyllm.cli.bench import attention, decoding
from tinyllm.cli.parts import run_part

PARTS = {"attention": attention.main, "decode": decoding.main}


def main(argv: Sequence[str] | None = None) -> int:
    """Hand over to the part that the first word names; return its exit code."""
    return run_part("bench", __doc__, PARTS, argv)


if __name__ == "__main__":
    sys.exit(main())
