"""What a kind of model consists of, by the type of its config: the functions it is made of.

All that loads, trains, describes or runs a model asks here, and nothing else names a kind. To add
one, write its config and these functions, and add a row to `ARCHITECTURES`; one that continues
texts also has a row in `tinyllm.inference.reader`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tinyllm.backend import Array, Backend, Params, Saved
from tinyllm.errors import UsageError
from tinyllm.key_reader import KeyReader
from tinyllm.models.balance import Balance, Routed, balanced, unbalanced
from tinyllm.models.config import DecoderConfig, StackConfig, param_shapes
from tinyllm.models.config_json import (
    refuse_what_is_not_weights,
    understand_config,
    write_config_json,
)
from tinyllm.models.decoder import (
    decoder_backward,
    decoder_forward,
    head_forward,
    logits_forward,
)
from tinyllm.models.decoder_facts import decoder_flops, describe_decoder, kv_numbers, scores_stay
from tinyllm.models.encoder import encoded, encoder_backward, encoder_forward, masked_head_forward
from tinyllm.models.encoder_config import EncoderConfig, encoder_shapes
from tinyllm.models.encoder_facts import describe_encoder, encoder_flops
from tinyllm.models.experts import idle_parameters
from tinyllm.models.families import names_in_files, names_of
from tinyllm.models.init import init_encoder, init_params
from tinyllm.models.packing import pack_params
from tinyllm.models.recurrent import (
    recurrent_hidden_states,
    recurrent_lm_backward,
    recurrent_lm_forward,
)
from tinyllm.models.recurrent_config import (
    CELLS,
    RecurrentConfig,
    read_recurrent_config,
    recurrent_shapes,
    write_recurrent_config,
)
from tinyllm.models.recurrent_facts import (
    describe_recurrent,
    pack_recurrent,
    recurrent_flops,
    recurrent_traced,
    state_numbers,
)
from tinyllm.models.recurrent_init import init_recurrent_params
from tinyllm.models.seq2seq import (
    pair_inputs,
    scores_forward,
    seq2seq_backward,
    seq2seq_forward,
    seq2seq_states,
)
from tinyllm.models.seq2seq_config import Seq2SeqConfig, seq2seq_shapes
from tinyllm.models.seq2seq_facts import (
    describe_seq2seq,
    init_seq2seq,
    seq2seq_flops,
    seq2seq_kv_numbers,
    seq2seq_traced,
)
from tinyllm.models.seq2seq_families import (
    SEQ2SEQ_FAMILIES,
    names_of_seq2seq,
    read_seq2seq_config,
    write_seq2seq_config,
)
from tinyllm.models.stack import hidden_states
from tinyllm.models.stored import Names
from tinyllm.models.trace import traced

Config = StackConfig | Seq2SeqConfig | RecurrentConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """One kind of model. Tokens are (B, T), `p` is the parameter tree."""

    use: str  # the command that it is for: generate, fill-mask, translate

    # Its config, and what config.json says of it.
    model_types: tuple[str, ...]
    read_config: Callable[[KeyReader], Any]
    write_config: Callable[[Any, str], dict[str, Any]]  # and the dtype of the weights on disk
    describe: Callable[[Any], dict[str, Any]]  # the fields, as JSON can hold them

    # Its parameters, by flat name.
    param_shapes: Callable[[Any], dict[str, tuple[int, ...]]]
    names: Callable[[Any], Names]  # how its files name and lay them out
    init_params: Callable[..., dict[str, Any]]  # (config, rng, dtype) -> NumPy arrays
    pack: Callable[[Backend, dict[str, Any]], dict[str, Any]]  # p, as inference reads it fastest

    # What it computes. `inputs` brings a batch to the backend; `forward` takes `dropout`, too;
    # `backward` gives gradients by flat name.
    inputs: Callable[[Backend, Any], Any]
    forward: Callable[..., tuple[Array, Saved]]  # (xp, tokens, p, config) -> logits (B, T, V)
    backward: Callable[[Backend, Array, Saved], tuple[None, Params]]
    balanced: Callable[[Backend, Saved, Balance, Array], tuple[Routed | None, Saved]]  # in between
    hidden_states: Callable[..., Array]  # (xp, tokens, p, config) -> (B, T, D), keeping nothing
    head: Callable[..., tuple[Array, Saved]]  # (xp, (..., D), p, config) -> logits (..., V)
    traced: Callable[[Backend, Saved, Sequence[str]], dict[str, Array]]
    scores_stay: Callable[[Any], bool]  # whether a score stays what it is when more tokens follow

    # What it costs.
    idle_parameters: Callable[[Any], int]  # how many of its parameters a token does not pass
    kept_numbers: Callable[[Any, int], int]  # what inference keeps of a text of so many tokens
    flops: Callable[[Any], tuple[int, int]]  # for a token itself, and for each token before it


def text_inputs(xp: Backend, tokens: Any) -> Array:
    """Bring a batch of texts to the backend: tokens (B, T)."""
    return xp.asarray(tokens)


ARCHITECTURES: dict[type, Architecture] = {
    DecoderConfig: Architecture(
        use="generate",
        model_types=names_of(DecoderConfig),
        read_config=understand_config,
        write_config=write_config_json,
        describe=describe_decoder,
        param_shapes=param_shapes,
        names=names_in_files,
        init_params=init_params,
        pack=pack_params,
        inputs=text_inputs,
        forward=decoder_forward,
        backward=decoder_backward,
        balanced=balanced,
        hidden_states=hidden_states,
        head=logits_forward,
        traced=traced,
        scores_stay=scores_stay,
        idle_parameters=idle_parameters,
        kept_numbers=kv_numbers,
        flops=decoder_flops,
    ),
    EncoderConfig: Architecture(
        use="fill-mask",
        model_types=names_of(EncoderConfig),
        read_config=understand_config,
        write_config=write_config_json,
        describe=describe_encoder,
        param_shapes=encoder_shapes,
        names=names_in_files,
        init_params=init_encoder,
        pack=lambda xp, p: p,
        inputs=text_inputs,
        forward=encoder_forward,
        backward=encoder_backward,
        balanced=unbalanced,
        hidden_states=encoded,
        head=masked_head_forward,
        traced=traced,
        scores_stay=lambda config: False,
        idle_parameters=lambda config: 0,
        kept_numbers=lambda config, tokens: 0,
        flops=encoder_flops,
    ),
    Seq2SeqConfig: Architecture(
        use="translate",
        model_types=tuple(SEQ2SEQ_FAMILIES),
        read_config=read_seq2seq_config,
        write_config=write_seq2seq_config,
        describe=describe_seq2seq,
        param_shapes=seq2seq_shapes,
        names=names_of_seq2seq,
        init_params=init_seq2seq,
        pack=lambda xp, p: p,
        inputs=pair_inputs,
        forward=seq2seq_forward,
        backward=seq2seq_backward,
        balanced=unbalanced,
        hidden_states=seq2seq_states,
        head=scores_forward,
        traced=seq2seq_traced,
        scores_stay=lambda config: False,
        idle_parameters=lambda config: 0,
        kept_numbers=seq2seq_kv_numbers,
        flops=seq2seq_flops,
    ),
    RecurrentConfig: Architecture(
        use="generate",
        model_types=tuple(CELLS),
        read_config=read_recurrent_config,
        write_config=write_recurrent_config,
        describe=describe_recurrent,
        param_shapes=recurrent_shapes,
        names=lambda config: Names(),
        init_params=init_recurrent_params,
        pack=pack_recurrent,
        inputs=text_inputs,
        forward=recurrent_lm_forward,
        backward=recurrent_lm_backward,
        balanced=unbalanced,
        hidden_states=recurrent_hidden_states,
        head=lambda xp, hidden, p, config: head_forward(xp, hidden, p),
        traced=recurrent_traced,
        scores_stay=lambda config: True,
        idle_parameters=lambda config: 0,
        kept_numbers=state_numbers,
        flops=recurrent_flops,
    ),
}


def architecture(config: Config) -> Architecture:
    """Return the functions of the model that this config describes."""
    return ARCHITECTURES[type(config)]


def kind_name(config: Config) -> str:
    """Return what to call a model of this kind, as in "a llama"."""
    return "recurrent" if isinstance(config, RecurrentConfig) else config.family


def require_use(config: Config, use: str) -> None:
    """Raise UsageError for a model that this is not for, with what it is for."""
    own = architecture(config).use
    if own != use:
        raise UsageError(
            f"a {kind_name(config)} model is not for {use}: python -m tinyllm {own} is what it is "
            f"for"
        )


def understand(keys: KeyReader) -> Config:
    """Understand a config.json of any kind, or raise ConfigError: no unknown key is ever ignored.

    The reader knows afterwards what keys nobody had a use for.
    """
    refuse_what_is_not_weights(keys)
    kinds = {name: kind for kind in ARCHITECTURES.values() for name in kind.model_types}
    return kinds[keys.string("model_type", tuple(kinds))].read_config(keys)
