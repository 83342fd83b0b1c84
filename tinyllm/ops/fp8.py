"""Attention in 8 bits, simulated: what rounding to e4m3 costs, and what a rotation saves.

A number in e4m3 has a sign, 4 bits of exponent and 3 of mantissa: steps of 1/8 of a power of two,
from 2⁻⁹ up to 448. FlashAttention-3 multiplies such numbers, twice as fast as 16-bit ones, and
keeps the error down in two ways: a scale for each block of rows instead of one for the tensor, and
incoherent processing, which spreads an outlier among all features of its row by a random rotation
of queries and keys that leaves their products as they were.

Shah et al. 2024, "FlashAttention-3" (arXiv:2407.08608), section 3.3. The arithmetic here is the
backend's; only the values are rounded, on the host.
"""

import ml_dtypes
import numpy as np

from tinyllm.backend import Array, Backend
from tinyllm.errors import UsageError
from tinyllm.ops.flash_tiles import tiles

LARGEST = 448.0  # of e4m3 without infinities, e4m3fn


def round_to_e4m3(xp: Backend, x: Array) -> Array:
    """Round to the nearest number of e4m3, of two to the even one; beyond ±448 to ±448.

    x (...) -> y (...), of x's dtype
    """
    host = xp.to_numpy(x)
    rounded = np.clip(host, -LARGEST, LARGEST).astype(ml_dtypes.float8_e4m3fn)
    return xp.asarray(rounded.astype(host.dtype))


def through_e4m3(xp: Backend, x: Array, *, block: int | None = None) -> Array:
    """Return what is left of x after e4m3: y = s round(x / s),  s = max |x| / 448.

    x (B, H, N, d) -> y (B, H, N, d)

    There is one scale s for all, or one for each `block` rows of a head.
    """
    if block is None:
        return _scaled(xp, x, xp.max(xp.abs(x)))
    parts = [x[:, :, rows, :] for rows in tiles(x.shape[2], block)]
    largest = [
        xp.max(xp.max(xp.abs(part), axis=-1, keepdims=True), axis=-2, keepdims=True)
        for part in parts
    ]
    return xp.concat([_scaled(xp, *of) for of in zip(parts, largest, strict=True)], axis=2)


def _scaled(xp: Backend, x: Array, largest: Array) -> Array:
    scale = xp.where(largest == 0.0, xp.ones_like(largest), largest / LARGEST)
    return scale * round_to_e4m3(xp, x / scale)


def hadamard(xp: Backend, x: Array) -> Array:
    """Multiply rows by Hadamard's matrix, y = x H / √d,  H₂ₙ = [[Hₙ, Hₙ], [Hₙ, -Hₙ]],  H₁ = 1.

    x (..., d) -> y (..., d)

    An orthogonal matrix of nothing but ±1/√d, in d log d steps: the fast Walsh-Hadamard transform.
    Raises UsageError where d is no power of two.
    """
    d = x.shape[-1]
    if d & (d - 1) or d == 0:
        raise UsageError(f"a Hadamard transform is of a power of two, not of {d} features")
    width = 1
    while width < d:
        pairs = xp.reshape(x, (*x.shape[:-1], d // (2 * width), 2, width))
        a, b = pairs[..., 0, :], pairs[..., 1, :]
        x = xp.reshape(xp.stack([a + b, a - b], axis=-2), x.shape)
        width *= 2
    return x * d**-0.5


def incoherent(xp: Backend, x: Array, signs: Array) -> Array:
    """Rotate rows at random: y = x M,  M = diag(signs) H / √d, so that (q M)(k M)ᵀ = q kᵀ.

    x (..., d), signs (d,) -> y (..., d)

    `signs` are ±1 at random. Each feature of y has a part of each of x, so that no outlier is left.
    """
    return hadamard(xp, x * signs)


def fp8_attention(
    xp: Backend,
    q: Array,
    k: Array,
    v: Array,
    *,
    block: int | None = None,
    signs: Array | None = None,
) -> Array:
    """Attend as FlashAttention-3 does in fp8: O = P̂ V̂ / Σ P,  P = exp(S - max S),  S = Q̂ K̂ᵀ / √d.

    q (B, H, T, d), k (B, H, S, d), v (B, H, S, e) -> o (B, H, T, e)

    The hats are roundings to e4m3: of q, k and v with scales for `block` rows, of P, which is at
    most 1, without. With `signs`, q and k are made incoherent first.
    """
    if signs is not None:
        q, k = incoherent(xp, q, signs), incoherent(xp, k, signs)
    q, k, v = (through_e4m3(xp, x, block=block) for x in (q, k, v))
    scores = xp.matmul(q, xp.permute_dims(k, (0, 1, 3, 2))) * q.shape[-1] ** -0.5
    probs = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    total = xp.sum(probs, axis=-1, keepdims=True)
    return xp.matmul(round_to_e4m3(xp, probs), v) / total
