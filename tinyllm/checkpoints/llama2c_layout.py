"""What lies where in a llama2.c file: the seven numbers, and the tensors that they announce."""

import os
import struct
from collections.abc import Iterator
from math import prod

from tinyllm.checkpoints.diagnose import LLAMA2C, diagnose, refusal
from tinyllm.checkpoints.sizes import Sizes
from tinyllm.errors import CheckpointError

HEADER = struct.Struct("<7i")
MAGIC = 0x616B3432  # "ak42": versions 1 and later
Path = str | os.PathLike[str]


def read_header(path: Path, head: bytes, size: int) -> tuple[Sizes, bool]:
    """Return the sizes, and whether the embedding is the head; the file's size must fit them."""
    if len(head) < HEADER.size:
        raise _refusal(path, head, size, f"has {size} bytes, too few for a llama2.c file")
    dim, hidden, n_layers, n_heads, n_kv_heads, vocab_size, seq_len = HEADER.unpack_from(head)
    if dim == MAGIC:
        raise refusal(
            path, f"is a llama2.c file of version {hidden}; export it with --version 0, or as hf"
        )
    numbers = (dim, hidden, n_layers, n_heads, n_kv_heads, abs(vocab_size), seq_len)
    if min(numbers) < 1 or dim % (2 * n_heads) or n_heads % n_kv_heads:
        raise _refusal(path, head, size, "is not a llama2.c file")
    sizes = Sizes(
        d_model=dim,
        d_ff=hidden,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=dim // n_heads,
        vocab_size=abs(vocab_size),
        max_seq_len=seq_len,
    )
    tied = vocab_size > 0
    expected = HEADER.size + 4 * sum(count * prod(shape) for _, count, shape in _parts(sizes, tied))
    if size != expected:
        says = f"expected {expected} bytes for a llama2.c file of these sizes, have {size}"
        raise _refusal(path, head, size, f"{says}: cut short, or not such a file")
    return sizes, tied


def _refusal(path: Path, head: bytes, size: int, otherwise: str) -> CheckpointError:
    """Make the error that says what the file is, if its first bytes tell, or else `otherwise`."""
    kind = diagnose(head, size)
    return refusal(path, otherwise if kind in (None, LLAMA2C) else str(kind))


def _parts(sizes: Sizes, tied: bool) -> list[tuple[str, int, tuple[int, ...]]]:
    """The parts of a file, in order: Meta's name, how many follow each other, the shape of each."""
    D, F, L, d = sizes.d_model, sizes.d_ff, sizes.n_layers, sizes.head_dim
    queries, keys = sizes.n_heads * d, sizes.n_kv_heads * d
    layers = {
        "attention_norm": (D,),
        "attention.wq": (queries, D),
        "attention.wk": (keys, D),
        "attention.wv": (keys, D),
        "attention.wo": (D, queries),
        "ffn_norm": (D,),
        "feed_forward.w1": (F, D),
        "feed_forward.w2": (D, F),
        "feed_forward.w3": (F, D),
    }
    return [
        ("tok_embeddings.weight", 1, (sizes.vocab_size, D)),
        *((f"layers.{{}}.{name}.weight", L, shape) for name, shape in layers.items()),
        ("norm.weight", 1, (D,)),
        ("rope.cos", 1, (sizes.max_seq_len, d // 2)),
        ("rope.sin", 1, (sizes.max_seq_len, d // 2)),
        ("output.weight", 0 if tied else 1, (sizes.vocab_size, D)),
    ]


def tensors_in_order(sizes: Sizes, tied: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The name and shape of every tensor, in the file's order."""
    for name, count, shape in _parts(sizes, tied):
        for layer in range(count):
            yield name.format(layer), shape
