"""The kernels that decode one token: how each is compiled for a model, and its grid."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

from tinyllm_cuda.launch import Device, Kernel

FORMATS = {"float32": 0, "bfloat16": 1, "float16": 2, "int8": 3, "int4": 4}  # of weights.h
KV_FORMATS = ("float32", "bfloat16", "float16")
_CHUNK = {"float32": 4, "bfloat16": 8, "float16": 8, "int8": 16, "int4": 32}  # numbers in 16 bytes
_ITEM = {"float32": 4, "bfloat16": 2, "float16": 2}  # bytes
_WARPS = 8  # of a block of a matrix-vector product
_BLOCKS = 4  # of such blocks to a multiprocessor, at the most: each brings the vector in anew
_ATTENTION_THREADS, _AT_ONCE = 128, 2  # of decode_attention.cu
_NUMBERS = 80  # of queries that a thread holds: with more, registers are spilled

_REGISTERS = 64 * 1024  # of a multiprocessor


def gemv(name: str, format: str, columns: int, **macros: int) -> Kernel:
    """Return the matrix-vector product `name` for rows of `columns` numbers in a format."""
    read_at_once = 32 * _CHUNK[format]  # numbers of a row, by a warp
    numbers = 32 + -(-columns // read_at_once) * read_at_once  # sums of warps, and the vector
    return Kernel(
        source=f"{name}.cu", name=name, threads=32 * _WARPS, shared_memory=4 * numbers,
        macros=(("FORMAT", FORMATS[format]), *macros.items()),
    )  # fmt: skip


def experts(name: str, format: str, columns: int) -> Kernel:
    """Return experts_swiglu or experts_add, which differ from `gemv` in where rows come from."""
    return replace(gemv(name, format, columns), source="gemv_experts.cu")


def route(format: str, columns: int, n_experts: int) -> Kernel:
    """Return the router, which has a place for a score of each expert, too."""
    kernel = gemv("experts_route", format, columns)
    return replace(kernel, shared_memory=kernel.shared_memory + 4 * n_experts)


def qkv(format: str, columns: int, kv_format: str) -> Kernel:
    """Return the kernel of norm, queries, keys, values and RoPE."""
    return gemv("decode_qkv", format, columns, KV_FORMAT=FORMATS[kv_format])


def gemv_grid(tasks: int, multiprocessors: int) -> tuple[int]:
    """Deal tasks, a warp to each, to blocks that have equally many."""
    blocks = -(-tasks // _WARPS)
    rounds = -(-blocks // (_BLOCKS * multiprocessors))
    return (-(-blocks // rounds),)


def attention(kv_format: str, head_dim: int, group: int) -> Kernel | None:
    """Return the attention of `group` query heads to each key head; None where there is none.

    Lanes share a key, 8 or more of its numbers to each, but for large groups: a thread has room for
    so many numbers of queries.
    """
    lanes = 1
    while head_dim % (2 * lanes) == 0 and lanes < 32:
        own = head_dim // lanes
        if own < 16 and group * own <= _NUMBERS:
            break
        lanes *= 2
    own = head_dim // lanes
    if own > 16 or group * own > _NUMBERS or head_dim % 2:
        return None
    vector = next(n for n in (8, 4, 2, 1) if own % n == 0 and n * _ITEM[kv_format] <= 16)
    sizes = (("D", head_dim), ("G", group), ("LANES", lanes), ("VECTOR", vector))
    return Kernel(
        source="decode_attention.cu", name="decode_attention", threads=_ATTENTION_THREADS,
        shared_memory=4 * _ATTENTION_THREADS // lanes * group * (head_dim + 2),
        macros=(("KV_FORMAT", FORMATS[kv_format]), *sizes),
    )  # fmt: skip


def attention_blocks(kernel: Kernel, device: Device) -> int:
    """Return how many blocks of attention a multiprocessor runs at once.

    Registers are what CUDA 13.5 gives it for sm_90, a fourth too many at the most.
    """
    sizes = dict(kernel.macros)
    registers = 32 + 7 * sizes["G"] * sizes["D"] // sizes["LANES"] // 2
    return max(
        1,
        min(
            _REGISTERS // (registers * kernel.threads),
            device.shared_memory // (kernel.shared_memory + 1024),
        ),
    )


def attention_tile(kernel: Kernel) -> int:
    """Return how many keys a block of attention reads at once."""
    return kernel.threads // dict(kernel.macros)["LANES"] * _AT_ONCE


def sampler(name: str, format: str) -> Kernel:
    """Return sampler_embed or sampler_draw for an embedding table in a format."""
    threads, room = {"sampler_embed": (256, 0), "sampler_draw": (512, 1024)}[name]
    macros = (("FORMAT", FORMATS[format]),)
    return Kernel(
        source="sampler.cu", name=name, threads=threads, shared_memory=room, macros=macros
    )


def every_kernel() -> Iterator[Kernel]:
    """Yield each kernel in each format, and for usual heads: for a compiler without a GPU."""
    for format in FORMATS:
        for name in ("gemv_add", "gemv_swiglu", "gemv_head"):
            yield gemv(name, format, 4096)
        yield from (experts(name, format, 4096) for name in ("experts_swiglu", "experts_add"))
        yield route(format, 4096, 64)
        yield from (sampler(name, format) for name in ("sampler_embed", "sampler_draw"))
        yield from (qkv(format, 4096, kv_format) for kv_format in KV_FORMATS)
    heads = product(KV_FORMATS, (48, 64, 80, 96, 128, 256), (1, 3, 4, 7, 8))
    yield from (kernel for each in heads if (kernel := attention(*each)) is not None)


def format_of(weight: Any) -> str:
    """Return the name of a matrix's format, which may be none of FORMATS."""
    return str(weight.dtype)
