"""What a model costs, in numbers that its config alone gives: parameters, memory, arithmetic."""

from math import prod

from tinyllm.errors import UsageError
from tinyllm.models.architecture import Config, architecture
from tinyllm.models.storage import ITEM_BYTES, kept_bytes
from tinyllm.shown import quantity


def count_parameters(config: Config) -> int:
    """Return the number of parameters; a tied head counts once."""
    return sum(map(prod, architecture(config).param_shapes(config).values()))


def cache_bytes(config: Config, tokens: int, dtype: str) -> int:
    """Return the bytes of what is kept of a text of so many tokens: a KV cache, or a state."""
    return architecture(config).kept_numbers(config, tokens) * ITEM_BYTES[dtype]


def memory_needed(config: Config, tokens: int, dtype: str, storage: str | None = None) -> int:
    """Return the bytes of the weights in `storage`, and of a KV cache of so many tokens in `dtype`.

    What the backend copies of narrow matrices to read them faster comes on top.
    """
    weights = sum(
        kept_bytes(name, shape, dtype=dtype, storage=storage)
        for name, shape in architecture(config).param_shapes(config).items()
    )
    return weights + cache_bytes(config, tokens, dtype)


def check_memory(
    config: Config, tokens: int, dtype: str, where: str, storage: str | None, free: int | None
) -> None:
    """Raise UsageError where weights and KV cache take more than the `free` bytes of a backend.

    Where the system does not tell what there is, everything passes.
    """
    needed = memory_needed(config, tokens, dtype, storage)
    if free is None or needed <= free:
        return
    narrow = quantity(memory_needed(config, tokens, dtype, "bfloat16"), "B")
    less = f", --storage bfloat16 takes {narrow}" if storage is None and dtype == "float32" else ""
    raise UsageError(
        f"{where}: needs about {quantity(needed, 'B')} in {storage or dtype}, and "
        f"{quantity(free, 'B')} of memory are available; --force tries all the same{less}"
    )
