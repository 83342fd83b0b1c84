"""How the files of a family name and lay out the parameters: a plan that is read both ways.

    plan = stored_plan(config, names)              {tensor in the file: the parameters it holds}
    taken_apart(x, stored, shapes)                 a file's tensor -> its parameters
    put_together(parts, stored)                    parameters -> a file's tensor

Three things may differ from the names and layout of Llama's files, which are those within: names;
matrices that are transposed, (inputs, outputs); and queries, keys and values in one matrix, head by
head or one after another.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Shape = tuple[int, ...]
QKV = tuple(f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj"))
_LAYER = re.compile(r"model\.layers\.([0-9]+)\.(.+)\.([a-z]+)\Z")


@dataclass(frozen=True, kw_only=True, slots=True)
class Names:
    """What a family's files call the modules; those that are not listed keep their names.

    `groups` is into how many parts the rows of the joint matrix fall, each with its own queries,
    keys and values in this order: 1 where all queries come first, as many as heads where heads do.
    """

    whole: Mapping[str, str] = field(
        default_factory=dict
    )  # modules, or parameters, outside of the layers
    layers: str = "model.layers"
    within: Mapping[str, str] = field(default_factory=dict)  # modules of a layer
    joint: str | None = None  # the module of a layer with queries, keys and values
    groups: int = 1
    transposed: bool = False  # whether the matrices of the layers are
    prefix: str = ""  # of all names but the head's, which a file may leave out
    leaves: Mapping[str, str] = field(default_factory=dict)  # old ends of names, and today's
    buffers: tuple[str, ...] = ()  # ends of names that files hold beside the parameters


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of a file: the parameters in it, and how they lie there."""

    names: tuple[str, ...]
    groups: int = 1
    transposed: bool = False


def stored_plan(params: Sequence[str], names: Names) -> dict[str, Stored]:
    """Return what each tensor of a file holds, of these parameters."""
    plan: dict[str, Stored] = {}
    for name in params:
        match = _LAYER.match(name)
        if match is None:
            module, leaf = name.rsplit(".", 1)
            in_file = f"{names.whole.get(module, module)}.{leaf}"
            plan[names.whole.get(name, in_file)] = Stored((name,))
            continue
        index, module, leaf = match.groups()
        transposed = names.transposed and leaf == "weight" and module.endswith("_proj")
        if names.joint is not None and module in QKV:
            target = f"{names.layers}.{index}.{names.joint}.{leaf}"
            others = plan[target].names if target in plan else ()
            plan[target] = Stored((*others, name), names.groups, transposed)
        else:
            target = f"{names.layers}.{index}.{names.within.get(module, module)}.{leaf}"
            plan[target] = Stored((name,), 1, transposed)
    return plan


def stored_shape(stored: Stored, shapes: Sequence[Shape]) -> Shape:
    """Return the shape of a file's tensor, of the shapes of its parameters."""
    shape = (sum(shape[0] for shape in shapes), *shapes[0][1:])
    return shape[::-1] if stored.transposed else shape


def taken_apart(x: Any, stored: Stored, shapes: Sequence[Shape]) -> list[Any]:
    """Return the parameters, of these shapes, that a file's tensor holds: views where that can be.

    x (C, D), or (D, C) if it is transposed -> parts (D_i, C), Σ D_i = D
    """
    x = x.T if stored.transposed else x
    if len(shapes) == 1:
        return [x]
    grouped = x.reshape(stored.groups, -1, *x.shape[1:])
    parts, start = [], 0
    for shape in shapes:
        end = start + shape[0] // stored.groups
        parts.append(grouped[:, start:end].reshape(shape))
        start = end
    return parts


def put_together(parts: Sequence[Any], stored: Stored) -> Any:
    """Undo `taken_apart`."""
    if len(parts) > 1:
        grouped = [part.reshape(stored.groups, -1, *part.shape[1:]) for part in parts]
        joined = np.concatenate(grouped, axis=1)
        x = joined.reshape(-1, *joined.shape[2:])
    else:
        x = parts[0]
    return np.ascontiguousarray(x.T) if stored.transposed else x
