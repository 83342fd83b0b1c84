"""What an encoder looks like: a stack in which all tokens see each other, and two heads."""

from dataclasses import dataclass
from typing import ClassVar

from tinyllm.models.config import (
    StackConfig,
    head_shapes,
    norm_shapes,
    stack_shapes,
)
from tinyllm.models.feed_forward import Shapes, linear_shapes

EMBED_TYPES = "model.embed_types.weight"


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderConfig(StackConfig):
    """A stack that reads a text at once, and scores what may stand in the place of each token.

    Devlin et al. 2019, "BERT" (arXiv:1810.04805), sections 3 and 3.1.
    """

    causal: ClassVar[bool] = False

    token_types: int = 2  # rows of the table that tells two texts apart
    pad_id: int | None = None  # the token that nothing attends to
    masked_head: bool = True  # whether it scores tokens
    masked_act: str = "gelu"  # the activation in that head
    pooler: bool = False  # whether it has a matrix that makes one vector of a text


def encoder_shapes(config: EncoderConfig) -> Shapes:
    """Return the shape of every parameter by its name."""
    D, V = config.d_model, config.vocab_size
    shapes = stack_shapes(config) | {EMBED_TYPES: (config.token_types, D)}
    if config.pooler:
        shapes |= linear_shapes("model.pooler", D, D, bias=True)
    if config.masked_head:
        shapes |= linear_shapes("masked_head.dense", D, D, bias=True)
        shapes |= norm_shapes("masked_head.norm", config)
        shapes |= {"masked_head.bias": (V,)} | head_shapes(config)
    return shapes
