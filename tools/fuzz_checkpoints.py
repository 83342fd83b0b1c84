"""Hold the safetensors reader against the official library on mutated files.

    python tools/fuzz_checkpoints.py --files 200000 --seed 0

A file that the library refuses, or reads as other values, must not be accepted; a refusal must be
one line of a CheckpointError; nothing else may escape. Some refusals are stricter than the
library's: they are listed with their reasons. Exit code 1 where a rule is broken.
"""

import argparse
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np
from safetensors import SafetensorError, deserialize

from checkpoints.safetensors_mutations import mutated_file
from tinyllm.checkpoints.dtypes import DTYPES
from tinyllm.checkpoints.safetensors_file import read_tensors
from tinyllm.errors import CheckpointError

Reader = Callable[[Path], dict[str, np.ndarray]]
BROKEN = ["wrong accept", "foreign exception", "unclear message", "over a second", "rule missing"]
SECOND_OPINION = "is refused by the safetensors library: "
# What the rules of our own leave to the library: how deep and large the values of unused fields are
ITS_OWN = ("recursion limit exceeded", "number out of range")


def judge(content: bytes, path: Path, read: Reader) -> tuple[str, str]:
    """Read one file both ways: -> verdict, reason."""
    path.write_bytes(content)
    wanted = official(content)
    start = time.perf_counter()
    try:
        tensors = read(path)
    except CheckpointError as error:
        message = str(error)
    except Exception as error:
        return "foreign exception", f"{type(error).__name__}: {error}"
    else:
        difference = "the library refuses it" if wanted is None else differs(tensors, wanted)
        return ("wrong accept", difference) if difference else ("accepted by both", "")
    if time.perf_counter() - start > 1:
        return "over a second", message
    reason = message.removeprefix(f"{path}: ")
    if reason == message or not message.isprintable() or len(message) > 600:
        return "unclear message", message
    if SECOND_OPINION in reason and not any(words in reason for words in ITS_OWN):
        return "rule missing", reason
    return ("refused by both" if wanted is None else "stricter refusal"), general(reason)


def official(content: bytes) -> dict[str, dict[str, Any]] | None:
    """Return what the library reads, or None where it refuses."""
    try:
        return dict(deserialize(content))
    except SafetensorError:
        return None


def differs(tensors: dict[str, np.ndarray], wanted: dict[str, dict[str, Any]]) -> str:
    """Say where what was read is not what the library reads; "" where it is."""
    if tensors.keys() != wanted.keys():
        return "names differ"
    for name, tensor in tensors.items():
        fields, raw = wanted[name], bytes(wanted[name]["data"])
        if list(tensor.shape) != fields["shape"] or tensor.dtype != DTYPES[fields["dtype"]]:
            return "shapes or dtypes differ"
        if tensor.tobytes() != (bytes(map(bool, raw)) if tensor.dtype == bool else raw):
            return "values differ"
    return ""


def general(reason: str) -> str:
    """Leave out of a reason what belongs to one file: names, values and numbers."""
    reason = re.sub(r"('[^']*'|\"[^\"]*\"|b'.*?')", "…", reason)
    reason = re.sub(
        r"\b(shape|data_offsets|dtype|not) [\[{(].*?[\]})](?=[;,.]| |$)", r"\1 …", reason
    )
    return re.sub(r"-?\d[\d.]*", "n", reason)[:100]


def fuzz(
    files: range, seed: int, read: Reader = read_tensors
) -> tuple[Counter[str], Counter[str], dict[str, tuple[int, str, bytes]]]:
    """Judge these files of the seed's series: -> verdicts, stricter reasons, broken examples."""
    verdicts, stricter = Counter[str](), Counter[str]()
    broken: dict[str, tuple[int, str, bytes]] = {}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unused fields are noted
        for index in files:
            content = mutated_file(seed, index)
            verdict, reason = judge(content, Path(folder) / "x.safetensors", read)
            verdicts[verdict] += 1
            if verdict == "stricter refusal":
                stricter[reason] += 1
            if verdict in BROKEN:
                broken.setdefault(verdict, (index, reason, content))
    return verdicts, stricter, broken


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Mutate safetensors files, read them two ways.")
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="the first file of the series")
    args = parser.parse_args(argv)
    files = range(args.start, args.start + args.files)
    verdicts, stricter, broken = fuzz(files, args.seed)
    print(f"files {files.start}..{files.stop - 1} of seed {args.seed}")
    for verdict in ("accepted by both", "refused by both", "stricter refusal", *BROKEN):
        print(f"{verdicts[verdict]:8} {verdict}")
    for reason, count in stricter.most_common():
        print(f"{count:8}   {reason}")
    for verdict, (index, reason, content) in broken.items():
        print(f"{verdict}, file {index}: {reason}\n  {content!r}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
