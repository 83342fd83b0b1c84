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
from math import prod
from typing import Any

import numpy as np

from tinyllm.checkpoints.atomic import atomic_write
from tinyllm.checkpoints.diagnose import refusal
from tinyllm.checkpoints.llama2c_layout import HEADER, read_header, tensors_in_order
from tinyllm.checkpoints.llama_config import hf_config, refuse_beyond_llama, rope_of, window_of
from tinyllm.checkpoints.llama_names import hf_to_meta, meta_to_hf, to_hf_name
from tinyllm.checkpoints.plan import check_plan
from tinyllm.checkpoints.regular_file import open_regular
from tinyllm.checkpoints.sizes import EPS_RANGE, Sizes, read_rotary_sizes
from tinyllm.errors import CheckpointError, ConfigError
from tinyllm.key_reader import KeyReader
from tinyllm.shown import plain, shown

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
    config, tensors = map_llama2c(path)
    n_heads, n_kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    return config, meta_to_hf(tensors, n_heads, n_kv_heads, plain(path))


def map_llama2c(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Map a llama2.c file: a Hugging Face config, and views of the tensors under Meta's names.

    Raises CheckpointError where the file is no such file, or not of the size that it says.
    """
    with open_regular(path) as file:
        size = os.fstat(file).st_size
        head = os.read(file, 512)
        sizes, tied = read_header(path, head, size)
        mapped = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
        if len(mapped) != size:
            raise refusal(path, "changed while it was read")
    tensors: dict[str, np.ndarray] = {}
    offset = HEADER.size
    for name, shape in tensors_in_order(sizes, tied):
        if not name.startswith("rope."):
            tensors[name] = np.ndarray(shape, "<f4", mapped, offset)
        offset += 4 * prod(shape)
    config = hf_config(sizes, rope_theta=10000.0, torch_dtype="float32", **FIXED)
    config["tie_word_embeddings"] = tied
    return config, tensors


def write_llama2c(path: Path, config: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    """Write a llama2.c file, whole or not at all; other floats are rounded to float32.

    Raises ConfigError for what the format cannot hold, and CheckpointError where the tensors are
    not those of the config.
    """
    where = plain(path)
    sizes, tied = _check_holds(config, tensors, where)
    names = {name: to_hf_name(name) for name, _ in tensors_in_order(sizes, tied)}
    shapes = {hf: shape for name, shape in tensors_in_order(sizes, tied) if (hf := names[name])}
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


def _rope_tables(sizes: Sizes) -> dict[str, np.ndarray]:
    """cos and sin of position · 10000^(-2i/d), which old programs read from the file."""
    frequencies = 10000.0 ** (-np.arange(0, sizes.head_dim, 2) / sizes.head_dim)
    angles = np.arange(sizes.max_seq_len)[:, None] * frequencies  # (T, d/2), radians
    return {"rope.cos": np.cos(angles), "rope.sin": np.sin(angles)}


def _check_holds(
    config: dict[str, Any], tensors: dict[str, np.ndarray], where: str
) -> tuple[Sizes, bool]:
    """Return the sizes and whether the head is tied, if the format can hold such a model."""
    keys = KeyReader(config, where)
    refuse_beyond_llama(keys, "a llama2.c file")
    theta, scaling = rope_of(keys)
    holds: dict[str, Any] = {key: (value, config.get(key)) for key, value in FIXED.items()}
    holds["rms_norm_eps"] = (1e-5, keys.number("rms_norm_eps", *EPS_RANGE))
    holds["rope_theta"] = (10000.0, theta)
    holds["rope_scaling"] = (None, scaling)
    holds["sliding_window"] = (None, window_of(keys))
    for key, (only, value) in holds.items():
        if value is not None and value != only:
            raise ConfigError(
                f"{where}: a llama2.c file cannot hold {key} = {shown(value)}, only {only}"
            )
    sizes = read_rotary_sizes(keys)
    if sizes.head_dim * sizes.n_heads != sizes.d_model:
        raise ConfigError(
            f"{where}: a llama2.c file cannot hold head_dim = {sizes.head_dim}, only "
            f"{sizes.d_model} / {sizes.n_heads}"
        )
    tied = bool(config.get("tie_word_embeddings"))
    head = tensors.get("lm_head.weight")
    embedding = tensors.get("model.embed_tokens.weight")
    if tied and not (head is None or embedding is None or np.array_equal(head, embedding)):
        raise CheckpointError(
            f"{where}: lm_head.weight differs from the embedding, yet tie_word_embeddings is set"
        )
    return sizes, tied
