"""The sizes of a decoder, read from a config under whichever names it gives them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tinyllm.errors import ConfigError
from tinyllm.key_reader import REQUIRED, KeyReader

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
    keys: KeyReader,
    names: Mapping[str, str] = HF_NAMES,
    *,
    head_dim: int | None = None,
    n_kv_heads: int | None = None,
    d_ff_ratio: int | None = None,
    max_seq_len: Any = REQUIRED,
) -> Sizes:
    """Read the sizes; `names` has the config's name for each that it can say.

    What a config leaves out is what is given here: for key/value heads as many as heads, for
    `head_dim` an equal share of d_model, unless told; for d_ff so many times d_model, or an error.
    Raises ConfigError for what cannot be.
    """

    def size(field: str, default: Any = REQUIRED) -> Any:
        if field not in names:
            return default
        return keys.integer(names[field], 1, LARGEST, default)

    d_model, n_heads = size("d_model"), size("n_heads")
    n_kv_heads = size("n_kv_heads", n_kv_heads) or n_heads
    if n_heads % n_kv_heads:
        raise keys.error(names["n_kv_heads"], f"expected a divisor of {n_heads} heads")
    head_dim = size("head_dim", head_dim)
    if head_dim is None:
        if d_model % n_heads:
            wanted = f", or a {names['head_dim']}" if "head_dim" in names else ""
            raise keys.error(names["d_model"], f"expected a multiple of {n_heads} heads{wanted}")
        head_dim = d_model // n_heads
    longest = max_seq_len
    if "max_seq_len" in names:
        longest = keys.integer(names["max_seq_len"], 1, 2**31, max_seq_len)
    return Sizes(
        d_model=d_model,
        d_ff=size("d_ff", REQUIRED if d_ff_ratio is None else d_ff_ratio * d_model),
        n_layers=keys.integer(names["n_layers"], 1, MOST_LAYERS),
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        vocab_size=size("vocab_size"),
        max_seq_len=longest,
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
