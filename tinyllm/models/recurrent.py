"""The recurrent language model: a state takes in one token after another and scores the next.

The layers stand on one another: what one puts out at a step is what the next takes in. The state of
the model is a list, one (B, S) a layer (see `tinyllm.ops.recurrent`). It is all that the model
knows of the tokens before, so a text may come in pieces: the state after one begins the next. In
training no gradient goes back through it, which truncates backpropagation through time there.
"""

from typing import Any

from tinyllm.backend import Array, Backend, Params, Saved
from tinyllm.models.decoder import head_forward
from tinyllm.models.recurrent_config import RecurrentConfig
from tinyllm.ops.dropout import Dropout, dropout_backward, dropout_forward
from tinyllm.ops.embedding import embedding_backward, embedding_forward
from tinyllm.ops.linear import linear_backward
from tinyllm.ops.recurrent import recurrent_backward, recurrent_forward

State = list[Array]


def recurrent_lm_forward(
    xp: Backend,
    tokens: Array,
    p: dict[str, Any],
    config: RecurrentConfig,
    dropout: Dropout | None = None,
    state: State | None = None,
) -> tuple[Array, Saved]:
    """Score every next token: logits = h W_headᵀ, h the outputs of the last layer.

    tokens (B, T) -> logits (B, T, V)

    `p` is the parameter tree. Without a `state` the text begins here; `final_state` has the one to
    go on with. For training, `dropout` falls on what each layer and the head take in, and not on
    what a layer tells itself (Zaremba, Sutskever & Vinyals 2014, arXiv:1409.2329, section 3.1).
    """
    s: dict[str, Saved] = {"config": config, "layers": []}
    x, s["embed_tokens"] = _embed(xp, tokens, p)
    if state is None:
        state = first_state(xp, p, config, batch=tokens.shape[0])
    for i in range(config.n_layers):
        x, s_dropout = dropout_forward(xp, x, dropout=dropout)
        states, s_layer = _layer(xp, x, state[i], p, config, i)
        s["layers"].append((s_dropout, s_layer, states))
        x = states[..., : config.d_model]
    x, s["dropout"] = dropout_forward(xp, x, dropout=dropout)
    logits, s["head"] = head_forward(xp, x, p)
    return logits, s


def recurrent_lm_backward(xp: Backend, dy: Array, saved: Saved) -> tuple[None, Params]:
    """Return the gradient of every parameter, by its name; a tied table's two are added."""
    config: RecurrentConfig = saved["config"]
    dx, dhead, _ = linear_backward(xp, dy, saved["head"])
    dx = dropout_backward(xp, dx, saved["dropout"])
    grads: Params = {}
    for i in reversed(range(config.n_layers)):
        s_dropout, s_layer, _ = saved["layers"][i]
        dx, _, *dweights = recurrent_backward(xp, _as_state(xp, dx, config), s_layer)
        grads = dict(zip(_names(i, "model.rnn."), dweights, strict=True)) | grads
        dx = dropout_backward(xp, dx, s_dropout)
    _, dembedding = embedding_backward(xp, dx, saved["embed_tokens"])
    if config.tie_embeddings:
        return None, {"model.embed_tokens.weight": dembedding + dhead} | grads
    return None, {"model.embed_tokens.weight": dembedding} | grads | {"lm_head.weight": dhead}


def hidden_and_state(
    xp: Backend, tokens: Array, p: dict[str, Any], config: RecurrentConfig, state: State
) -> tuple[Array, State]:
    """Run all but the head, and keep nothing but the state.

    tokens (B, T) -> hidden (B, T, D)
    """
    x, _ = _embed(xp, tokens, p)
    after = []
    for i in range(config.n_layers):
        states, _ = _layer(xp, x, state[i], p, config, i)
        x = states[..., : config.d_model]
        after.append(_last(states, state[i]))
    return x, after


def recurrent_hidden_states(
    xp: Backend, tokens: Array, p: dict[str, Any], config: RecurrentConfig
) -> Array:
    """Do the same from the beginning of a text, and return the hidden states alone.

    tokens (B, T) -> hidden (B, T, D)
    """
    state = first_state(xp, p, config, batch=tokens.shape[0])
    return hidden_and_state(xp, tokens, p, config, state)[0]


def first_state(xp: Backend, p: dict[str, Any], config: RecurrentConfig, *, batch: int) -> State:
    """Return the state before the first token: zeros."""
    shape, dtype = (batch, config.cell.parts * config.d_model), _dtype(p)
    return [xp.zeros(shape, dtype=dtype) for _ in range(config.n_layers)]


def final_state(saved: Saved) -> State:
    """Return the state after the last token of a forward pass."""
    return [states[:, -1, :] for _, _, states in saved["layers"]]


def _layer(
    xp: Backend, x: Array, state: Array, p: dict[str, Any], config: RecurrentConfig, i: int
) -> tuple[Array, Saved]:
    weights = (p["model"]["rnn"][name] for name in _names(i))
    return recurrent_forward(xp, x, state, *weights, cell=config.cell)


def _names(i: int, prefix: str = "") -> list[str]:
    """The parameters of layer i, in the order in which the operation takes them."""
    return [f"{prefix}{kind}_l{i}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]


def _embed(xp: Backend, tokens: Array, p: dict[str, Any]) -> tuple[Array, Saved]:
    """Look the tokens up, in the dtype of the biases: a stored table may be narrower."""
    x, saved = embedding_forward(xp, tokens, **p["model"]["embed_tokens"])
    return (x if x.dtype == _dtype(p) else xp.astype(x, _dtype(p))), saved


def _dtype(p: dict[str, Any]) -> Any:
    return p["model"]["rnn"]["bias_ih_l0"].dtype


def _last(states: Array, before: Array) -> Array:
    """The state after the last step, which may have been none."""
    return states[:, -1, :] if states.shape[1] else before


def _as_state(xp: Backend, dh: Array, config: RecurrentConfig) -> Array:
    """Make a gradient of outputs one of states: nothing else of them is seen from above."""
    parts = config.cell.parts
    return xp.concat([dh, *[xp.zeros_like(dh)] * (parts - 1)], axis=2) if parts > 1 else dh
