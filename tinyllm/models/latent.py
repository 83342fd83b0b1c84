"""How a model's latent attention looks: its sizes and its parameters."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tinyllm.layers.latent_attention import latent_attention_backward, latent_attention_forward
from tinyllm.layers.layer import Layer
from tinyllm.models.rope import Rope
from tinyllm.ops.rope_scaling import yarn_scale

if TYPE_CHECKING:
    from tinyllm.models.config import StackConfig

Shapes = dict[str, tuple[int, ...]]
EPS = 1e-6  # of the norms of the short vectors, whatever that of the others is


@dataclass(frozen=True, kw_only=True, slots=True)
class Latent:
    """The widths of `tinyllm.layers.latent_attention`; `head_dim` of the config is r, the rotated.

    `mscale` counts where RoPE is scaled by YaRN: all scores are then multiplied by the square of
    0.1 · mscale · log(factor) + 1, which 0 leaves out.
    """

    q_rank: int | None  # of the short vector of queries; None: they are made at once
    kv_rank: int
    nope_dim: int
    v_dim: int
    mscale: float = 0.0


def latent_shapes(config: "StackConfig") -> Shapes:
    """Return the shapes of the parameters, by their names within "self_attn"."""
    latent, D, H, r = _latent(config), config.d_model, config.n_heads, config.head_dim
    queries, rank = H * (latent.nope_dim + r), latent.q_rank
    shapes: Shapes = {"q_proj.weight": (queries, D)}
    if rank is not None:
        shapes = {
            "q_a_proj.weight": (rank, D),
            "q_a_layernorm.weight": (rank,),
            "q_b_proj.weight": (queries, rank),
        }
    return shapes | {
        "kv_a_proj_with_mqa.weight": (latent.kv_rank + r, D),
        "kv_a_layernorm.weight": (latent.kv_rank,),
        "kv_b_proj.weight": (H * (latent.nope_dim + latent.v_dim), latent.kv_rank),
        "o_proj.weight": (D, H * latent.v_dim),
    }


def latent_layer(config: "StackConfig", **around: Any) -> Layer:
    """Return the two functions, for these positions, masks and caches."""
    latent = _latent(config)
    scale, rope = (latent.nope_dim + config.head_dim) ** -0.5, config.positions
    if latent.mscale and isinstance(rope, Rope) and rope.kind != "default":
        scale *= yarn_scale(rope.factor, latent.mscale) ** 2
    forward = partial(
        latent_attention_forward,
        n_heads=config.n_heads,
        nope_dim=latent.nope_dim,
        scale=scale,
        norm_eps=EPS,
        **around,
    )
    return Layer(forward, latent_attention_backward)


def _latent(config: "StackConfig") -> Latent:
    assert config.latent is not None
    return config.latent
