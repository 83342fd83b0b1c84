"""What each kind of model can do, by the type of its config: the functions a model is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinyllm.backend import Array, Params, Saved
from tinyllm.models.config import DecoderConfig, param_shapes
from tinyllm.models.decoder import decoder_backward, decoder_forward

Config = DecoderConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """One kind of model.

    `forward(xp, tokens, p, config)` gives (logits, saved) for tokens (B, T) and the parameter tree
    p; `backward(xp, dlogits, saved)` gives (None, gradients by flat name).
    """

    param_shapes: Callable[[Any], dict[str, tuple[int, ...]]]
    forward: Callable[..., tuple[Array, Saved]]
    backward: Callable[..., tuple[None, Params]]


_ARCHITECTURES: dict[type, Architecture] = {
    DecoderConfig: Architecture(
        param_shapes=param_shapes, forward=decoder_forward, backward=decoder_backward
    ),
}


def architecture(config: Config) -> Architecture:
    """Return the functions of the model that this config describes."""
    return _ARCHITECTURES[type(config)]
