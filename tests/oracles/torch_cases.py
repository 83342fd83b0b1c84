"""Every operation's arguments, drawn, and the same function of PyTorch tensors.

PyTorch's own functions where it has them. RoPE and attention are written here a second time, in
another way.
"""

import numpy as np
import pytest
from hypothesis import strategies as st

import tinyllm_numpy as xp
from oracles import torch_recurrent
from strategies import scales, sizes
from tinyllm.ops.dropout import Dropout
from tinyllm.ops.rope import rope_tables
from tinyllm.ops.rope_scaling import default_frequencies

torch = pytest.importorskip("torch")
F = torch.nn.functional


# A case draws an operation's arrays and options, and names the same function of tensors.


def linear(draw, rng):
    x, D = vectors(draw, rng), draw(sizes)
    weight = rng.standard_normal((D, x.shape[-1]))
    return [x, weight, rng.standard_normal(D) if draw(st.booleans()) else None], {}, F.linear


def embedding(draw, rng):
    V, D, B, T = (draw(sizes) for _ in range(4))
    return [rng.integers(0, V, (B, T)), rng.standard_normal((V, D))], {}, F.embedding


def relative_position(draw, rng):
    def oracle(buckets, weight):
        return F.embedding(buckets, weight).movedim(-1, -3)

    N, H, B, T, S = (draw(sizes) for _ in range(5))
    shape = draw(st.sampled_from([(T, S), (B, T, S)]))
    return [rng.integers(0, N, shape), rng.standard_normal((N, H))], {}, oracle


def rmsnorm(draw, rng):
    def oracle(x, weight, *, eps):
        return F.rms_norm(x, weight.shape, weight, eps)

    x, eps = vectors(draw, rng), draw(st.sampled_from([1e-6, 1e-5, 0.1]))
    return [x, rng.standard_normal(x.shape[-1])], {"eps": eps}, oracle


def layernorm(draw, rng):
    def oracle(x, weight, bias, *, eps):
        return F.layer_norm(x, weight.shape, weight, bias, eps)

    # PyTorch shifts after scaling, x/σ - μ/σ, which loses |x|/σ units in the last place.
    x, eps = vectors(draw, rng, st.just(1.0)), draw(st.sampled_from([1e-5, 0.1]))
    weight, bias = rng.standard_normal((2, x.shape[-1]))
    return [x, weight, bias if draw(st.booleans()) else None], {"eps": eps}, oracle


def relu(draw, rng):
    return [vectors(draw, rng)], {}, F.relu


def gelu(draw, rng):
    return [vectors(draw, rng)], {}, F.gelu


def gelu_tanh(draw, rng):
    return [vectors(draw, rng)], {}, lambda x: F.gelu(x, approximate="tanh")


def silu(draw, rng):
    return [vectors(draw, rng)], {}, F.silu


def clip(draw, rng):
    return [vectors(draw, rng)], {"limit": 0.7}, lambda x, *, limit: x.clamp(-limit, limit)


def softcap(draw, rng):
    return [vectors(draw, rng)], {"cap": 1.3}, lambda x, *, cap: cap * torch.tanh(x / cap)


def dropout(draw, rng):
    rate, seed = draw(st.sampled_from([0.0, 0.1, 0.7])), draw(st.integers(0, 100))

    def oracle(x, *, dropout):
        drawn = np.random.default_rng(seed).random(x.shape, np.float32)
        return x * torch.tensor(drawn >= np.float32(rate)) / (1 - rate)

    return (
        [vectors(draw, rng)],
        {"dropout": Dropout(rate=rate, rng=np.random.default_rng(seed))},
        oracle,
    )


def softmax(draw, rng):
    return [vectors(draw, rng)], {}, lambda x: F.softmax(x, dim=-1)


def log_softmax(draw, rng):
    return [vectors(draw, rng)], {}, lambda x: F.log_softmax(x, dim=-1)


def cross_entropy(draw, rng):
    def oracle(logits, targets, *, label_smoothing, z_loss):
        logits, targets = logits.reshape(-1, V), targets.reshape(-1)
        options = {"ignore_index": -100, "label_smoothing": label_smoothing}
        lse = logits[targets != -100].logsumexp(dim=-1)
        return F.cross_entropy(logits, targets, **options) + z_loss * (lse**2).mean()

    logits = vectors(draw, rng)
    *lead, V = logits.shape
    targets = np.where(rng.random(lead) < 0.3, -100, rng.integers(0, V, lead))
    targets.flat[0] = V - 1  # at least one counts
    options = {"label_smoothing": draw(st.sampled_from([0.0, 0.1, 0.9]))}
    options["z_loss"] = draw(st.sampled_from([0.0, 1e-4, 0.3]))
    return [logits, targets], options, oracle


