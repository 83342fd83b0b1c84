"""What every test shares: the backends to run on, and where optional test data lies."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

import tinyllm_numpy
from emulator import cupy_stand_in
from tinyllm.ops.activations import sigmoid
from tinyllm.ops.attention import attention_backward, attention_forward
from tinyllm.ops.losses import summed_cross_entropy

try:
    import array_api_strict
except ImportError:  # on a GPU machine that has CuPy and little else
    array_api_strict = None

settings.register_profile("tinyllm", deadline=None, derandomize=True, max_examples=30)
settings.register_profile("long", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "tinyllm"))

for name in ("COLUMNS", "LINES"):  # the size of no terminal, which readline leaves to processes
    os.environ.pop(name, None)

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "tests" / "examples"
DATA = Path(os.environ.get("TINYLLM_TEST_DATA", ROOT.parent / "shared" / "data"))


def data(path):
    """Return the optional test file or folder at `path`; skip the test where it is absent.

    From here on the test is untraced: what is covered must not depend on optional files.
    """
    if not (DATA / path).exists():
        pytest.skip(f"no test data at {DATA / path}; TINYLLM_TEST_DATA names its folder")
    sys.settrace(None)
    return DATA / path


class StrictBackend:
    """The Array API standard and nothing more: stands in for CuPy where there is no GPU."""

    name = "strict"
    narrow_products = False
    index_add = staticmethod(
        lambda n, ids, values: array_api_strict.asarray(
            tinyllm_numpy.index_add(n, np.asarray(ids), np.asarray(values))
        )
    )
    add_rows = staticmethod(
        lambda x, ids, values: array_api_strict.asarray(
            tinyllm_numpy.add_rows(np.array(x), np.asarray(ids), np.asarray(values))
        )
    )
    erf = staticmethod(lambda x: array_api_strict.asarray(tinyllm_numpy.erf(np.asarray(x))))
    to_numpy = staticmethod(np.asarray)
    synchronize = staticmethod(lambda: None)
    free_memory = staticmethod(tinyllm_numpy.free_memory)
    peak_memory = staticmethod(tinyllm_numpy.peak_memory)

    def __getattr__(self, attribute):
        return getattr(array_api_strict, attribute)

    def top_k(self, x, k, /):
        return array_api_strict.argsort(-x, axis=-1, stable=True)[..., :k]

    def linear(self, x, weight, /):
        assert x.ndim == weight.ndim == 2
        return x @ weight.T

    def sigmoid(self, x, /):
        return sigmoid(self, x)

    def pack(self, weights, /):
        return weights[0] if len(weights) == 1 else array_api_strict.concat(weights)

    def attention_forward(self, *arrays, **options):
        return attention_forward(self, *arrays, **options)

    def attention_backward(self, dy, saved):
        return attention_backward(self, dy, saved)

    def summed_cross_entropy(self, logits, targets, /, **options):
        return summed_cross_entropy(self, logits, targets, **options)

    def parallel_map(self, f, items, /):
        return [f(item) for item in items]


def two_dimensional(matmul):
    """Refuse `@` beyond matrices: CuPy's batched 16-bit `@` is broken, NumPy's is slow."""

    def checked(self, other):
        assert max(self.ndim, other.ndim) <= 2, "use xp.matmul for batched products"
        return matmul(self, other)

    return checked


if array_api_strict is None:
    absent = pytest.mark.skip(reason="array-api-strict is not installed")
    STRICT = pytest.param(None, id="strict", marks=absent)
else:
    _Array = array_api_strict._array_object.Array
    _Array.__matmul__ = two_dimensional(_Array.__matmul__)
    STRICT = StrictBackend()

BACKENDS = [tinyllm_numpy, STRICT]
try:  # where there is a GPU, every test that takes `xp` runs on it, too
    if os.environ.get("TINYLLM_TEST_CUPY") == "stand-in":
        tinyllm_cupy = cupy_stand_in.load()
    else:
        import tinyllm_cupy
except Exception:  # no CuPy or no GPU: what exactly is missing is test_backend.py's business
    pass
else:
    BACKENDS.append(tinyllm_cupy)


@pytest.fixture(scope="session", params=BACKENDS, ids=lambda backend: backend.name)
def xp(request):
    return request.param


def pytest_collection_modifyitems(items):
    """Trace no coverage where array-api-strict runs the lines that NumPy has run: it is slow.

    Examples train models, so they are slow.
    """
    for item in items:
        if item.path.is_relative_to(EXAMPLES):
            item.add_marker("slow")
        callspec = getattr(item, "callspec", None)
        if callspec is not None and isinstance(callspec.params.get("xp"), StrictBackend):
            item.add_marker("untraced")


def pytest_configure(config):
    """Hide PyTorch where no test may need it: importing it takes longer than many tests."""
    if "not parity" in config.option.markexpr:
        sys.modules |= dict.fromkeys(["torch", "transformers"])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    tracer = sys.gettrace()
    if item.get_closest_marker("untraced"):
        sys.settrace(None)
    try:
        return (yield)
    finally:
        if sys.gettrace() is not tracer:
            sys.settrace(tracer)
