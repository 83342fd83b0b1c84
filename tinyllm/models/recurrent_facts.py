"""What a recurrent config says of its model, how it is packed, and its activations by name.

embed_tokens            the embedded tokens                                       (B, T, E)
layers.1.gates          what the gates let through, in their order (see the ops)  (B, T, G)
layers.1.state          the states: the output, and an LSTM's cell behind it      (B, T, S)
layers.1                the outputs, which the next layer or the head takes in    (B, T, D)
"""

from collections.abc import Sequence
from dataclasses import asdict
from math import prod
from typing import Any

from tinyllm.backend import Array, Backend, Saved
from tinyllm.models.recurrent_config import RecurrentConfig, recurrent_shapes
from tinyllm.models.trace import check_names


def describe_recurrent(config: RecurrentConfig) -> dict[str, Any]:
    """Return the config as a dict that JSON can hold."""
    return asdict(config)


def state_numbers(config: RecurrentConfig, tokens: int) -> int:
    """Return how many numbers the state of a text holds: L S, however long it is."""
    return config.n_layers * config.cell.parts * config.d_model


def recurrent_flops(config: RecurrentConfig) -> tuple[int, int]:
    """Return the floating-point operations of a forward pass for one token: 2 for each weight.

    Nothing is added for the tokens before it. The embedding is looked up, not multiplied.
    """
    shapes = recurrent_shapes(config)
    matrices = sum(prod(shape) for shape in shapes.values() if len(shape) == 2)
    if not config.tie_embeddings:
        matrices -= prod(shapes["model.embed_tokens.weight"])
    return 2 * matrices, 0


def pack_recurrent(xp: Backend, p: dict[str, Any]) -> dict[str, Any]:
    """Return the parameter tree with its matrices packed, for inference only."""
    head = p.get("lm_head", p["model"]["embed_tokens"])["weight"]
    rnn = {
        name: xp.pack([x]) if name.startswith("weight") else x
        for name, x in p["model"]["rnn"].items()
    }
    return {"model": p["model"] | {"rnn": rnn}, "lm_head": {"weight": xp.pack([head])}}


def recurrent_trace_names(n_layers: int) -> list[str]:
    """Return every name there is, in the order of the computation."""
    layers = [[f"layers.{i}.gates", f"layers.{i}.state", f"layers.{i}"] for i in range(n_layers)]
    return ["embed_tokens", *(name for layer in layers for name in layer)]


def recurrent_traced(xp: Backend, saved: Saved, names: Sequence[str]) -> dict[str, Array]:
    """Return the activations of these names. Raises UsageError for one that does not exist."""
    config = saved["config"]
    check_names(names, recurrent_trace_names(config.n_layers), __name__)
    return {name: _read(xp, saved, name) for name in names}


def _read(xp: Backend, saved: Saved, name: str) -> Array:
    config: RecurrentConfig = saved["config"]
    _, _, rest = name.partition("layers.")
    index, _, end = rest.partition(".")
    _, (x, *_, s_cells), states = saved["layers"][int(index or 0)]
    match end:
        case "state":
            return states
        case "gates":  # which every cell saves first
            count = config.cell.gates
            return xp.stack([xp.concat(s[:count], axis=1) for s in s_cells], axis=1)
    return states[..., : config.d_model] if index else x
