"""What of a model is trained: all of it, or some of it with the rest as it is.

A trainer holds the parameters that change. The model is run on a tree that is made of these, and a
plain model comes out in the end, which knows nothing of how it was trained.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tinyllm.backend import Backend, Params
from tinyllm.params import nest


class Parts(Protocol):
    """How a trainer's parameters are a model's."""

    def tree(self, params: Params) -> dict[str, Any]:
        """Return the parameter tree to run the model on."""
        ...

    def model(self, xp: Backend, params: Params) -> Params:
        """Return the parameters of the model that has come out."""
        ...

    def save(self, xp: Backend, params: Params, folder: Path) -> None:
        """Write into a model's folder what its own files do not tell."""
        ...


class Whole:
    """All that the model has is trained."""

    def tree(self, params: Params) -> dict[str, Any]:
        """Return the same as a tree."""
        return nest(params)

    def model(self, xp: Backend, params: Params) -> Params:
        """Return the same."""
        return params

    def save(self, xp: Backend, params: Params, folder: Path) -> None:
        """Write nothing: there is no more to tell."""


WHOLE = Whole()


@dataclass(frozen=True, slots=True)
class PartlyFrozen(Whole):
    """What the trainer does not hold stays as it is in `frozen`."""

    frozen: Params

    def tree(self, params: Params) -> dict[str, Any]:
        """Return both as a tree."""
        return nest(self.frozen | params)

    def model(self, xp: Backend, params: Params) -> Params:
        """Return both."""
        return self.frozen | params


def fingerprint(xp: Backend, params: Params) -> str:
    """Return what differs where names or numbers do: a hash."""
    found = hashlib.sha256()
    for name in sorted(params):
        x = np.ascontiguousarray(xp.to_numpy(params[name]))
        found.update(f"{name} {x.dtype} {x.shape} ".encode() + x.tobytes())
    return found.hexdigest()[:16]
