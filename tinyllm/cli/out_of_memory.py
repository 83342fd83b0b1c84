"""Memory that ran out, in one line: what was asked for, what there is, what to try."""

import sys

from tinyllm.memory import available_memory
from tinyllm.shown import quantity


def out_of_memory(error: MemoryError) -> str:
    """Return the line: NumPy and CuPy say in their errors what was asked for, Python does not.

    Of a GPU the line also says how much of it arrays have, and the way to the CPU.
    """
    on_gpu = type(error).__module__.split(".")[0] == "cupy"
    free = _free_on_gpu() if on_gpu else available_memory()
    said = " ".join(str(error).split()).rstrip(".")
    facts = ["fewer or shorter texts at once, a smaller model or --storage bfloat16 take less"]
    facts += ["--backend numpy runs on the CPU"] if on_gpu else []
    if free is not None:
        facts.insert(0, f"{quantity(free, 'B')} are free")
    where = " on the GPU" if on_gpu else ""
    return "; ".join([f"not enough memory{where}{': ' if said else ''}{said}", *facts])


def _free_on_gpu() -> int | None:
    """Ask the backend that is loaded; a GPU in trouble may not answer."""
    try:
        return sys.modules["tinyllm_cupy"].free_memory()
    except (KeyError, RuntimeError):
        return None
