"""The sizes of a decoder, read from a config under whichever names it gives them."""

from dataclasses import dataclass

from tinyllm.errors import ConfigError
from tinyllm.key_reader import KeyReader

MOST_LAYERS = 5000  # more would be a damaged file: a plan of shapes is made before any data is read
LARGEST = 2**24  # of any axis of a weight
EPS_RANGE = 1e-30, 1.0  # of the ε in a norm

HF_NAMES = {
    "d_model": "hidden_size",
    "d_ff": "intermediate_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "vocab_size": "vocab_size",
    "max_seq_len": "max_position_embeddings",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """The numbers that give every weight its shape, and the longest text in tokens."""

    d_model: int
    d_ff: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    vocab_size: int
    max_seq_len: int


def read_sizes(
    keys: KeyReader, names: dict[str, str] = HF_NAMES, head_dim: int | None = None
) -> Sizes:
    """Read the sizes; `names` has the config's name for each.

    A config may leave out how many key/value heads there are (as many as heads), and `head_dim`
    (the one given here, or an equal share of d_model). Raises ConfigError for what cannot be.
    """
    d_model = keys.integer(names["d_model"], 1, LARGEST)
    n_heads = keys.integer(names["n_heads"], 1, LARGEST)
    n_kv_heads = keys.integer(names["n_kv_heads"], 1, LARGEST, default=n_heads)
    if n_heads % n_kv_heads:
        raise keys.error(names["n_kv_heads"], f"expected a divisor of {n_heads} heads")
    head_dim = keys.integer(names["head_dim"], 1, LARGEST, default=head_dim)
    if head_dim is None:
        if d_model % n_heads:
            raise keys.error(
                names["d_model"],
                f"expected a multiple of {n_heads} heads, or a {names['head_dim']}",
            )
        head_dim = d_model // n_heads
    return Sizes(
        d_model=d_model,
        d_ff=keys.integer(names["d_ff"], 1, LARGEST),
        n_layers=keys.integer(names["n_layers"], 1, MOST_LAYERS),
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        vocab_size=keys.integer(names["vocab_size"], 1, LARGEST),
        max_seq_len=keys.integer(names["max_seq_len"], 1, 2**31),
    )


def read_rotary_sizes(keys: KeyReader, names: dict[str, str] = HF_NAMES) -> Sizes:
    """Read the sizes of a model with RoPE, whose heads have an even number of features."""
    sizes = read_sizes(keys, names)
    check_pairs(sizes.head_dim, keys.where)
    return sizes


def check_pairs(features: int, where: str) -> None:
    """Raise ConfigError where RoPE, which turns pairs of features, would leave one over."""
    if features % 2:
        raise ConfigError(f"{where}: head_dim is {features}; RoPE turns pairs of features")
