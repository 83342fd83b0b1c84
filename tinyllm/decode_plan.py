"""What a backend is told of a decoder that it may run by kernels of its own, one token at a time.

A plan has the numbers and the arrays of a Llama, in the order in which they are used, and no names:
a backend knows nothing of configs and checkpoints. `tinyllm.inference.decode` makes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Projection:
    """y = W x + b: a matrix (D, C), perhaps `Quantized`, and (D,), or None where there is none."""

    weight: Any
    bias: Any = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Swiglu:
    """y = W_down (silu(W_gate x) ⊙ W_up x), with the biases that there are."""

    gate: Projection
    up: Projection
    down: Projection


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixture:
    """y = Σ w swiglu(x) of the k experts with the highest scores (see `tinyllm.ops.routing`)."""

    router: Any  # (E, D)
    experts: Sequence[Swiglu]  # without biases
    k: int
    renormalise: bool
    scale: float


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockPlan:
    """One block: x += W_o attention(RoPE(W_qkv norm(x))), then x += mlp(norm(x))."""

    norm: Any  # (D,), the gain before attention
    q: Projection
    k: Projection
    v: Projection
    o: Projection
    mlp_norm: Any  # (D,)
    mlp: Swiglu | Mixture
    keys: Any  # (1, K, room, d), the layer's part of the KV cache: column c is in slot c mod room
    values: Any
    window: int | None  # how many keys a query sees, itself included


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodePlan:
    """A decoder with pre-norm blocks: RMSNorm, RoPE, grouped queries, SwiGLU or mixtures of it."""

    blocks: Sequence[BlockPlan]
    embedding: Any  # (V, D)
    norm: Any  # (D,), the gain before the head
    head: Any  # (V, D), perhaps the embedding
    n_heads: int
    n_kv_heads: int
    head_dim: int
    norm_eps: float
    scale: float  # of a query times a key
    frequencies: Any  # (d/2,) radians per position, on the host, in float64
    rope_scale: float  # of cosines and sines


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """How a device draws tokens: the part of `tinyllm.inference.sampling` that it knows.

    Ids from `vocab_size` on are not drawn.
    """

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    vocab_size: int


class DecodeStep(Protocol):
    """A compiled plan: what follows a token that stands at a position, all before it in the cache.

    The token's key and value are written to the cache; its caller counts the columns.
    """

    def logits(self, token: int, position: int, /) -> Any:
        """Score every next token: -> logits (V,), valid until the next call."""
        ...

    def draw(
        self, token: int, position: int, uniforms: Sequence[float], how: Drawing, /
    ) -> list[int]:
        """Draw a token for each number from [0, 1), each after the last, with one wait at the end.

        A token is -1 where the scores are not finite, and whatever follows has no meaning.
        """
        ...
