"""What a decoder looks like, in numbers."""

from dataclasses import dataclass

from tinyllm.models.positions import Positions, way_of

EMBED_TOKENS, EMBED_POSITIONS = "model.embed_tokens.weight", "model.embed_positions.weight"


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderConfig:
    """The architecture of a Llama-shaped decoder. Sizes are counts; see `config_json` for files."""

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
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    tie_embeddings: bool = False
    embedding_scale: float = 1.0  # what a token's vector is multiplied by
    bos_id: int | None = None
    eos_ids: tuple[int, ...] = ()


def param_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter by its name: for loading, initialising and counting."""
    D, F = config.d_model, config.d_ff
    queries, keys = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {EMBED_TOKENS: (config.vocab_size, D)}
    if way_of(config.positions).table:
        shapes[EMBED_POSITIONS] = (config.max_seq_len, D)

    def linear(name: str, outputs: int, inputs: int, bias: bool) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs)
        if bias:
            shapes[f"{name}.bias"] = (outputs,)

    for i in range(config.n_layers):
        layer = f"model.layers.{i}"
        shapes[f"{layer}.input_layernorm.weight"] = (D,)
        linear(f"{layer}.self_attn.q_proj", queries, D, config.qkv_bias)
        linear(f"{layer}.self_attn.k_proj", keys, D, config.qkv_bias)
        linear(f"{layer}.self_attn.v_proj", keys, D, config.qkv_bias)
        linear(f"{layer}.self_attn.o_proj", D, queries, config.o_bias)
        if config.qk_norm:
            shapes[f"{layer}.self_attn.q_norm.weight"] = (config.head_dim,)
            shapes[f"{layer}.self_attn.k_norm.weight"] = (config.head_dim,)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (D,)
        linear(f"{layer}.mlp.gate_proj", F, D, config.mlp_bias)
        linear(f"{layer}.mlp.up_proj", F, D, config.mlp_bias)
        linear(f"{layer}.mlp.down_proj", D, F, config.mlp_bias)
    shapes["model.norm.weight"] = (D,)
    if not config.tie_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, D)
    return shapes