def kl(draw, rng):
    def oracle(logits, teacher, *, temperature):
        q, p = ((z / temperature).log_softmax(dim=-1) for z in (logits, teacher))
        return F.kl_div(q, p, reduction="none", log_target=True).sum(-1)

    logits = vectors(draw, rng)
    teacher = draw(scales) * rng.standard_normal(logits.shape)
    return [logits, teacher], {"temperature": draw(st.sampled_from([0.5, 1.0, 3.0]))}, oracle


def reverse_kl(draw, rng):
    arrays, options, oracle = kl(draw, rng)
    return arrays, options, lambda logits, teacher, **options: oracle(teacher, logits, **options)


def mean_square(draw, rng):
    def oracle(x, target):
        return F.mse_loss(x, target, reduction="none").mean(-1)

    x = vectors(draw, rng)
    return [x, rng.standard_normal(x.shape)], {}, oracle


def low_rank(draw, rng):
    def oracle(x, a, b, *, scale):
        return scale * F.linear(F.linear(x, a), b)

    x, r, D = vectors(draw, rng), draw(sizes), draw(sizes)
    a, b = rng.standard_normal((r, x.shape[-1])), rng.standard_normal((D, r))
    return [x, a, b], {"scale": draw(st.sampled_from([1.0, 0.25]))}, oracle


def negative_sampling(draw, rng):
    def oracle(x, targets, weight, noise, *, negatives):
        pulled = (weight * F.logsigmoid(torch.einsum("ncd,nd->nc", targets, x))).sum(1)
        pushed = F.logsigmoid(-torch.einsum("nd,sd->ns", x, noise)).mean(1)
        return -pulled - negatives * weight.sum(1) * pushed

    N, C, S, D = (draw(sizes) for _ in range(4))
    shapes, scale = ((N, D), (N, C, D), (S, D)), draw(scales)
    x, targets, noise = (scale * rng.standard_normal(shape) for shape in shapes)
    weight = rng.random((N, C)) * (rng.random((N, C)) < 0.7)
    return [x, targets, weight, noise], {"negatives": draw(st.integers(1, 20))}, oracle


def glove(draw, rng):
    def oracle(x, y, b, c, counts, *, x_max, alpha):
        residual = torch.linalg.vecdot(x, y) + b + c - counts.log()
        return (counts / x_max).clamp(max=1) ** alpha * residual**2

    N, D = draw(sizes), draw(sizes)
    x, y = draw(scales) * rng.standard_normal((2, N, D))
    b, c = rng.standard_normal((2, N))
    options = {"x_max": draw(st.sampled_from([1.0, 100.0])), "alpha": draw(st.floats(0.1, 1))}
    return [x, y, b, c, 10 ** rng.uniform(-2, 4, N)], options, oracle


def expert_weights(draw, rng):
    def oracle(scores, ids, *, renormalise, scale):
        chosen = scores.gather(-1, ids)
        if renormalise:
            return scale * chosen.softmax(dim=-1)
        return scale * scores.softmax(dim=-1).gather(-1, ids)

    N, E, scale = draw(sizes), draw(sizes), draw(st.sampled_from([1e-3, 1.0, 5.0]))
    k = draw(st.integers(1, E))
    ids = np.stack([rng.permutation(E)[:k] for _ in range(N)])
    options = {"renormalise": draw(st.booleans()), "scale": draw(st.sampled_from([1.0, 16.0]))}
    return [scale * rng.standard_normal((N, E)), ids], options, oracle


def balance(draw, rng):
    def oracle(scores, load):
        return torch.einsum("bte,be->b", scores.softmax(dim=-1), load) / T

    B, T, E = draw(sizes), draw(sizes), draw(sizes)
    return [draw(scales) * rng.standard_normal((B, T, E)), rng.random((B, E))], {}, oracle


def router_z(draw, rng):
    return [vectors(draw, rng)], {}, lambda scores: scores.logsumexp(dim=-1) ** 2


def rope_half(draw, rng):
    return rope(draw, rng, pairs=lambda x, r: (x[..., :r], x[..., r:]), join=torch.cat)


