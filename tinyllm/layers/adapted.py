"""A linear map that stays as it is, with an adapter of low rank beside it, which learns: LoRA.

    y = x Wᵀ + b + s (x Aᵀ) Bᵀ

Hu et al. 2021, "LoRA: low-rank adaptation of large language models" (arXiv:2106.09685). B begins as
zeros, so that y does as it was. A branch of the parameter tree that has `lora` is such a map.
"""

from dataclasses import dataclass
from typing import Any

from tinyllm.backend import Array, Backend, Saved
from tinyllm.ops.linear import linear_forward, rows
from tinyllm.ops.low_rank import low_rank_backward, low_rank_forward

LORA = "lora"


@dataclass(frozen=True, slots=True)
class Adapter:
    """What learns beside a matrix (D, C): nothing, where that is only to stay as it is."""

    a: Array | None = None  # (r, C)
    b: Array | None = None  # (D, r)
    scale: float = 1.0  # s = α / r


def adapted_forward(xp: Backend, x: Array, p: dict[str, Any]) -> tuple[Array, Saved]:
    """Add what the adapter makes: y = x Wᵀ + b + s (x Aᵀ) Bᵀ.

    x (..., C) -> y (..., D)

    Uses weight (D, C), bias (D,) if there is one, and lora, an `Adapter`.
    """
    adapter: Adapter = p[LORA]
    y, _ = linear_forward(xp, x, p["weight"], p.get("bias"))
    if adapter.a is None or adapter.b is None:
        return y, (p["weight"], None)
    added, s_added = low_rank_forward(xp, x, adapter.a, adapter.b, scale=adapter.scale)
    return y + added, (p["weight"], s_added)


def adapted_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, dict[str, Any]]:
    """dx = dy W + the adapter's; W and b have no gradient, and none is computed."""
    weight, s_added = saved
    dx = xp.reshape(xp.matmul(rows(xp, dy), weight), (*dy.shape[:-1], weight.shape[1]))
    if s_added is None:
        return dx, {}
    dadded, da, db = low_rank_backward(xp, dy, s_added)
    return dx + dadded, {"lora_A": {"weight": da}, "lora_B": {"weight": db}}
