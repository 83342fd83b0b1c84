"""ONNX operators spelt with tinyllm.ops: where the layouts differ, arrays are rearranged here.

Each function takes a backend, the inputs by name, the expected outputs by name, and the operator's
attributes with ONNX's defaults. It yields (output's name, computed, expected) in NumPy. Inputs in
float16 are widened first: tinyllm stores 16 bits but computes in 32.
"""

import numpy as np

from tinyllm.ops.activations import gelu_forward, gelu_tanh_forward, silu_forward
from tinyllm.ops.attention import attention_forward, attention_mask
from tinyllm.ops.losses import IGNORED, cross_entropy_forward
from tinyllm.ops.norms import layernorm_forward, rmsnorm_forward
from tinyllm.ops.recurrent import LSTM, TANH, recurrent_forward
from tinyllm.ops.rope import rope_half_forward, rope_interleaved_forward
from tinyllm.ops.softmax import log_softmax_forward, softmax_forward


def run(xp, forward, *arrays, **options):
    """Call a forward function on NumPy arrays, in float32 where they are floats."""
    y, _ = forward(xp, *(_given(xp, a) for a in arrays), **options)
    return xp.to_numpy(y)


def _given(xp, x):
    if x is None:
        return None
    return xp.asarray(x.astype(np.float32) if x.dtype.kind == "f" else x)


# Attention


def attention(
    xp, given, expected, *, is_causal=0, q_num_heads=None, kv_num_heads=None, scale=None,
    softcap=0.0, qk_matmul_output_mode=0, softmax_precision=None,
):  # fmt: skip
    """Check Y, the present keys and values, and the scores as far as softmax sees them.

    `softmax_precision` asks for at least float32, which is what tinyllm has anyway.
    """
    q = _heads(given["Q"], q_num_heads)
    k, v = _heads(given["K"], kv_num_heads), _heads(given["V"], kv_num_heads)
    past = 0
    if "past_key" in given:
        past = given["past_key"].shape[2]
        k = np.concatenate([given["past_key"], k], axis=2)
        v = np.concatenate([given["past_value"], v], axis=2)
        yield "present_key", k, expected["present_key"]
        yield "present_value", v, expected["present_value"]

    T, S = q.shape[2], k.shape[2]
    queries, keys = past + np.arange(T), np.arange(S)
    if "nonpad_kv_seqlen" in given:  # the queries are the last of `length` tokens
        length = given["nonpad_kv_seqlen"][:, None, None]  # (B, 1, 1): one for all heads
        queries, keys = length - T + queries, np.where(keys < length, keys, -1)
    seen = xp.to_numpy(
        attention_mask(xp, xp.asarray(queries), xp.asarray(keys), causal=bool(is_causal))
    )
    bias = given.get("attn_mask")
    if bias is not None and bias.dtype == bool:
        seen, bias = seen & bias, None
    options = {"mask": xp.asarray(seen), "scale": scale, "softcap": softcap or None}

    y = run(xp, attention_forward, q, k, v, bias, **options)
    yield "Y", y if given["Q"].ndim == 4 else _join_heads(y), expected["Y"]
    if "qk_matmul_output" in expected:
        one_hot = np.broadcast_to(np.eye(S, dtype=np.float32), (*k.shape[:3], S))
        probs = run(xp, attention_forward, q, k, one_hot, bias, **options)  # P I = P
        scores = expected["qk_matmul_output"]
        if qk_matmul_output_mode == 3:  # after softmax
            yield "qk_matmul_output", probs, scores
        else:  # 0: before the mask, 2: after it
            if qk_matmul_output_mode == 0:
                scores = scores + (0.0 if bias is None else bias)
            yield "qk_matmul_output", probs, _probabilities(np.where(seen, scores, -np.inf))


def _heads(x, n_heads):
    """Split (B, T, H d) into (B, H, T, d); four axes are that already."""
    if x.ndim == 4:
        return x
    B, T, _ = x.shape
    return x.reshape(B, T, n_heads, -1).transpose(0, 2, 1, 3)


def _join_heads(x):
    B, _, T, _ = x.shape
    return x.transpose(0, 2, 1, 3).reshape(B, T, -1)


def _probabilities(scores):
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def rotary_embedding(
    xp, given, expected, *, interleaved=0, num_heads=None, rotary_embedding_dim=None
):
    """Check the output; how many features turn is seen in the tables."""
    cos, sin = given["cos_cache"], given["sin_cache"]
    if "position_ids" in given:
        cos, sin = cos[given["position_ids"]], sin[given["position_ids"]]  # (B, T, r)
    assert rotary_embedding_dim in (None, 2 * cos.shape[-1])
    forward = rope_interleaved_forward if interleaved else rope_half_forward
    x = _heads(given["input"], num_heads)
    y = run(xp, forward, x, cos[:, None], sin[:, None])
    yield "output", y if given["input"].ndim == 4 else _join_heads(y), expected["output"]


# Norms: over all axes from `axis` on, which are folded into one


