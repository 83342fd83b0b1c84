"""The .bin files of llama2.c: seven numbers, then every weight in float32, one after the other.

    7 int32    dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len
    float32    embedding; of all layers the attention norms, wq, wk, wv, wo, the MLP norms, w1, w2,
               w3; final norm; cosines and sines of RoPE, which nobody reads any more; the head
    little-endian; a negative vocab_size means that a head follows, else it is the embedding

The rows of wq and wk are interleaved, the base of RoPE is 10000, the norms have ε = 1e-5.
https://github.com/karpathy/llama2.c, "legacy" or version 0. Its later versions are refused.
"""

import mmap
import os
import struct
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from tinyllm.checkpoints.atomic import atomic_write
from tinyllm.checkpoints.diagnose import LLAMA2C, diagnose, refusal, shown
from tinyllm.checkpoints.llama_config import (
    LlamaSizes,
    hf_config,
    read_sizes,
    refuse_beyond_llama,
    rope_of,
    window_of,
)
from tinyllm.checkpoints.llama_names import hf_to_meta, meta_to_hf, to_hf_name
from tinyllm.checkpoints.plan import check_plan
from tinyllm.checkpoints.regular_file import open_regular
from tinyllm.errors import CheckpointError, ConfigError

HEADER = struct.Struct("<7i")
MAGIC = 0x616B3432  # "ak42": versions 1 and later
FIXED = {
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "attention_bias": False,
    "mlp_bias": False,
}
Path = str | os.PathLike[str]


def read_llama2c(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a llama2.c file as a Hugging Face config and tensors; q and k copied, the rest mapped.

    Raises CheckpointError where the file is no such file, or not of the size that it says.
    """
    with open_regular(path) as file:
        size = os.fstat(file).st_size
        head = os.read(file, 512)
        sizes, tied = _read_header(path, head, size)
        mapped = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
        if len(mapped) != size:
            raise refusal(path, "changed while it was read")
    tensors: dict[str, np.ndarray] = {}
    offset = HEADER.size
    for name, shape in _tensors(sizes, tied):
        if not name.startswith("rope."):
            tensors[name] = np.ndarray(shape, "<f4", mapped, offset)
        offset += 4 * prod(shape)
    config = hf_config(sizes, rope_theta=10000.0, torch_dtype="float32", **FIXED)
    config["tie_word_embeddings"] = tied
    return config, meta_to_hf(tensors, sizes.n_heads, sizes.n_kv_heads, os.fsdecode(path))


def write_llama2c(path: Path, config: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    """Write a llama2.c file, whole or not at all; other floats are rounded to float32.

    Raises ConfigError for what the format cannot hold, and CheckpointError where the tensors are
    not those of the config.
    """
    where = os.fsdecode(path)
    sizes, tied = _check_holds(config, tensors, where)
    names = {name: to_hf_name(name) for name, _ in _tensors(sizes, tied)}
    shapes = {hf: shape for name, shape in _tensors(sizes, tied) if (hf := names[name])}
    check_plan(shapes, tensors, where, ignore=["lm_head.weight"] if tied else [])
    weights = hf_to_meta({n: tensors[n] for n in shapes}, sizes.n_heads, sizes.n_kv_heads, where)
    tables = _rope_tables(sizes)
    vocab_size = sizes.vocab_size if tied else -sizes.vocab_size
    with atomic_write(path) as file:
        file.write(
            HEADER.pack(
                sizes.d_model, sizes.d_ff, sizes.n_layers, sizes.n_heads, sizes.n_kv_heads,
                vocab_size, sizes.max_seq_len,
            )
        )  # fmt: skip
        for name in names:
            array = tables[name] if name in tables else weights[name]
            file.write(np.ascontiguousarray(array, "<f4").data)


def _read_header(path: Path, head: bytes, size: int) -> tuple[LlamaSizes, bool]:
    """Return the sizes, and whether the embedding is the head; the file's size must fit them."""
    if len(head) < HEADER.size:
        raise refusal(
            path, diagnose(head, size) or f"has {size} bytes, too few for a llama2.c file"
        )
    dim, hidden, n_layers, n_heads, n_kv_heads, vocab_size, seq_len = HEADER.unpack_from(head)
    if dim == MAGIC:
        raise refusal(
            path, f"is a llama2.c file of version {hidden}; export it with --version 0, or as hf"
        )
    numbers = (dim, hidden, n_layers, n_heads, n_kv_heads, abs(vocab_size), seq_len)
    if min(numbers) < 1 or dim % (2 * n_heads) or n_heads % n_kv_heads:
        kind = diagnose(head, size)
        raise refusal(path, kind if kind not in (None, LLAMA2C) else "is not a llama2.c file")
    sizes = LlamaSizes(
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
        kind = diagnose(head, size)
        size_says = (
            f"expected {expected} bytes for a llama2.c file of these sizes, have {size}: the "
            "download is incomplete, or it is another file"
        )
        raise refusal(path, kind if kind not in (None, LLAMA2C) else size_says)
    return sizes, tied


def _parts(sizes: LlamaSizes, tied: bool) -> list[tuple[str, int, tuple[int, ...]]]:
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


def _tensors(sizes: LlamaSizes, tied: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The name and shape of every tensor, in the file's order."""
    for name, count, shape in _parts(sizes, tied):
        for layer in range(count):
            yield name.format(layer), shape


def _rope_tables(sizes: LlamaSizes) -> dict[str, np.ndarray]:
    """cos and sin of position · 10000^(-2i/d), which old programs read from the file."""
    frequencies = 10000.0 ** (-np.arange(0, sizes.head_dim, 2) / sizes.head_dim)
    angles = np.arange(sizes.max_seq_len)[:, None] * frequencies  # (T, d/2), radians
    return {"rope.cos": np.cos(angles), "rope.sin": np.sin(angles)}


def _check_holds(
    config: dict[str, Any], tensors: dict[str, np.ndarray], where: str
) -> tuple[LlamaSizes, bool]:
    """Return the sizes and whether the head is tied, if the format can hold such a model."""
    refuse_beyond_llama(config, where, "a llama2.c file")
    theta, scaling = rope_of(config, where)
    holds: dict[str, Any] = {key: (value, config.get(key)) for key, value in FIXED.items()}
    holds["rope_theta"] = (10000.0, theta)
    holds["rope_scaling"] = (None, scaling)
    holds["sliding_window"] = (None, window_of(config))
    for key, (only, value) in holds.items():
        if value is not None and value != only:
            raise ConfigError(
                f"{where}: a llama2.c file cannot hold {key} = {shown(value)}, only {only}"
            )
    sizes = read_sizes(config, where)
    if sizes.head_dim * sizes.n_heads != sizes.d_model or sizes.head_dim % 2:
        raise ConfigError(
            f"{where}: a llama2.c file cannot hold head_dim = {sizes.head_dim}; it stands for an "
            f"even {sizes.d_model} / {sizes.n_heads}"
        )
    tied = bool(config.get("tie_word_embeddings"))
    head = tensors.get("lm_head.weight")
    embedding = tensors.get("model.embed_tokens.weight")
    if tied and not (head is None or embedding is None or np.array_equal(head, embedding)):
        raise CheckpointError(
            f"{where}: lm_head.weight differs from the embedding, yet tie_word_embeddings is set"
        )
    return sizes, tied
