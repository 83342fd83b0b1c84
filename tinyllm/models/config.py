"""What a Transformer looks like: its sizes, and the names of the pieces that it is made of."""

from dataclasses import dataclass
from typing import ClassVar

from tinyllm.layers.norms import NORMS
from tinyllm.models.block import Block, config_of_block
from tinyllm.models.experts import Experts
from tinyllm.models.feed_forward import Shapes, feed_forward_of, linear_shapes
from tinyllm.models.latent import Latent, latent_shapes
from tinyllm.models.layouts import layout_of_block
from tinyllm.models.positions import Positions, table_shape

EMBED_TOKENS, EMBED_POSITIONS = "model.embed_tokens.weight", "model.embed_positions.weight"
HEAD = "lm_head.weight"
PROJECT_IN, PROJECT_OUT = "model.project_in.weight", "model.project_out.weight"
EMBED_NORM, FINAL_NORM = "model.embed_norm", "model.norm"


@dataclass(frozen=True, kw_only=True, slots=True)
class StackConfig:
    """The architecture of a stack of blocks, and of what stands around it. Sizes are counts.

    Without the fields that have a default it is a Llama's. See `config_json` for files.
    """

    causal: ClassVar[bool]  # whether a token sees only itself and those before it

    family: str
    vocab_size: int
    d_model: int
    d_ff: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    max_seq_len: int  # tokens
    norm_eps: float
    positions: Positions
    windows: tuple[int | None, ...]  # of each layer: how many keys a query sees, itself included
    layout: str = "pre"  # of a block, a row of `layouts`
    norm: str = "rmsnorm"  # a row of `tinyllm.layers.norms`
    mlp: str = "swiglu"  # a row of `feed_forward`
    experts: Experts | None = None  # mixtures in the place of most feed-forward layers
    latent: Latent | None = None  # latent attention, in the place of attention
    blocks: tuple[Block, ...] | None = None  # each block, where they are not all alike
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    attention_scale: float | None = None  # of queries times keys; None: 1/√head_dim
    attention_softcap: float | None = None
    qkv_clip: float | None = None
    tie_embeddings: bool = False
    embed_dim: int | None = None  # of a token in the table, where that is not d_model
    embedding_scale: float = 1.0  # what a token's vector is multiplied by
    embedding_norm: bool = False  # whether it is normalised before the first block
    logit_softcap: float | None = None
    bos_id: int | None = None
    eos_ids: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderConfig(StackConfig):
    """A stack that scores the next token."""

    causal: ClassVar[bool] = True


def param_shapes(config: DecoderConfig) -> Shapes:
    """Return the shape of every parameter by its name: for loading, initialising and counting."""
    return stack_shapes(config) | head_shapes(config)


def head_shapes(config: StackConfig) -> Shapes:
    """Return the shape of the matrix that scores tokens, unless it is the embedding table."""
    if config.tie_embeddings:
        return {}
    return {HEAD: (config.vocab_size, config.embed_dim or config.d_model)}


def stack_shapes(config: StackConfig) -> Shapes:
    """Return the shapes of the parameters of all but the head."""
    width = config.embed_dim or config.d_model
    shapes: Shapes = {EMBED_TOKENS: (config.vocab_size, width)}
    if config.embed_dim is not None:
        shapes |= {PROJECT_IN: (config.d_model, width), PROJECT_OUT: (width, config.d_model)}
    if table := table_shape(config):
        shapes[EMBED_POSITIONS] = table
    if config.embedding_norm:
        shapes |= norm_shapes(EMBED_NORM, config)
    for i in range(config.n_layers):
        shapes |= _within(f"model.layers.{i}", _block_shapes(config_of_block(config, i), i))
    if layout_of_block(config.layout).final_norm:
        shapes |= norm_shapes(FINAL_NORM, config)
    return shapes


def _block_shapes(config: StackConfig, index: int) -> Shapes:
    """Return the shapes within a block, whose own config this is: the first norm comes first."""
    layout, D = layout_of_block(config.layout), config.d_model
    shapes: Shapes = {}
    for norm in layout.norms[:1]:
        shapes |= norm_shapes(norm, config)
    if "self_attn" in layout.sublayers:
        shapes |= _within("self_attn", _attention_shapes(config))
    for norm in layout.norms[1:]:
        shapes |= norm_shapes(norm, config)
    if "cross_attn" in layout.sublayers:
        shapes |= _within("cross_attn", _attention_shapes(config))
    if "mlp" in layout.sublayers:
        shapes |= _within("mlp", feed_forward_of(config, index).shapes(config))
    if "linear" in layout.sublayers:
        shapes |= linear_shapes("linear", D, D, bias=True)
    return shapes


def _attention_shapes(config: StackConfig) -> Shapes:
    if config.latent is not None:
        return latent_shapes(config)
    D, d = config.d_model, config.head_dim
    queries, keys = config.n_heads * d, config.n_kv_heads * d
    norms = {"q_norm.weight": (d,), "k_norm.weight": (d,)} if config.qk_norm else {}
    return {
        **linear_shapes("q_proj", queries, D, config.qkv_bias),
        **linear_shapes("k_proj", keys, D, config.qkv_bias),
        **linear_shapes("v_proj", keys, D, config.qkv_bias),
        **linear_shapes("o_proj", D, queries, config.o_bias),
        **norms,
    }


def norm_shapes(name: str, config: StackConfig) -> Shapes:
    """Return the shapes of a norm's parameters."""
    return {f"{name}.{part}": (config.d_model,) for part in NORMS[config.norm].parameters}


def _within(prefix: str, shapes: Shapes) -> Shapes:
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}
