"""Language models with every gradient written out, on NumPy or CuPy.

>>> import tinyllm
>>> model = tinyllm.load("path/to/a/llama")                                   # doctest: +SKIP
>>> print(model.generate("Once upon a time", temperature=0).text)             # doctest: +SKIP

Attributes are imported when they are first used, so that `import tinyllm` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinyllm import checkpoints, errors
    from tinyllm.backend import get_backend
    from tinyllm.gradient_checks import check_gradients
    from tinyllm.model import Model, load
    from tinyllm.tokenizers import load_tokenizer

__all__ = [
    "Model",
    "check_gradients",
    "checkpoints",
    "errors",
    "get_backend",
    "load",
    "load_tokenizer",
]
__version__ = "0.1.0"

_HOME = {
    "Model": "tinyllm.model",
    "check_gradients": "tinyllm.gradient_checks",
    "load": "tinyllm.model",
    "get_backend": "tinyllm.backend",
    "load_tokenizer": "tinyllm.tokenizers",
}


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in __all__:
        return import_module(f"tinyllm.{name}")
    raise AttributeError(f"module 'tinyllm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
