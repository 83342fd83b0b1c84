"""The memory of a GPU: CuPy takes it in pieces, keeps them in a pool, and hands out parts."""

from collections.abc import Callable
from typing import Any

import cupy as cp


def free_memory() -> int:
    """Return the bytes that arrays may still take: of the GPU, and of the pool and its limit.

    A limit is set in the environment, CUPY_GPU_MEMORY_LIMIT, in bytes or as "80%".
    """
    pool = cp.get_default_memory_pool()
    free = cp.cuda.runtime.memGetInfo()[0] + pool.free_bytes()
    limit = pool.get_limit()  # 0 where there is none
    return max(0, min(free, limit - pool.used_bytes())) if limit else free


def peak_memory(call: Callable[[], Any], /) -> int:
    """Make a call; return by how much the pool grew for it, beyond what was in use before."""
    pool = cp.get_default_memory_pool()
    pool.free_all_blocks()
    before = pool.used_bytes()
    call()
    return pool.total_bytes() - before
