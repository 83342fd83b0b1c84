"""LoRA: beside matrices that stay as they are, two thin ones learn.

    y = x Wᵀ + s (x Aᵀ) Bᵀ,   s = α / r;     merged: W ← W + s B A

Hu et al. 2021 (arXiv:2106.09685). The adapters' parameters have PEFT's names, which are those of
the matrices with lora_A.weight (r, C) and lora_B.weight (D, r) in the place of weight.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinyllm.backend import Backend, Params
from tinyllm.errors import UsageError
from tinyllm.layers.adapted import LORA, Adapter
from tinyllm.models.architecture import Config, architecture
from tinyllm.params import nest

A, B = "lora_A.weight", "lora_B.weight"


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora:
    """How thin, how strong, and beside what. Raises UsageError for a number out of its range."""

    rank: int
    alpha: float  # s = α / r
    targets: tuple[str, ...] = ()  # names, or ends of names, of modules; none: all

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UsageError(f"the rank is {self.rank}, expected at least 1")
        if not 0.0 < self.alpha < math.inf:
            raise UsageError(f"alpha is {self.alpha}, expected above 0 and finite")

    @property
    def scale(self) -> float:
        """What an adapter's product is multiplied by."""
        return self.alpha / self.rank


def linear_maps(config: Config) -> list[str]:
    """Return the modules of blocks that an adapter can stand beside: linear maps of all tokens.

    A mixture's experts and its gate are not among them.
    """
    found = []
    for name, shape in architecture(config).param_shapes(config).items():
        module = name.removesuffix(".weight")
        inside = name.startswith("model.layers.") and name.endswith(".weight")
        if inside and len(shape) == 2 and not _of_mixture(module):
            found.append(module)
    return found


def _of_mixture(module: str) -> bool:
    return ".experts." in module or module.endswith(".mlp.gate")


def adapted_modules(config: Config, lora: Lora) -> list[str]:
    """Return the modules that get adapters. Raises UsageError for a target that is none."""
    modules = linear_maps(config)
    for target in lora.targets:
        if not any(_is(module, target) for module in modules):
            known = dict.fromkeys(module.rpartition(".")[2] for module in modules)
            raise UsageError(
                f"no linear map of the model's blocks is called {target!r}; there are "
                f"{', '.join(known) or 'none'}"
            )
    if not modules:
        raise UsageError("the model has no linear map in blocks that an adapter could stand beside")
    if not lora.targets:
        return modules
    return [m for m in modules if any(_is(m, target) for target in lora.targets)]


def _is(module: str, target: str) -> bool:
    return module == target or module.endswith(f".{target}")


def init_adapters(config: Config, lora: Lora, rng: np.random.Generator, dtype: Any) -> Params:
    """Draw adapters that do nothing yet: A uniform within ±1/√C, as PEFT has it, and B = 0."""
    shapes = architecture(config).param_shapes(config)
    params: Params = {}
    for module in adapted_modules(config, lora):
        D, C = shapes[f"{module}.weight"]
        params[f"{module}.{A}"] = (rng.uniform(-1, 1, (lora.rank, C)) / math.sqrt(C)).astype(dtype)
        params[f"{module}.{B}"] = np.zeros((D, lora.rank), dtype)
    return params


def adapted_tree(config: Config, base: Params, adapters: Params, lora: Lora) -> dict[str, Any]:
    """Return the parameter tree of a model with adapters: no matrix beside them has a gradient."""
    tree = nest(base)
    for module in linear_maps(config):
        branch: Any = tree
        for part in module.split("."):
            branch = branch[part]
        a, b = adapters.get(f"{module}.{A}"), adapters.get(f"{module}.{B}")
        branch[LORA] = Adapter(a, b, lora.scale)
    return tree


def merged(xp: Backend, base: Params, adapters: Params, lora: Lora) -> Params:
    """Return the parameters of a plain model that does the same: W + s B A."""
    new = dict(base)
    for name, a in adapters.items():
        if name.endswith(A):
            module = name.removesuffix(f".{A}")
            weight = f"{module}.weight"
            new[weight] = base[weight] + lora.scale * (adapters[f"{module}.{B}"] @ a)
    return new


def share_of_zeros(xp: Backend, base: Params, modules: Sequence[str]) -> float:
    """Return which part of these matrices is zero: pruned ones lose that when they are merged."""
    weights = [np.asarray(xp.to_numpy(base[f"{module}.weight"])) for module in modules]
    return 1.0 - sum(map(np.count_nonzero, weights)) / sum(x.size for x in weights)


Save = Callable[[Path, Params], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapted:
    """What a trainer of adapters holds of a model: see `tinyllm.training.parts`."""

    config: Config
    base: Params
    lora: Lora
    write: Save = field(default=lambda folder, adapters: None)  # adapters, on the host

    def tree(self, params: Params) -> dict[str, Any]:
        """Return both, side by side."""
        return adapted_tree(self.config, self.base, params, self.lora)

    def model(self, xp: Backend, params: Params) -> Params:
        """Return the merged model."""
        return merged(xp, self.base, params, self.lora)

    def save(self, xp: Backend, params: Params, folder: Path) -> None:
        """Write the adapters apart, too."""
        self.write(folder, {name: np.asarray(xp.to_numpy(x)) for name, x in params.items()})
