"""How fast each pair of features turns: RoPE's frequencies, and the ways to stretch them.

A model that was trained on C positions meets angles it has never seen beyond them. Each method
below slows some clocks down so that the new positions fall within known angles. All return the
frequencies ω (r,) in radians per position, as float64 NumPy arrays: constants of a model.
"""

import math
from typing import Any

import numpy as np


def default_frequencies(theta: float, dim: int) -> Any:
    """Turn pair i of `dim` rotated features by ωᵢ = θ^(-2i/dim) radians per position.

    Su et al. 2021 (arXiv:2104.09864), eq. 15, with the base θ free instead of 10000.
    """
    return theta ** -(np.arange(0, dim, 2, dtype=np.float64) / dim)


def linear_frequencies(theta: float, dim: int, *, factor: float) -> Any:
    """Slow every clock down alike: ω / factor.

    Chen et al. 2023, "Extending context window … via position interpolation" (arXiv:2306.15595).
    """
    return default_frequencies(theta, dim) / factor


def dynamic_frequencies(
    theta: float, dim: int, *, factor: float, original_context: int, context: int
) -> Any:
    """Raise the base with the `context` in use: θ' = θ (factor · n/C - (factor - 1))^(dim/(dim-2)).

    n is the context in tokens, C the original one; up to n = C nothing changes. Because θ' moves
    with n, keys rotated for a shorter context are wrong for a longer one: such a model cannot keep
    a cache beyond C. "NTK-aware" scaling; Peng et al. 2023 (arXiv:2309.00071), section 3.3.
    """
    n = max(context, original_context)
    stretch = factor * n / original_context - (factor - 1.0)
    exponent = dim / max(dim - 2, 1)  # a single pair turns by 1 whatever the base
    return default_frequencies(theta * stretch**exponent, dim)


def llama3_frequencies(
    theta: float,
    dim: int,
    *,
    factor: float,
    low_freq_factor: float,
    high_freq_factor: float,
    original_context: int,
) -> Any:
    """Slow down only the clocks that turn less than once or so in the original context C.

    With C/λ turns in C tokens (λ = 2π/ω): fewer than `low_freq_factor` turns, ω / factor; more than
    `high_freq_factor`, ω; between, the two are mixed in proportion. Llama 3.1's rule (Dubey et al.
    2024, arXiv:2407.21783, section 3.4.2; the constants are those of its reference code).
    """
    freq = default_frequencies(theta, dim)
    turns = original_context * freq / (2.0 * math.pi)
    keep = np.clip((turns - low_freq_factor) / (high_freq_factor - low_freq_factor), 0.0, 1.0)
    return (1.0 - keep) * freq / factor + keep * freq


def yarn_frequencies(
    theta: float,
    dim: int,
    *,
    factor: float,
    original_context: int,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    truncate: bool = True,
) -> Any:
    """Keep the clocks with many turns in the original context, slow the others by `factor`.

    Between the pairs that make `beta_fast` and `beta_slow` turns the change is a linear ramp over
    the pair's index; `truncate` rounds the ramp's ends outwards. Peng et al. 2023, "YaRN"
    (arXiv:2309.00071), eqs. 17-21. YaRN also scales cos and sin: see `yarn_scale`.
    """

    def pair_with(turns: float) -> float:
        """The index of the pair that makes so many turns in the original context."""
        return dim * math.log(original_context / (turns * 2.0 * math.pi)) / (2.0 * math.log(theta))

    low, high = pair_with(beta_fast), pair_with(beta_slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001  # a ramp of no width would divide by zero
    slowed = np.clip((np.arange(dim // 2, dtype=np.float64) - low) / (high - low), 0.0, 1.0)
    freq = default_frequencies(theta, dim)
    return freq / factor * slowed + freq * (1.0 - slowed)


def yarn_scale(factor: float, mscale: float = 1.0) -> float:
    """What YaRN multiplies cos and sin by: 0.1 m ln s + 1, s the factor.

    It sharpens attention, which would blur over a longer context. Peng et al. 2023
    (arXiv:2309.00071), eq. 22 (there √(1/t), with m = 1).
    """
    return 0.1 * mscale * math.log(factor) + 1.0 if factor > 1.0 else 1.0
