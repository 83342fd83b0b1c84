"""Matrices in whole numbers of few bits: W ≈ s ⊙ Q, with one scale s for many weights.

    bits   scale for       numbers      bytes a weight
    8      each row        -127 … 127   1
    4      32 of a row     -7 … 7       5/8, the scale included

The scale is the largest weight over the largest number ("absmax"), and weights are rounded to the
nearest multiple of it, so none is off by more than half a scale. Dettmers et al. 2022, "LLM.int8()"
(arXiv:2208.07339), section 2.1; for groups Dettmers & Zettlemoyer 2022 (arXiv:2212.09720).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyllm.backend import Array, Backend

GROUP = 32  # weights that share a scale of 4 bits
LARGEST = {8: 127, 4: 7}
BITS = tuple(LARGEST)


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantized:
    """A matrix (D, C) that only a backend's `linear` reads.

    Of 8 bits: values (D, C) int8, scales (D, 1). Of 4 bits: values (D, C/2) uint8, scales
    (D, C/32), and each number is kept plus 8. The 16 bytes of a group hold its first half in their
    lower four bits, and its second half in the upper ones.
    """

    bits: int
    values: Array
    scales: Array

    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        """(D, C), whatever the bits."""
        return self.values.shape[0], self.values.shape[1] * 8 // self.bits

    @property
    def dtype(self) -> str:
        """A name that no array's dtype has."""
        return f"int{self.bits}"

    def rows(self, start: int, stop: int) -> "Quantized":
        """Return some of the rows: views."""
        part = slice(start, stop)
        return Quantized(bits=self.bits, values=self.values[part], scales=self.scales[part])


def quantize(weight: Any, *, bits: int) -> Quantized:
    """Round to whole multiples of a scale: Q = round(W / s), s = max |W| / largest.

    weight (D, C), in NumPy; C in whole groups for 4 bits
    """
    D, C = weight.shape
    groups = weight.astype(np.float32).reshape(D, -1, GROUP if bits == 4 else C)
    scales = np.abs(groups).max(axis=-1, keepdims=True, initial=0.0) / np.float32(LARGEST[bits])
    scales[scales == 0.0] = 1.0  # nothing but zeros: any scale is right
    numbers = np.rint(groups / scales).astype(np.int8)
    if bits == 4:
        kept = (numbers + 8).astype(np.uint8)
        numbers = kept[..., : GROUP // 2] | kept[..., GROUP // 2 :] << 4
    return Quantized(bits=bits, values=numbers.reshape(D, -1), scales=scales[..., 0])


def dequantize(xp: Backend, q: Quantized) -> Array:
    """Widen to what is computed with: W = s ⊙ Q.

    -> weight (D, C), in the scales' dtype
    """
    dtype = q.scales.dtype
    if q.bits == 8:
        return xp.astype(q.values, dtype) * q.scales
    pairs = xp.reshape(q.values, (*q.scales.shape, GROUP // 2))
    numbers = xp.astype(xp.concat([pairs & 15, pairs >> 4], axis=-1), dtype) - 8.0
    return xp.reshape(numbers * q.scales[..., None], q.shape)