def layer_normalization(xp, given, expected, *, axis=-1, epsilon=1e-5):
    """Check Y; and the mean and 1/σ by the x̂ = (x - μ)/σ that they give."""
    X, W, B = given["X"], given["W"], given["B"]
    x = _folded(X, axis)
    y = run(xp, layernorm_forward, x, W.ravel(), B.ravel(), eps=epsilon)
    yield "Y", y.reshape(X.shape), expected["Y"]
    xhat = run(xp, layernorm_forward, x, np.ones_like(W.ravel()), eps=epsilon).reshape(X.shape)
    for name in ("Mean", "InvStdDev"):
        yield name, xhat, (X - expected["Mean"]) * expected["InvStdDev"]


def rms_normalization(xp, given, expected, *, axis=-1, epsilon=1e-5):
    X, W = given["X"], given["W"]
    y = run(xp, rmsnorm_forward, _folded(X, axis), W.ravel(), eps=epsilon)
    yield "Y", y.reshape(X.shape), expected["Y"]


def _folded(x, axis):
    lead = x.shape[: axis % x.ndim]
    return x.reshape(*lead, -1)


# Elementwise, and softmax


def gelu(xp, given, expected, *, approximate="none"):
    forward = {"none": gelu_forward, "tanh": gelu_tanh_forward}[approximate]
    yield "y", run(xp, forward, given["x"]), expected["y"]


def swiglu(xp, given, expected, *, alpha=1.0):
    assert alpha == 1.0
    yield "y", run(xp, silu_forward, given["a"]) * given["b"], expected["y"]


def softmax(xp, given, expected, *, axis=-1):
    yield "y", _along(xp, softmax_forward, given["x"], axis), expected["y"]


def log_softmax(xp, given, expected, *, axis=-1):
    yield "y", _along(xp, log_softmax_forward, given["x"], axis), expected["y"]


def _along(xp, forward, x, axis):
    """Apply a function of the last axis along another."""
    return np.moveaxis(run(xp, forward, np.moveaxis(x, axis, -1)), -1, axis)


# Losses: the classes are on axis 1


def softmax_cross_entropy(xp, given, expected, *, reduction="mean", ignore_index=None):
    """Check the loss, and the log-probabilities where they are asked for."""
    logits, targets = given["x"], given["y"]
    log_probs = _along(xp, log_softmax_forward, logits, 1)
    if "log_prob" in expected:
        yield "log_prob", log_probs, expected["log_prob"]
    loss = _mean_loss(xp, logits, targets, ignore_index)
    yield from _reduced("z", loss, log_probs, targets, ignore_index, reduction, expected["z"])


def negative_log_likelihood(xp, given, expected, *, reduction="mean", ignore_index=None):
    """Check what cross-entropy is without its normalisation: mean(-x) = loss - mean(log Z).

    These inputs are not normalised, so that log Z = x - log p is not 0.
    """
    x, targets = given["input"], given["target"]
    log_probs = _along(xp, log_softmax_forward, x, 1)
    log_z = x[:, :1] - log_probs[:, :1]
    counted = (targets != ignore_index)[:, None]
    loss = _mean_loss(xp, x, targets, ignore_index) - log_z[counted].mean()
    log_probs = log_probs + log_z
    yield from _reduced("loss", loss, log_probs, targets, ignore_index, reduction, expected["loss"])


def _mean_loss(xp, logits, targets, ignore_index):
    targets = np.where(targets == ignore_index, IGNORED, targets)
    return run(xp, cross_entropy_forward, np.moveaxis(logits, 1, -1), targets)


def _reduced(name, loss, log_probs, targets, ignore_index, reduction, expected):
    """Check a mean loss against a mean, against a sum, or against one loss for each target."""
    counted = targets != ignore_index
    n = 1 if reduction == "mean" else counted.sum()
    yield name, loss, expected.sum() / n
    if reduction == "none":
        ids = np.where(counted, targets, 0)
        one_each = -np.take_along_axis(log_probs, ids[:, None], axis=1)[:, 0]
        yield name, np.where(counted, one_each, 0.0), expected


# Recurrent networks: time is the first axis, and the gates have an order of their own


def lstm(xp, given, expected, *, hidden_size):
    """Check the last output; ONNX's gates are input, output, forget, cell."""
    yield from _last_output(xp, given, expected, LSTM, hidden_size, order=(0, 2, 3, 1))


def rnn(xp, given, expected, *, hidden_size):
    """Check the last output."""
    yield from _last_output(xp, given, expected, TANH, hidden_size, order=(0,))


def _last_output(xp, given, expected, cell, D, order):
    """Run one direction without biases, from a state of zeros; put the gates into our order."""
    rows = np.concatenate([np.arange(gate * D, (gate + 1) * D) for gate in order])
    x = given["X"].swapaxes(0, 1)
    state = np.zeros((len(x), cell.parts * D), np.float32)
    y = run(xp, recurrent_forward, x, state, given["W"][0][rows], given["R"][0][rows], cell=cell)
    yield "Y_h", y[None, :, -1, :D], expected["Y_h"]


OPERATORS = {
    "Attention": attention,
    "Gelu": gelu,
    "LayerNormalization": layer_normalization,
    "LSTM": lstm,
    "LogSoftmax": log_softmax,
    "NegativeLogLikelihoodLoss": negative_log_likelihood,
    "RMSNormalization": rms_normalization,
    "RNN": rnn,
    "RotaryEmbedding": rotary_embedding,
    "Softmax": softmax,
    "SoftmaxCrossEntropyLoss": softmax_cross_entropy,
    "SwiGLU": swiglu,
}
