"""Prove and measure the kernels on a GPU: python tools/gpu_report.py

Sections come in the order of what matters, results are kept as they come, and whatever is missing
or left out is said: writes DATE-DEVICE.json and .md beside it to docs/gpu, or --out. Leaves with 1
where something was wrong, 3 without a GPU. A process of its own proves the kernels first, since one
that faults leaves no more to its process; one that hangs ends this, with where. --dry-run shows
that all sections run, with tiny sizes on an emulator; its times mean nothing.

The tests of attention's kernels run there, too: pytest -n 12 -W default -rs
tests/backends/test_cuda_on_gpu.py (pip install pytest-xdist for -n; without it, slower).
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backends"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tinyllm.errors import BackendUnavailableError
from tools.gpu.attention import attention
from tools.gpu.ceilings import ceilings
from tools.gpu.correctness import correctness
from tools.gpu.decode_attention import decode_attention
from tools.gpu.dry import DryMachine
from tools.gpu.llama import llama_1b, llama_8b
from tools.gpu.machine import Machine
from tools.gpu.proof import prove
from tools.gpu.results import Results
from tools.gpu.training import training

ROOT = Path(__file__).resolve().parents[1]
SECTIONS: dict[str, tuple[Callable[..., Any], float, float]] = {
    # and the seconds that each must have, and may take
    "ceilings": (ceilings, 5, 20),
    "correctness": (correctness, 20, 90),
    "attention": (attention, 30, 130),
    "llama 1B": (llama_1b, 40, 130),
    "decode attention": (decode_attention, 20, 30),
    "llama 8B": (llama_8b, 60, 90),
    "training": (training, 40, 60),
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, default=ROOT / "docs" / "gpu", metavar="FOLDER")
    add("--seconds", type=float, default=450, help="for all sections together (default: 450)")
    add("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="which (all)")
    add("--no-peers", action="store_true", help="leave PyTorch out")
    add("--alone", action="store_true", help="no proof in a process of its own before all else")
    add("--dry-run", action="store_true", help="tiny sizes, no GPU")
    args = parser.parse_args(argv)
    try:
        kind = DryMachine if args.dry_run else Machine
        machine = kind(peers=not args.no_peers)
    except BackendUnavailableError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    facts = {**machine.facts(), "dry run": True} if machine.dry else machine.facts()
    if machine.torch is None:
        facts["peers"] = "none: PyTorch is not here, or was left out"
    if not (args.alone or machine.dry):  # before this process compiles anything for the GPU
        facts["proof"] = prove(Path(__file__), args.out)
    results = Results(args.out, facts, seconds=args.seconds, say=partial(print, flush=True))
    print(", ".join(f"{key} {value}" for key, value in facts.items()), flush=True)
    for name in args.sections:
        section, needs, most = SECTIONS[name]
        results.run(name, partial(section, machine), 0 if machine.dry else needs, most)
        machine.free()
    for line in results.failed:
        print(f"wrong: {line}", file=sys.stderr)
    print(f"{results.path}, {results.path.with_suffix('.md')}")
    return 1 if results.failed else 0


if __name__ == "__main__":
    sys.exit(main())
