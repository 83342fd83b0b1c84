"""Whether the CuPy backend computes here what the NumPy backend does, and by which kernels."""

from typing import Any

from tinyllm.cli.findings.finding import ABSENT, OK, PROBLEM, Finding, reason

_TOOLKIT = "without a CUDA toolkit: python -m pip install 'cupy-cuda13x[ctk]'"
_ERROR = 1e-3  # of the largest number: that of 16-bit products, and more than float32's


def kernel_findings() -> list[Finding]:
    """Try attention and a product of 16 bits; nothing, where the backend cannot be had."""
    from tinyllm.backend import get_backend
    from tinyllm.errors import TinyllmError

    try:
        xp: Any = get_backend("cupy")
    except TinyllmError:  # which was found before
        return []
    return [*_attention(xp), _product(xp)]


def _attention(xp: Any) -> list[Finding]:
    """Compare with NumPy, look whether NaN stays NaN, and say which kernels there are."""
    import numpy as np

    from tinyllm.backend import get_backend
    from tinyllm.ops.position_mask import PositionMask

    places, rng = np.arange(40), np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, 2, 40, 64)).astype(np.float32) for _ in range(3))
    mask = PositionMask(queries=places, keys=places)
    wanted, _ = get_backend("numpy").attention_forward(q, k, v, mask=mask)

    def attend(keys: Any) -> Any:
        arrays = (xp.asarray(x) for x in (q, keys, v))
        return np.asarray(xp.to_numpy(xp.attention_forward(*arrays, mask=mask)[0]))

    try:
        off = float(np.max(np.abs(attend(k) - wanted)) / np.max(np.abs(wanted)))
        k[0, 0, 20, 3] = np.nan
        kept = bool(np.isnan(attend(k)[0, 0, 20:]).all())
        kernels = _kernels(xp)
    except Exception as error:  # of the compiler, the driver, or memory
        return [_problem("attention", f"does not run: {reason(error)}", _advice(error))]
    if not off < _ERROR:
        return [_problem("attention", f"is off by {off:.1g} of the largest number", _TOOLKIT)]
    if not kept:
        return [_problem("attention", "gives numbers where its inputs have NaN", _TOOLKIT)]
    return [Finding(name="attention", status=OK, what=f"as NumPy's, to {off:.0e}"), *kernels]


def _kernels(xp: Any) -> list[Finding]:
    """Say for each dtype whether there are kernels, where not because of what."""
    from ml_dtypes import bfloat16
    from numpy import dtype

    from tinyllm_cuda.tiers import choose

    gpu = xp.device()
    found = {name: choose(gpu, dtype(kind), 64) for name, kind in (
        ("float32", "float32"), ("bfloat16", bfloat16), ("float16", "float16"),
    )}  # fmt: skip
    said = [f"{name} {tier or 'in tiles of the array library'}" for name, tier in found.items()]
    return [Finding(
        name="kernels", status=OK if all(found.values()) else ABSENT, what=", ".join(said),
        advice="" if all(found.values()) else
        f"slower: the GPU has compute capability {gpu.architecture / 10:.1f} and "
        f"{gpu.shared_memory} bytes of shared memory for a block",
    )]  # fmt: skip


def _product(xp: Any) -> Finding:
    """Multiply 16-bit matrices, which is cuBLAS's work."""
    import numpy as np

    a = np.random.default_rng(0).standard_normal((8, 16)).astype(np.float16)
    try:
        given = xp.asarray(a)
        found = np.asarray(xp.to_numpy(xp.matmul(given, given.T)))
    except Exception as error:
        return _problem("products", f"do not run: {reason(error)}", _advice(error))
    wide = a.astype(np.float32)
    if found.dtype != np.float32 or not np.abs(found - wide @ wide.T).max() < _ERROR * 16:
        return _problem("products", "of 16 bits are wrong", _TOOLKIT)
    return Finding(name="products", status=OK, what="of 16 bits, summed in float32")


def _advice(error: Exception) -> str:
    """Return what to do: of memory, look who has it."""
    if isinstance(error, MemoryError):
        return "nvidia-smi says who has the memory; --backend numpy runs on the CPU"
    return _TOOLKIT


def _problem(name: str, what: str, advice: str) -> Finding:
    return Finding(name=name, status=PROBLEM, what=what, advice=advice)
