"""The two dialects in which Llama's weights are written: Hugging Face's and Meta's.

    model.layers.0.self_attn.q_proj.weight   rows of each head in the "half" layout of RoPE
    layers.0.attention.wq.weight             rows of each head in the "interleaved" layout

Only queries and keys are rotated, so only their rows are reordered: those of q per head, those of k
per key head, and their biases alike. See `ops/rope.py` for the layouts.
"""

import re
from collections.abc import Callable, Mapping

import numpy as np

from tinyllm.backend import Array, Backend, get_backend
from tinyllm.errors import CheckpointError
from tinyllm.ops.rope import half_to_interleaved, interleaved_to_half
from tinyllm.shown import shown

_WHOLE = {
    "model.embed_tokens.weight": "tok_embeddings.weight",
    "model.norm.weight": "norm.weight",
    "lm_head.weight": "output.weight",
}
_LAYER = {
    "input_layernorm": "attention_norm",
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
}
_HF_LAYER = re.compile(r"model\.layers\.([0-9]{1,9})\.(.+)\.(weight|bias)\Z")
_META_LAYER = re.compile(r"layers\.([0-9]{1,9})\.(.+)\.(weight|bias)\Z")
_FROM_WHOLE = {meta: hf for hf, meta in _WHOLE.items()}
_FROM_LAYER = {meta: hf for hf, meta in _LAYER.items()}
_COMPUTED = "rope.freqs"  # in Meta's older files: 1/theta^(2i/d), which the config gives


def to_meta_name(name: str) -> str | None:
    """Meta's name for a Hugging Face name; None if it is none of Llama's.

    >>> to_meta_name("model.layers.3.mlp.up_proj.weight")
    'layers.3.feed_forward.w3.weight'
    """
    match = _HF_LAYER.match(name)
    if match and match[2] in _LAYER:
        return f"layers.{match[1]}.{_LAYER[match[2]]}.{match[3]}"
    return _WHOLE.get(name)


def to_hf_name(name: str) -> str | None:
    """Hugging Face's name for Meta's name; None if it is none of Llama's.

    >>> to_hf_name("layers.3.attention.wq.bias")
    'model.layers.3.self_attn.q_proj.bias'
    """
    match = _META_LAYER.match(name)
    if match and match[2] in _FROM_LAYER:
        return f"model.layers.{match[1]}.{_FROM_LAYER[match[2]]}.{match[3]}"
    return _FROM_WHOLE.get(name)


def hf_to_meta(
    tensors: Mapping[str, np.ndarray], n_heads: int, n_kv_heads: int, where: str
) -> dict[str, np.ndarray]:
    """Rename, and reorder the rows of q and k from "half" to "interleaved"; the rest is shared.

    Raises CheckpointError for a tensor that Llama does not have.
    """
    heads = {"self_attn.q_proj": n_heads, "self_attn.k_proj": n_kv_heads}
    return _translate(tensors, to_meta_name, heads, half_to_interleaved, where)


def meta_to_hf(
    tensors: Mapping[str, np.ndarray], n_heads: int, n_kv_heads: int, where: str
) -> dict[str, np.ndarray]:
    """Rename, and reorder the rows of q and k from "interleaved" to "half"; the rest is shared.

    Raises CheckpointError for a tensor that Llama does not have.
    """
    heads = {"attention.wq": n_heads, "attention.wk": n_kv_heads}
    kept = {name: tensor for name, tensor in tensors.items() if name != _COMPUTED}
    return _translate(kept, to_hf_name, heads, interleaved_to_half, where)


def _translate(
    tensors: Mapping[str, np.ndarray],
    rename: Callable[[str], str | None],
    heads: dict[str, int],
    reorder: Callable[[Backend, Array, int], Array],
    where: str,
) -> dict[str, np.ndarray]:
    xp = get_backend("numpy")
    translated = {}
    for name, tensor in tensors.items():
        new = rename(name)
        if new is None:
            raise CheckpointError(f"{where}: {shown(name)} is none of Llama's tensors")
        n_heads = next((n for part, n in heads.items() if f".{part}." in name), None)
        if n_heads is not None:
            if tensor.ndim == 0 or tensor.shape[0] % (2 * n_heads):
                raise CheckpointError(
                    f"{where}: {shown(name)} has shape {shown(tensor.shape)}, whose rows are no "
                    f"pairs in {n_heads} heads"
                )
            tensor = reorder(xp, tensor, n_heads)
        translated[new] = tensor
    return translated
