"""What Llama's other formats can say of a model, read from and written as a Hugging Face config."""

from dataclasses import dataclass
from typing import Any

from tinyllm.checkpoints.diagnose import shown
from tinyllm.errors import ConfigError

LARGEST = 2**31 - 1
LLAMA3_SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class LlamaSizes:
    """The numbers that give every weight its shape, and the longest text in tokens."""

    d_model: int
    d_ff: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    vocab_size: int
    max_seq_len: int


def read_sizes(config: dict[str, Any], where: str) -> LlamaSizes:
    """Read the sizes from a Hugging Face config. Raises ConfigError where one is impossible."""
    d_model = whole(config, "hidden_size", where)
    n_heads = whole(config, "num_attention_heads", where)
    n_kv_heads = whole(config, "num_key_value_heads", where, n_heads)
    if n_heads % n_kv_heads:
        raise ConfigError(f"{where}: {n_heads} heads cannot share {n_kv_heads} key/value heads")
    return LlamaSizes(
        d_model=d_model,
        d_ff=whole(config, "intermediate_size", where),
        n_layers=whole(config, "num_hidden_layers", where),
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=whole(config, "head_dim", where, d_model // n_heads),
        vocab_size=whole(config, "vocab_size", where),
        max_seq_len=whole(config, "max_position_embeddings", where),
    )


def hf_config(sizes: LlamaSizes, **other: Any) -> dict[str, Any]:
    """Write the sizes as a Hugging Face config for Llama; `other` keys replace or follow."""
    derived = sizes.head_dim * sizes.n_heads == sizes.d_model
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": sizes.d_model,
        "intermediate_size": sizes.d_ff,
        "num_hidden_layers": sizes.n_layers,
        "num_attention_heads": sizes.n_heads,
        "num_key_value_heads": sizes.n_kv_heads,
        **({} if derived else {"head_dim": sizes.head_dim}),
        "vocab_size": sizes.vocab_size,
        "max_position_embeddings": sizes.max_seq_len,
        "hidden_act": "silu",
        **other,
    }


def whole(values: dict[str, Any], key: str, where: str, default: int | None = None) -> int:
    """The whole number from 1 on under `key`, or the default where it is absent or null."""
    value = values.get(key)
    value = default if value is None else value
    if type(value) is not int or not 1 <= value <= LARGEST:
        raise ConfigError(
            f"{where}: {key} is {shown(value)}; expected a whole number from 1 to {LARGEST}"
        )
    return value


def number(values: dict[str, Any], key: str, where: str, default: float | None = None) -> float:
    """The positive number under `key`, or the default where it is absent or null."""
    value: Any = values.get(key)
    value = default if value is None else value
    if type(value) not in (int, float) or not 0 < value < float("inf"):
        raise ConfigError(f"{where}: {key} is {shown(value)}; expected a positive number")
    return float(value)


def rope_of(config: dict[str, Any], where: str) -> tuple[float, dict[str, Any] | None]:
    """The base of RoPE and its scaling, in whichever spelling: None where it is not scaled."""
    spoken = [config.get(key) or {} for key in ("rope_parameters", "rope_scaling")]
    if not all(isinstance(branch, dict) for branch in spoken):
        raise ConfigError(f"{where}: rope_parameters and rope_scaling must be objects")
    given = [branch for branch in (config, *spoken) if branch.get("rope_theta") is not None]
    thetas = {number(branch, "rope_theta", where) for branch in given}
    scalings = [
        {"rope_type": branch.get("type", "default")}
        | {key: value for key, value in branch.items() if key not in ("type", "rope_theta")}
        for branch in spoken
        if branch
    ]
    if len(thetas) > 1 or (len(scalings) > 1 and scalings[0] != scalings[1]):
        raise ConfigError(f"{where}: rope_theta, rope_parameters and rope_scaling differ")
    theta = thetas.pop() if thetas else 10000.0  # of files older than the key
    scaled = bool(scalings) and scalings[0]["rope_type"] != "default"
    return theta, scalings[0] if scaled else None


def window_of(config: dict[str, Any], where: str) -> int | None:
    """The sliding window, in tokens: Mistral's is 4096 unless the config says null."""
    if config.get("model_type") != "mistral" or config.get("sliding_window", 4096) is None:
        return None
    return whole(config, "sliding_window", where, 4096)


def refuse_beyond_llama(config: dict[str, Any], where: str, layout: str) -> None:
    """Raise ConfigError for what is neither Llama nor Mistral."""
    known = {
        "model_type": ("llama", "mistral"),
        "hidden_act": ("silu", None),
        "partial_rotary_factor": (1.0, None),
        "quantization_config": (None,),
    }
    for key, values in known.items():
        if config.get(key) not in values:
            raise ConfigError(f"{where}: {layout} cannot hold {key} = {shown(config.get(key))}")
