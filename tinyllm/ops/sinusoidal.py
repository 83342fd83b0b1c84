"""Sinusoidal positions: each position a vector of sines and cosines, to be added to the token's."""

from tinyllm.backend import Array, Backend


def sinusoidal_positions(
    xp: Backend, positions: Array, frequencies: Array, *, dtype: object
) -> Array:
    """Return PE[p, 2i] = sin(p ωᵢ) and PE[p, 2i+1] = cos(p ωᵢ), for p any number of tokens.

    positions (..., T), frequencies (r,) -> y (..., T, 2 r)

    With ωᵢ = 10000^(-i/r) these are those of Vaswani et al. 2017 (arXiv:1706.03762), section 3.5.
    To move by k positions is to turn each pair by k ωᵢ radians, so that ⟨PE[p], PE[q]⟩ depends on
    p - q alone. The angles are formed in float64, as those of `tinyllm.ops.rope`.
    """
    angles = xp.astype(positions, xp.float64)[..., None] * frequencies  # (..., T, r)
    pairs = xp.stack([xp.sin(angles), xp.cos(angles)], axis=-1)
    return xp.astype(xp.reshape(pairs, (*angles.shape[:-1], 2 * angles.shape[-1])), dtype)