def rope_interleaved(draw, rng):
    def join(parts, dim):
        return torch.stack(parts, dim).flatten(-2)

    return rope(draw, rng, pairs=lambda x, r: (x[..., ::2], x[..., 1::2]), join=join)


def rope(draw, rng, *, pairs, join):
    """A pair of features is a complex number, multiplied by exp(i · position · ω)."""

    def oracle(x, cos, sin):
        x, rest = x[..., : 2 * r], x[..., 2 * r :]
        omega = theta ** (-torch.arange(r, dtype=torch.float64) / r)
        angles = torch.tensor(positions)[..., None] * omega
        y = torch.complex(*pairs(x, r)) * torch.polar(torch.ones_like(angles), angles)
        return torch.cat([join([y.real, y.imag], dim=-1), rest], dim=-1)

    B, H, T, r = (draw(sizes) for _ in range(4))
    theta = draw(st.sampled_from([100.0, 10000.0, 500000.0]))
    positions = rng.integers(0, 100, draw(st.sampled_from([(T,), (B, 1, T)])))
    tables = rope_tables(xp, positions, default_frequencies(theta, 2 * r), dtype=np.float64)
    x = rng.standard_normal((B, H, T, 2 * r + draw(st.integers(0, 2))))
    return [x, *tables], {}, oracle


def attention(draw, rng):
    def oracle(q, k, v, bias, *, mask, scale, softcap):
        k, v = (x.repeat_interleave(G, dim=1) for x in (k, v))
        scores = torch.einsum("bhtd,bhsd->bhts", q, k) * (scale or q.shape[-1] ** -0.5)
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        if bias is not None:
            scores = scores + bias
        if mask is not None:
            seen = mask if mask.dtype == torch.bool else mask > -torch.inf
            scores = scores if seen is mask else scores + torch.where(seen, mask, 0.0)
            scores = scores.masked_fill(~seen, -1e300)  # not -inf: no NaN where all is hidden
        probs = scores.softmax(dim=-1)
        if mask is not None:
            probs = probs * seen.any(dim=-1, keepdim=True)
        return torch.einsum("bhts,bhse->bhte", probs, v)

    (B, K, G, T, S), (q, k, v) = queries_keys_values(draw, rng)
    broadcast = st.sampled_from([None, (T, S), (K * G, 1, S), (B, 1, T, S), (B, K * G, T, 1)])
    bias, hidden = draw(broadcast), draw(broadcast)
    mask = None if hidden is None else rng.random(hidden) < 0.6
    if mask is not None and draw(st.booleans()):
        mask = np.where(mask, rng.standard_normal(hidden), -np.inf)
    options = {
        "mask": mask,
        "scale": draw(st.sampled_from([None, 0.3])),
        "softcap": draw(st.sampled_from([None, 1.5])),
    }
    return [q, k, v, None if bias is None else rng.standard_normal(bias)], options, oracle


def flash_attention(draw, rng):
    arrays, options, oracle = attention(draw, rng)
    options["tile"] = draw(st.tuples(sizes, sizes))
    return arrays, options, lambda *tensors, tile, **options: oracle(*tensors, **options)


def flash_attention1(draw, rng):
    return flash_attention(draw, rng)


def vectors(draw, rng, scale=scales):
    lead, D = draw(st.lists(sizes, min_size=1, max_size=3)), draw(sizes)
    return draw(scale) * rng.standard_normal((*lead, D))


def queries_keys_values(draw, rng):
    B, K, G, T, S, d, e = (draw(sizes) for _ in range(7))
    shapes = (B, K * G, T, d), (B, K, S, d), (B, K, S, e)
    return (B, K, G, T, S), [rng.standard_normal(shape) for shape in shapes]


CASES = {
    case.__name__: case
    for case in (
        linear, embedding, relative_position, rmsnorm, layernorm, relu, gelu, gelu_tanh, silu,
        clip, softcap, dropout, softmax, log_softmax, cross_entropy, kl, reverse_kl, mean_square,
        low_rank, negative_sampling, glove,
        expert_weights, balance, router_z, rope_half, rope_interleaved,
        attention, flash_attention, flash_attention1,
        torch_recurrent.tanh_cell, torch_recurrent.relu_cell, torch_recurrent.lstm_cell,
        torch_recurrent.linear_candidate_cell, torch_recurrent.gru_cell, torch_recurrent.recurrent,
    )
}  # fmt: skip
