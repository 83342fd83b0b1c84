"""What a recurrent language model looks like, in numbers, and what its config.json says."""

from dataclasses import dataclass
from typing import Any

from tinyllm.checkpoints.sizes import LARGEST, MOST_LAYERS
from tinyllm.errors import ConfigError
from tinyllm.key_reader import KeyReader
from tinyllm.models.config_json import HARMLESS, read_eos
from tinyllm.ops.recurrent import GRU, LINEAR_CANDIDATE_LSTM, LSTM, RELU, TANH, Cell

CELLS = {
    "rnn": TANH,
    "rnn_relu": RELU,
    "lstm": LSTM,
    "lstm_linear_candidate": LINEAR_CANDIDATE_LSTM,
    "gru": GRU,
}
ARCHITECTURE = "TinyllmRecurrentForCausalLM"  # no other program's: PyTorch has cells, not models
_KEYS = {
    "vocab_size": "vocab_size",
    "d_embed": "embedding_size",
    "d_model": "hidden_size",
    "n_layers": "num_hidden_layers",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RecurrentConfig:
    """The architecture of stacked recurrent layers between an embedding and a head.

    Raises ConfigError for a tied head where the last layer has another width than the embedding.
    """

    family: str  # of CELLS
    vocab_size: int
    d_embed: int
    d_model: int  # what each layer puts out
    n_layers: int
    tie_embeddings: bool = False
    bos_id: int | None = None
    eos_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check what a config's readers cannot: it may come from anywhere."""
        if self.tie_embeddings and self.d_embed != self.d_model:
            raise ConfigError(
                f"the head cannot be the embedding table: layers put out {self.d_model} features, "
                f"and embeddings have {self.d_embed}"
            )

    @property
    def cell(self) -> Cell:
        """What each layer does at each step."""
        return CELLS[self.family]

    @property
    def max_seq_len(self) -> int:
        """The longest text in tokens: any, for the state is of one size."""
        return 2**31


def recurrent_shapes(config: RecurrentConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter by its name.

    The names are those of a PyTorch module that has an `nn.Embedding` and an `nn.LSTM` (or RNN, or
    GRU) in `model`, called embed_tokens and rnn, and an `nn.Linear` without bias, called lm_head.
    """
    D, G = config.d_model, config.cell.gates * config.d_model
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config.vocab_size, config.d_embed)
    }
    for i in range(config.n_layers):
        shapes[f"model.rnn.weight_ih_l{i}"] = (G, D if i else config.d_embed)
        shapes[f"model.rnn.weight_hh_l{i}"] = (G, D)
        shapes[f"model.rnn.bias_ih_l{i}"] = (G,)
        shapes[f"model.rnn.bias_hh_l{i}"] = (G,)
    if not config.tie_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, D)
    return shapes


def read_recurrent_config(keys: KeyReader) -> RecurrentConfig:
    """Understand a config, or raise ConfigError: a key that is not understood is never ignored."""
    family = keys.string("model_type", tuple(CELLS))
    if keys.get("architectures") not in (None, [], [ARCHITECTURE]):
        raise keys.error("architectures", f"expected {[ARCHITECTURE]} for a {family}")
    largest = {field: MOST_LAYERS if field == "n_layers" else LARGEST for field in _KEYS}
    sizes = {field: keys.integer(key, 1, largest[field]) for field, key in _KEYS.items()}
    fields: dict[str, Any] = {
        **sizes,
        "tie_embeddings": keys.boolean("tie_word_embeddings", False),
        "bos_id": keys.integer("bos_token_id", 0, sizes["vocab_size"] - 1, default=None),
        "eos_ids": read_eos(keys, sizes["vocab_size"]),
    }
    keys.refuse_unread(HARMLESS)
    try:
        return RecurrentConfig(family=family, **fields)
    except ConfigError as error:
        raise ConfigError(f"{keys.where}: {error}") from None


def write_recurrent_config(config: RecurrentConfig, dtype: str) -> dict[str, Any]:
    """Return what config.json says of `config`; `dtype` is that of the weights on disk."""
    return {
        "architectures": [ARCHITECTURE],
        "model_type": config.family,
        **{key: getattr(config, field) for field, key in _KEYS.items()},
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": config.bos_id,
        "eos_token_id": list(config.eos_ids) or None,
        "torch_dtype": dtype,
    }
