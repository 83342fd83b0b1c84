"""tinyllm.ops.balance: loads counted by hand, and what the losses are where all is even."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import rngs, sizes
from tinyllm.ops.balance import (
    balance_forward,
    device_load,
    expert_load,
    router_z_backward,
    router_z_forward,
    travel_load,
)
from tinyllm.ops.routing import Routing

GROUPS, SIZE, KEPT, K = 3, 2, 2, 3
E = GROUPS * SIZE
ROUTING = Routing(k=K, renormalise=False, groups=GROUPS, groups_kept=KEPT)


def loads(xp, ids):
    """Return the three loads of ids (B, T, k)."""
    ids = xp.asarray(ids)
    expert = expert_load(xp, ids, E, xp.float64)
    others = (f(xp, ids, E, ROUTING, xp.float64) for f in (device_load, travel_load))
    return [xp.to_numpy(load) for load in (expert, *others)]


def draw_ids(rng, B, T):
    """Draw ids as a router gives them: of two groups at most."""
    rows = []
    for _ in range(B * T):
        groups = rng.permutation(GROUPS)[:KEPT]
        rows.append(rng.permutation([g * SIZE + i for g in groups for i in range(SIZE)])[:K])
    return np.asarray(rows).reshape(B, T, K)


@settings(max_examples=10)
@given(sizes, sizes, rngs)
def test_loads_are_what_the_paper_s_sums_say(xp, B, T, rng):
    ids = draw_ids(rng, B, T)
    expert, device, travel = loads(xp, ids)
    for b in range(B):
        for e in range(E):
            f = E / (K * T) * sum(e in ids[b, t] for t in range(T))
            np.testing.assert_allclose(expert[b, e], f, rtol=1e-13)
            group = range(e // SIZE * SIZE, e // SIZE * SIZE + SIZE)
            np.testing.assert_allclose(device[b, e], expert[b, list(group)].mean(), rtol=1e-13)
            sent = sum(any(i in group for i in ids[b, t]) for t in range(T))
            np.testing.assert_allclose(travel[b, e], GROUPS / (KEPT * T) * sent, rtol=1e-13)


@settings(max_examples=10)
@given(sizes, sizes, rngs)
def test_the_losses_are_those_of_the_paper(xp, B, T, rng):
    """Equations 23 to 31 of DeepSeek-V2, sum by sum; the travel loss has groups, not experts."""
    ids, scores = draw_ids(rng, B, T), rng.standard_normal((B, T, E))
    probs = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    P = probs.mean(1)
    f = np.stack([E / (K * T) * (ids == e).sum((1, 2)) for e in range(E)], -1)
    grouped_f, grouped_p = f.reshape(B, GROUPS, SIZE).mean(-1), P.reshape(B, GROUPS, SIZE).sum(-1)
    visited = np.stack([(ids // SIZE == g).any(-1).sum(-1) for g in range(GROUPS)], -1)
    expected = [
        (f * P).sum(-1),
        (grouped_f * grouped_p).sum(-1),
        (GROUPS / (KEPT * T) * visited * grouped_p).sum(-1),
    ]
    for load, wanted in zip(loads(xp, ids), expected):
        loss = xp.to_numpy(balance_forward(xp, xp.asarray(scores), xp.asarray(load))[0])
        np.testing.assert_allclose(loss, wanted, rtol=1e-12)


@settings(max_examples=10)
@given(sizes, rngs)
def test_every_balance_loss_is_1_where_all_experts_are_sent_the_same(xp, B, rng):
    """For a balanced choice, whatever is probable; and for equal scores, whatever is chosen."""
    turns = [[0, 1, 2], [2, 3, 4], [4, 5, 0], [1, 0, 3], [3, 2, 5], [5, 4, 1]]
    balanced = np.broadcast_to(turns, (B, 6, K))
    for load in loads(xp, balanced):
        np.testing.assert_allclose(load, 1.0, rtol=1e-13)
        scores = xp.asarray(rng.standard_normal((B, 6, E)))
        loss = xp.to_numpy(balance_forward(xp, scores, xp.asarray(load))[0])
        np.testing.assert_allclose(loss, 1.0, rtol=1e-13)
    even = xp.asarray(np.full((B, 4, E), 0.3))
    expert, device, _ = loads(xp, draw_ids(rng, B, 4))
    for load in (expert, device):
        loss = xp.to_numpy(balance_forward(xp, even, xp.asarray(load))[0])
        np.testing.assert_allclose(loss, 1.0, rtol=1e-13)


def test_1_is_not_the_least_that_a_balance_loss_can_be(xp):
    """Most tokens just prefer one expert, and the others are sure of the other."""
    probs = np.asarray([[[0.51, 0.49]] * 6 + [[0.01, 0.99]] * 4])
    ids = xp.asarray(probs.argmax(-1)[:, :, None])
    load = expert_load(xp, ids, 2, xp.float64)
    loss = float(xp.to_numpy(balance_forward(xp, xp.asarray(np.log(probs)), load)[0])[0])
    np.testing.assert_allclose(loss, 0.924, atol=5e-4)


@settings(max_examples=10)
@given(sizes, st.integers(1, 6), rngs)
def test_all_tokens_to_one_expert_of_which_the_router_is_sure_cost_the_most(xp, T, n, rng):
    ids = xp.asarray(np.zeros((1, T, 1), np.int64))
    scores = np.full((1, T, n), -1000.0)
    scores[..., 0] = 0.0
    load = expert_load(xp, ids, n, xp.float64)
    loss = xp.to_numpy(balance_forward(xp, xp.asarray(scores), load)[0])
    np.testing.assert_allclose(loss, [float(n)], rtol=1e-13)


def test_the_z_loss_is_the_square_of_the_log_sum_even_where_exp_overflows(xp):
    scores = np.asarray([[0.0, 0.0], [1000.0, 1000.0]])
    loss = xp.to_numpy(router_z_forward(xp, xp.asarray(scores))[0])
    np.testing.assert_allclose(loss, (scores[:, 0] + np.log(2.0)) ** 2, rtol=1e-13)


def test_an_expert_that_no_token_can_be_sent_is_no_harm_to_the_z_loss(xp):
    scores = xp.asarray(np.asarray([[-np.inf, 1.0, 1.0]]))
    loss, saved = router_z_forward(xp, scores)
    lse = 1.0 + np.log(2.0)
    np.testing.assert_allclose(xp.to_numpy(loss), [lse**2], rtol=1e-13)
    grad = xp.to_numpy(router_z_backward(xp, xp.asarray(np.ones(1)), saved))
    np.testing.assert_allclose(grad, [[0.0, lse, lse]], rtol=1e-13)
