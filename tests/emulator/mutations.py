"""Kernels with one synchronisation less: each barrier, wait, fence, commit and release in turn."""

import re
from dataclasses import dataclass

from tinyllm_cuda.launch import KERNELS

STATEMENT = re.compile(
    r"__syncthreads\(\);|cp_async_(?:commit|wait<\d>)\(\);|wgmma_(?:fence|commit|wait<\d>)\([^;]*;"
    r"|named_(?:sync|arrive)\([^;]*;|mbarrier_\w+\([^;]*;|\.release\([^;]*;|\.wait\("
)
HARMLESS = "Right without it: "  # how a comment at such a line begins
SOURCES = ["flash_*.cu", "quantize_e4m3.cu", "tile_*.h"]


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """A file of kernels, the line of it that lost a statement, and what is left."""

    file: str
    line: int
    statement: str
    text: str
    harmless: bool

    def __str__(self):
        return f"{self.file}:{self.line}-{self.statement.rstrip(';(').strip('.')}"


def mutations():
    """Return each synchronisation's deletion; of a wait for a tile only the tile is left."""
    return [
        mutation
        for pattern in SOURCES
        for path in sorted(KERNELS.glob(pattern))
        for mutation in of_file(path.name, path.read_text())
    ]


def of_file(name, text):
    for found in STATEMENT.finditer(text):
        statement, (begin, end) = found.group(), found.span()
        line = text.count("\n", 0, begin)
        if statement == ".wait(":
            left = ".tile("
        elif statement.startswith(".release"):  # with the name of the ring before it
            begin, left = text.rindex(" ", 0, begin) + 1, ";"
        else:
            left = ";"
        yield Mutation(
            file=name,
            line=line + 1,
            statement=statement,
            text=text[:begin] + left + text[end:],
            harmless=HARMLESS in "".join(text.split("\n")[max(line - 2, 0) : line + 1]),
        )
