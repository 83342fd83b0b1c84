"""How large a step is: the learning rate as a function of the number of the step, from 1 on.

All warm up: the rate rises in a straight line and is `peak` at step `warmup`. Adam's first steps
rest on few gradients, and large ones would lead astray.
"""

import math
from collections.abc import Callable


def constant(step: int, *, peak: float, warmup: int, steps: int, floor: float) -> float:
    """Keep the rate: peak."""
    return peak * _rise(step, warmup)


def linear(step: int, *, peak: float, warmup: int, steps: int, floor: float) -> float:
    """Fall in a straight line: from the peak to peak · floor at the last step."""
    return peak * _rise(step, warmup) * (1 - (1 - floor) * _progress(step, warmup, steps))


def cosine(step: int, *, peak: float, warmup: int, steps: int, floor: float) -> float:
    """Fall along half a cosine: peak · (f + (1 - f) (1 + cos πx) / 2), x from 0 to 1, f = floor.

    Loshchilov & Hutter 2017, "SGDR" (arXiv:1608.03983), eq. 5, without restarts. LLaMA's floor is
    0.1 (Touvron et al. 2023, arXiv:2302.13971, section 2.3).
    """
    fallen = (1 + math.cos(math.pi * _progress(step, warmup, steps))) / 2
    return peak * _rise(step, warmup) * (floor + (1 - floor) * fallen)


def noam(step: int, *, peak: float, warmup: int, steps: int, floor: float) -> float:
    """Rise, then fall with the root of the step: peak · min(step / w, √(w / step)), w = warmup.

    Vaswani et al. 2017, "Attention is all you need" (arXiv:1706.03762), eq. 3, whose d_model^-0.5
    and constants make a peak of (d_model · w)^-0.5. The last two arguments count for nothing.
    """
    warmup = max(1, warmup)
    return peak * min(step / warmup, math.sqrt(warmup / step))


def _rise(step: int, warmup: int) -> float:
    return min(1.0, step / warmup) if warmup else 1.0


def _progress(step: int, warmup: int, steps: int) -> float:
    """How far a step is between the end of the warm-up, 0, and the last step, 1."""
    return min(1.0, max(0, step - warmup) / max(1, steps - warmup))


SCHEDULES: dict[str, Callable[..., float]] = {
    "constant": constant, "linear": linear, "cosine": cosine, "noam": noam,
}  # fmt: skip
