"""What an encoder–decoder looks like: two stacks that share a table, the second reads the first."""

from dataclasses import dataclass
from typing import ClassVar

from tinyllm.models.config import EMBED_TOKENS, HEAD, StackConfig, stack_shapes
from tinyllm.models.feed_forward import Shapes

LOGITS_BIAS = "model.final_logits_bias"


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceConfig(StackConfig):
    """The encoder: all tokens of the source see each other."""

    causal: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetConfig(StackConfig):
    """The decoder: its layout is one of `layouts.CROSS`."""

    causal: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Seq2SeqConfig:
    """A model that reads a source text and writes a target text.

    Vaswani et al. 2017 (arXiv:1706.03762), section 3.1. Both sides share the embedding table, which
    scores tokens, too, where `tie_embeddings` says so.
    """

    family: str
    encoder: SourceConfig
    decoder: TargetConfig
    pad_id: int | None  # the token of a source that nothing attends to
    start_id: int  # what a target begins with
    tie_embeddings: bool = True
    head_scale: float = 1.0  # what a vector is multiplied by before the head scores it
    logits_bias: bool = False  # whether something is added to each token's score
    bos_id: int | None = None
    eos_ids: tuple[int, ...] = ()

    @property
    def vocab_size(self) -> int:
        """How many tokens there are, the same for both texts."""
        return self.decoder.vocab_size

    @property
    def d_model(self) -> int:
        """The width of both stacks."""
        return self.decoder.d_model

    @property
    def max_seq_len(self) -> int:
        """How many tokens a source, or a target, may have."""
        return self.decoder.max_seq_len


def seq2seq_shapes(config: Seq2SeqConfig) -> Shapes:
    """Return the shape of every parameter by its name."""
    table = (config.vocab_size, config.d_model)
    shapes: Shapes = {EMBED_TOKENS: table}
    for side in ("encoder", "decoder"):
        for name, shape in stack_shapes(getattr(config, side)).items():
            if name != EMBED_TOKENS:
                shapes[f"model.{side}.{name.removeprefix('model.')}"] = shape
    if config.logits_bias:
        shapes[LOGITS_BIAS] = (1, config.vocab_size)
    return shapes if config.tie_embeddings else shapes | {HEAD: table}
