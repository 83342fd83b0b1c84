"""Rotary position embedding: a query and a key see how far apart they are, not where they stand.

Feature pairs of each head are turned like the hands of clocks, pair i by `position · ωᵢ` radians,
ωᵢ = θ^(-2i/d), so that ⟨R_m q, R_n k⟩ depends on m - n alone.

Which features make a pair is a matter of layout, and files exist in both:

    "half"         pairs (i, i + d/2)    Hugging Face files, and tinyllm within
    "interleaved"  pairs (2i, 2i + 1)    the paper, Meta's files, llama2.c

They are one function up to a permutation of the rows of the query and key projections, which is
made once, when a file is read or written.

Su et al. 2021, "RoFormer" (arXiv:2104.09864), eq. 34.
"""

from tinyllm.backend import Array, Backend, Saved


def rope_tables(
    xp: Backend, positions: Array, frequencies: Array, *, dtype: object, scale: float = 1.0
) -> tuple[Array, Array]:
    """Return the cosines and sines of the angles `position · ω`, in radians, times `scale`.

    positions (..., T), frequencies (r,) -> cos (..., T, r), sin (..., T, r)

    The angles are formed in float64: in float32, position 100,000 is off by a hundredth of a turn.
    """
    angles = xp.astype(positions, xp.float64)[..., None] * frequencies
    cos, sin = xp.cos(angles), xp.sin(angles)
    return xp.astype(cos * scale, dtype), xp.astype(sin * scale, dtype)


def rope_half_forward(xp: Backend, x: Array, cos: Array, sin: Array) -> tuple[Array, Saved]:
    """Rotate the pairs (i, i + r): y₁ = x₁ cos - x₂ sin,  y₂ = x₂ cos + x₁ sin.

    x (..., T, d), cos (..., T, r), sin (..., T, r) -> y (..., T, d)

    Turns the first 2r features of each head, and leaves the others as they are.
    """
    r = cos.shape[-1]
    x1, x2 = x[..., :r], x[..., r : 2 * r]
    turned = [x1 * cos - x2 * sin, x2 * cos + x1 * sin]
    rest = [x[..., 2 * r :]] if 2 * r < x.shape[-1] else []
    return xp.concat(turned + rest, axis=-1), (cos, sin)


def rope_half_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, None, None]:
    """Turn dy back, by the opposite angle; the tables are constants."""
    cos, sin = saved
    return rope_half_forward(xp, dy, cos, -sin)[0], None, None


def rope_interleaved_forward(xp: Backend, x: Array, cos: Array, sin: Array) -> tuple[Array, Saved]:
    """Rotate the pairs (2i, 2i + 1): y₁ = x₁ cos - x₂ sin,  y₂ = x₂ cos + x₁ sin.

    x (..., T, d), cos (..., T, r), sin (..., T, r) -> y (..., T, d)

    Turns the first 2r features of each head, and leaves the others as they are.
    """
    r = cos.shape[-1]
    x1, x2 = x[..., 0 : 2 * r : 2], x[..., 1 : 2 * r : 2]
    pairs = xp.stack([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1)  # (..., T, r, 2)
    turned = xp.reshape(pairs, (*pairs.shape[:-2], 2 * r))
    rest = [x[..., 2 * r :]] if 2 * r < x.shape[-1] else []
    return xp.concat([turned, *rest], axis=-1), (cos, sin)


def rope_interleaved_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[Array, None, None]:
    """Turn dy back, by the opposite angle; the tables are constants."""
    cos, sin = saved
    return rope_interleaved_forward(xp, dy, cos, -sin)[0], None, None


def interleaved_to_half(xp: Backend, weight: Array, n_heads: int) -> Array:
    """Reorder the rows of a query or key projection, or its bias, for the "half" layout.

    weight (R, ...) -> y (R, ...)

    R = n_heads · d. A key projection has n_kv_heads heads. Within each head, rows 0, 2, 4 … come
    first, then rows 1, 3, 5 …
    """
    return _swap_row_axes(xp, weight, (n_heads, weight.shape[0] // n_heads // 2, 2))


def half_to_interleaved(xp: Backend, weight: Array, n_heads: int) -> Array:
    """Undo `interleaved_to_half`.

    weight (R, ...) -> y (R, ...)
    """
    return _swap_row_axes(xp, weight, (n_heads, 2, weight.shape[0] // n_heads // 2))


def _swap_row_axes(xp: Backend, weight: Array, split: tuple[int, int, int]) -> Array:
    """Split the rows into three axes, swap the last two of these, and join them again."""
    x = xp.reshape(weight, (*split, *weight.shape[1:]))
    x = xp.permute_dims(x, (0, 2, 1, *range(3, x.ndim)))
    return xp.reshape(x, weight.shape)
