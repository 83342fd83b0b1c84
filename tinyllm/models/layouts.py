"""The block layouts that a config can name: see `tinyllm.layers.blocks`, and `partial_blocks`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinyllm.backend import Array, Saved
from tinyllm.layers.blocks import (
    parallel_block_backward,
    parallel_block_forward,
    post_norm_block_backward,
    post_norm_block_forward,
    pre_norm_block_backward,
    pre_norm_block_forward,
    sandwich_block_backward,
    sandwich_block_forward,
)
from tinyllm.layers.cross_blocks import (
    POST,
    PRE,
    post_norm_cross_block_backward,
    post_norm_cross_block_forward,
    pre_norm_cross_block_backward,
    pre_norm_cross_block_forward,
)
from tinyllm.layers.partial_blocks import (
    attention_block_backward,
    attention_block_forward,
    linear_block_backward,
    linear_block_forward,
    mlp_block_backward,
    mlp_block_forward,
)

BEFORE, BETWEEN = "input_layernorm", "post_attention_layernorm"
BEFORE_MLP, AFTER_MLP = "pre_feedforward_layernorm", "post_feedforward_layernorm"


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """One row: the block's functions, its norms by name, and whether one more ends the model."""

    forward: Callable[..., tuple[Array, Saved]]  # (xp, x, p, sublayers, dropout) -> y, saved
    backward: Callable[..., tuple[Array, dict[str, Any]]]
    norms: tuple[str, ...]
    final_norm: bool = True
    sublayers: tuple[str, ...] = ("self_attn", "mlp")


LAYOUTS = {
    "pre": Layout(
        forward=pre_norm_block_forward, backward=pre_norm_block_backward, norms=(BEFORE, BETWEEN)
    ),
    "post": Layout(
        forward=post_norm_block_forward, backward=post_norm_block_backward,
        norms=(BETWEEN, AFTER_MLP), final_norm=False,
    ),
    "parallel": Layout(
        forward=parallel_block_forward, backward=parallel_block_backward, norms=(BEFORE, BETWEEN)
    ),
    "parallel_one_norm": Layout(
        forward=parallel_block_forward, backward=parallel_block_backward, norms=(BEFORE,)
    ),
    "sandwich": Layout(
        forward=sandwich_block_forward, backward=sandwich_block_backward,
        norms=(BEFORE, BETWEEN, BEFORE_MLP, AFTER_MLP),
    ),
}  # fmt: skip

ATTENTION_ONLY, MLP_ONLY, LINEAR = "attention_only", "mlp_only", "linear"
PARTIAL = {  # of single blocks in a model whose blocks are not all alike
    ATTENTION_ONLY: Layout(
        forward=attention_block_forward, backward=attention_block_backward, norms=(BEFORE,),
        sublayers=("self_attn",),
    ),
    MLP_ONLY: Layout(
        forward=mlp_block_forward, backward=mlp_block_backward, norms=(BETWEEN,),
        sublayers=("mlp",),
    ),
    LINEAR: Layout(
        forward=linear_block_forward, backward=linear_block_backward, norms=(),
        sublayers=("linear",),
    ),
}  # fmt: skip
CROSS = {  # of decoders that read a source
    "pre_cross": Layout(
        forward=pre_norm_cross_block_forward, backward=pre_norm_cross_block_backward,
        norms=tuple(PRE.values()), sublayers=tuple(PRE),
    ),
    "post_cross": Layout(
        forward=post_norm_cross_block_forward, backward=post_norm_cross_block_backward,
        norms=tuple(POST.values()), sublayers=tuple(POST), final_norm=False,
    ),
}  # fmt: skip
HALVED = ("pre", "parallel")  # layouts of which either sublayer can be left alone with its norm


def layout_of_block(name: str) -> Layout:
    """Return the row of a model's layout, or of one of its blocks."""
    return (LAYOUTS | PARTIAL | CROSS)[name]
