"""Mixed precision: products of 16-bit numbers, with weights, sums and gradients in float32.

A step of training makes copies of the weight matrices in 16 bits. Every product of the forward and
the backward pass is then of numbers rounded to 16 bits, which is what the tensor cores of a GPU
multiply, and is summed in float32. All else is float32 as before: what is added to a residual
stream, norms, softmax, the loss, gradients, and the weights, to which a step adds what is often too
little to change a number of 16 bits. A linear map by a matrix that has no copy, a router's or a
frozen one's, is of float32 on the way forward.

Micikevicius et al. 2018, "Mixed precision training" (arXiv:1710.03740), section 3.1; activations
between the products are float32 here. The third part of it is in `loss_scale`.
"""

from typing import Any

import ml_dtypes
import numpy as np

from tinyllm.backend import Array, Backend, Params, Saved
from tinyllm.errors import UsageError
from tinyllm.models.architecture import Config
from tinyllm.models.recurrent_config import RecurrentConfig
from tinyllm.models.seq2seq_config import Seq2SeqConfig

NARROW = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float16": np.dtype(np.float16)}
PRECISIONS = ("float32", *NARROW)
# Parts of the names of matrices that stay in float32: tables that are added, and not multiplied,
# and routers, for whom a rounding may choose another expert.
KEPT = (".embed_positions.", ".embed_types.", ".final_logits_bias", ".mlp.gate.")


def mixed_precision(
    xp: Backend, config: Config, params: Params, precision: str
) -> "MixedPrecision":
    """Return `xp` with products of 16 bits.

    Raises UsageError where weights are not float32, where the model is recurrent, for its state
    would be rounded at every token, and for T5 in float16, whose activations are larger than any
    number of it.
    """
    if isinstance(config, RecurrentConfig):
        raise UsageError(f"precision {precision} is for transformers, and this model is recurrent")
    if precision == "float16" and isinstance(config, Seq2SeqConfig) and "t5" in config.family:
        raise UsageError("precision float16 ends at 65,504, and T5's activations do not: bfloat16")
    dtypes = {str(p.dtype) for p in params.values()} - {"float32"}
    if dtypes:
        raise UsageError(
            f"precision {precision} keeps weights in float32 beside it, and these are "
            f"{', '.join(sorted(dtypes))}"
        )
    return MixedPrecision(xp, NARROW[precision])


class MixedPrecision:
    """A backend whose products are of numbers rounded to `dtype`; all else is that of `xp`."""

    def __init__(self, xp: Backend, dtype: Any) -> None:
        self._xp, self._dtype = xp, dtype

    def __getattr__(self, name: str) -> Any:
        return getattr(self._xp, name)

    def copies(self, params: Params) -> Params:
        """Return the parameters with their matrices in 16 bits; those given stay as they are."""

        def narrow(name: str, p: Array) -> bool:
            return p.ndim == 2 and not any(part in name for part in KEPT)

        return {
            name: self._xp.astype(p, self._dtype) if narrow(name, p) else p
            for name, p in params.items()
        }

    def linear(self, x: Array, weight: Array, /) -> Array:
        """Multiply rows by a stored matrix, y = x Wᵀ: both in 16 bits, or where W is not, none."""
        return self._xp.linear(self._rounded(x) if weight.dtype == self._dtype else x, weight)

    def matmul(self, x1: Array, x2: Array, /) -> Array:
        """Multiply matrices in 16 bits."""
        return self._xp.matmul(self._rounded(x1), self._rounded(x2))

    def attention_forward(
        self, q: Array, k: Array, v: Array, bias: Array | None = None, /, **options: Any
    ) -> tuple[Array, Saved]:
        """Mix values by how well queries match keys, all in 16 bits."""
        narrow_q, narrow_k, narrow_v = (self._rounded(x) for x in (q, k, v))
        o, saved = self._xp.attention_forward(narrow_q, narrow_k, narrow_v, bias, **options)
        return self._xp.astype(o, q.dtype), saved

    def attention_backward(self, dy: Array, saved: Saved, /) -> tuple[Array, Array, Array, Any]:
        """Return dq, dk, dv and dbias of `attention_forward`, in float32."""
        *grads, dbias = self._xp.attention_backward(self._rounded(dy), saved)
        dq, dk, dv = (self._xp.astype(grad, dy.dtype) for grad in grads)
        return dq, dk, dv, dbias

    def _rounded(self, x: Array) -> Array:
        """Round to 16 bits; as float32 where the backend multiplies no others."""
        with np.errstate(over="ignore"):  # infinity is found where the loss or the gradient is
            narrow = self._xp.astype(x, self._dtype)
        wide = not self._xp.narrow_products
        return self._xp.astype(narrow, self._xp.float32) if wide else narrow
