"""Every operation against PyTorch's autograd in float64: the output and all gradients."""

import importlib
import pkgutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyllm.ops
import tinyllm_numpy as xp
from oracles.torch_cases import CASES, F, queries_keys_values, torch
from strategies import rngs
from tinyllm.ops.attention import attention_backward, attention_forward, attention_mask
from tinyllm.ops.embedding import embedding_forward, tied_embedding_backward

pytestmark = pytest.mark.parity

FUNCTIONS = {
    name: function
    for module in pkgutil.iter_modules(tinyllm.ops.__path__)
    for name, function in vars(importlib.import_module(f"tinyllm.ops.{module.name}")).items()
    if name.endswith(("_forward", "_backward"))
}
CONSTANTS = {  # the tables, the weights, the counts
    "rope_half": (1, 2), "rope_interleaved": (1, 2), "negative_sampling": (2,), "glove": (4,),
    "balance": (1,), "kl": (1,), "reverse_kl": (1,), "mean_square": (1,),
}  # fmt: skip


def check(forward, backward, arrays, options, oracle, *, rng, constants=()):
    """Hold a pair against `oracle` and its autograd.

    Within 1e-12 of the largest entry, or of 1 where all entries are smaller: gradients that cancel
    to nothing, such as that of a softmax over one score, have the rounding of their terms.
    """
    y, saved = forward(xp, *arrays, **options)
    dy = np.asarray(rng.standard_normal(y.shape))
    grads = backward(xp, dy, saved)
    grads = grads if isinstance(grads, tuple) else (grads,)

    tensors = [a if a is None else torch.tensor(a) for a in arrays]
    variables = {
        i: tensor.requires_grad_()
        for i, tensor in enumerate(tensors)
        if tensor is not None and tensor.is_floating_point() and i not in constants
    }
    options = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    expected = oracle(*tensors, **options)
    wanted = torch.autograd.grad(expected, list(variables.values()), torch.tensor(dy))
    assert len(grads) == len(arrays)
    assert [i for i, grad in enumerate(grads) if grad is not None] == list(variables)
    close(y, expected)
    for i, grad in zip(variables, wanted):
        close(grads[i], grad)


def close(computed, expected):
    expected = expected.detach().numpy()
    assert computed.shape == expected.shape
    assert np.abs(computed - expected).max() <= 1e-12 * max(1.0, np.abs(expected).max())


def test_every_pair_has_a_case():
    pairs = {f"{name}_{way}" for name in CASES for way in ("forward", "backward")}
    assert pairs | {"tied_embedding_backward"} == set(FUNCTIONS)


@given(rngs)
def test_a_table_that_is_a_head_too_gets_both_gradients(rng):
    table, head = rng.standard_normal((2, 5, 3))
    ids, dy = rng.integers(0, 5, (2, 4)), rng.standard_normal((2, 4, 3))
    weight = torch.tensor(table, requires_grad=True)
    (F.embedding(torch.tensor(ids), weight) * torch.tensor(dy)).sum().backward()
    _, saved = embedding_forward(xp, ids, table)
    expected = weight.grad + torch.tensor(head)
    close(tied_embedding_backward(xp, dy, saved, head.copy())[1], expected)


@pytest.mark.parametrize("name", CASES)
@given(st.data(), rngs)
def test_operation(name, data, rng):
    pair = FUNCTIONS[f"{name}_forward"], FUNCTIONS[f"{name}_backward"]
    case = CASES[name](data.draw, rng)
    check(*pair, *case, rng=rng, constants=CONSTANTS.get(name, ()))


@given(st.data(), st.sampled_from(["full", "causal", "mask", "bias"]), rngs)
def test_attention_is_torch_s_own(data, kind, rng):
    def oracle(q, k, v, bias, *, mask, scale):
        options = {"scale": scale, "enable_gqa": True}
        if kind == "causal":
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, **options)
        seen = bias if mask is None else mask
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, **options)

    (B, K, G, T, S), (q, k, v) = queries_keys_values(data.draw, rng)
    bias = rng.standard_normal((B, K * G, T, S)) if kind == "bias" else None
    mask = None
    if kind == "causal":
        mask = attention_mask(xp, np.arange(T), np.arange(S))
    if kind == "mask":
        mask = rng.random((B, 1, T, S)) < 0.6
        mask[..., 0] = True  # a query that may attend to nothing: PyTorch's versions differ
    options = {"mask": mask, "scale": data.draw(st.sampled_from([None, 0.3]))}
    pair = attention_forward, attention_backward
    check(*pair, [q, k, v, bias], options, oracle, rng=rng)
