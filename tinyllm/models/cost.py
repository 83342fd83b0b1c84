"""What a model costs, in numbers that its config alone gives: parameters, memory, arithmetic."""

from math import prod

from tinyllm.errors import UsageError
from tinyllm.memory import available_memory
from tinyllm.models.config import DecoderConfig, param_shapes
from tinyllm.shown import quantity

ITEM_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


def count_parameters(config: DecoderConfig) -> int:
    """Return the number of parameters; a tied head counts once."""
    return sum(map(prod, param_shapes(config).values()))


def cache_bytes(config: DecoderConfig, tokens: int, dtype: str) -> int:
    """Return the bytes of a KV cache of so many tokens: 2 L K d each.

    A cache that rolls keeps no more than the widest window.
    """
    columns = min(tokens, max(window or tokens for window in config.windows))
    per_token = 2 * config.n_layers * config.n_kv_heads * config.head_dim
    return columns * per_token * ITEM_BYTES[dtype]


def memory_needed(
    config: DecoderConfig, tokens: int, dtype: str, storage: str | None = None
) -> int:
    """Return the bytes of the weights in `storage`, and of a KV cache of so many tokens in `dtype`.

    What the backend copies of narrow matrices to read them faster comes on top.
    """
    weights = count_parameters(config) * ITEM_BYTES[storage or dtype]
    return weights + cache_bytes(config, tokens, dtype)


def flops_per_token(config: DecoderConfig) -> tuple[int, int]:
    """Return the floating-point operations of a forward pass for one token, in two parts.

    2 for each weight of a matrix that the token passes, and 4 H d in each layer for each token that
    it attends to: a product with its key, and one with its value (Kaplan et al. 2020,
    arXiv:2001.08361, table 1). The embedding is looked up, not multiplied; norms, rotations and
    activations are left out.
    """
    shapes = param_shapes(config)
    table = shapes["model.embed_tokens.weight"]
    matrices = sum(prod(shape) for shape in shapes.values() if len(shape) == 2)
    if not config.tie_embeddings:
        matrices -= prod(table)
    return 2 * matrices, 4 * config.n_layers * config.n_heads * config.head_dim


def check_memory(
    config: DecoderConfig, tokens: int, dtype: str, where: str, storage: str | None = None
) -> None:
    """Raise UsageError where weights and KV cache take more memory than there is.

    Where the system does not tell what there is, everything passes.
    """
    needed, available = memory_needed(config, tokens, dtype, storage), available_memory()
    if available is not None and needed > available:
        raise UsageError(
            f"{where}: needs about {quantity(needed, 'B')} in {storage or dtype}, and "
            f"{quantity(available, 'B')} of memory are available; --force tries all the same"
        )
