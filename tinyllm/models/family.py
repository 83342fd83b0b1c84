"""A family of models: a class on disk, the words of its config, the names in its files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tinyllm.checkpoints.sizes import HF_NAMES, Sizes, read_sizes
from tinyllm.key_reader import KeyReader
from tinyllm.models.config import DecoderConfig, StackConfig
from tinyllm.models.stored import Names

SILU = {"silu": "swiglu"}
# Words for activations, and the feed-forward layer that has them; the first of equals is written.
PLAIN = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu": "relu"}
Fields = dict[str, Any]  # of the config

# Keys that do not change what a trained model computes.
HARMLESS = frozenset(
    {
        "attention_dropout",
        "dtype",
        "id2label",
        "initializer_range",
        "is_llama_config",
        "label2id",
        "max_window_layers",
        "name_or_path",
        "output_attentions",
        "pad_token_id",
        "pretraining_tp",
        "return_dict",
        "torch_dtype",
        "transformers.js_config",
        "transformers_version",
        "unsloth_version",
        "use_cache",
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """One row: `read` returns fields of the config, `write` the keys that say the same.

    Both are about what the other fields of the row do not cover. `read` also takes the sizes.
    """

    kind: type[StackConfig] = DecoderConfig
    architecture: str
    also: tuple[str, ...] = ()  # what else files call the class
    code: tuple[str, ...] = ()  # modules of its own that a file may name, and that this row is of
    sizes: Mapping[str, str] = field(default_factory=lambda: HF_NAMES)  # what sizes are written as
    read_sizes: Callable[[KeyReader], Sizes] = read_sizes
    eps: str | None = "rms_norm_eps"  # the key; None: there is none
    default_eps: float | None = None  # None: the key must be there
    act: str | None = "hidden_act"
    acts: Mapping[str, str] = field(default_factory=lambda: SILU)  # the first is the default
    tied: bool = False  # whether the head is the embedding table where the file does not say
    harmless: frozenset[str] = frozenset()  # keys that do not change what a trained model computes
    fields: Mapping[str, Any] = field(default_factory=dict)  # the same for the whole family
    read: Callable[[KeyReader, Sizes], Fields]
    write: Callable[[Any], dict[str, Any]]
    names: Callable[[Any], Names] = lambda config: Names()


def spelled(keys: KeyReader, names: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Return which spelling of each size a file has; the first where it has none.

    Raises ConfigError where it has two that differ.
    """
    chosen = {}
    for size, spellings in names.items():
        there = [key for key in spellings if keys.get(key) is not None]
        if any(keys.get(key) != keys.get(there[0]) for key in there):
            raise keys.error(there[0], f"and {there[1]} says {keys.get(there[1])!r}")
        chosen[size] = there[0] if there else spellings[0]
    return chosen


def require(keys: KeyReader, **values: Any) -> None:
    """Raise ConfigError for a key that has another value than this, the only one we compute."""
    for key, value in values.items():
        if keys.get(key) not in (value, None):
            raise keys.error(key, f"tinyllm computes with {value!r} only")
