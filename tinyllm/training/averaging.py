"""The average of the weights over the steps: less noise than those of any one step.

    average = start_average(params)
    update_average(xp, average, params, decay=0.999)      after each step
    average["params"]                                     what to evaluate and to save

The average is a state, like an optimiser's, and the one thing that is changed.
"""

from typing import Any

from tinyllm.backend import Array, Backend, Params
from tinyllm.training.blocks import by_blocks


def start_average(params: Params) -> dict[str, Any]:
    """Return the average of one step's weights."""
    return {"count": 1, "params": dict(params)}


def update_average(
    xp: Backend, average: dict[str, Any], params: Params, *, decay: float = 1.0
) -> None:
    """Take one more step's weights in: a ← a + (p - a) · max(1 - decay, 1 / n), the n-th step.

    With a decay of 1 this is the mean of all (Polyak & Juditsky 1992, "Acceleration of stochastic
    approximation by averaging"). With less it forgets: after 1 / (1 - decay) steps, which are
    averaged alike, it is the exponential moving average.
    """
    average["count"] += 1
    weight = max(1.0 - decay, 1.0 / average["count"])

    def rule(a: Array, p: Array) -> Array:
        return a + weight * (p - a)

    average["params"] = by_blocks(xp, rule, average["params"], params)
