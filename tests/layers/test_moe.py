"""tinyllm.layers.moe: a mixture against its sum, its gradients, and who is left alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import check_pair, rngs, sizes
from tinyllm.layers.mlp import SILU, gated_mlp_forward
from tinyllm.layers.moe import dispatch, moe_backward, moe_forward, with_dscores
from tinyllm.ops.routing import Routing, choose_experts, expert_weights_forward
from tinyllm.params import flatten, nest

D, F, SHARED = 3, 4, 5


def shapes(E, shared=False):
    def mlp(name, width):
        sides = {"gate_proj": (width, D), "up_proj": (width, D), "down_proj": (D, width)}
        return {f"{name}.{part}.weight": shape for part, shape in sides.items()}

    found = {"gate.weight": (E, D)} | (mlp("shared_experts", SHARED) if shared else {})
    for e in range(E):
        found |= mlp(f"experts.{e}", F)
    return found


def draw_params(rng, E, shared=False):
    return {name: rng.standard_normal(shape) for name, shape in shapes(E, shared).items()}


def tree(xp, params):
    return nest({name: xp.asarray(value) for name, value in params.items()})


def run(xp, x, params, routing, keep=None):
    y, saved = moe_forward(xp, xp.asarray(x), tree(xp, params), routing=routing, activation=SILU)
    if keep is not None:
        keep.update(saved)
    return xp.to_numpy(y)


def mix_densely(xp, x, params, routing):
    """Run every expert on every token, and weigh: what the paper's equation says."""
    p, x = tree(xp, params), xp.asarray(x.reshape(-1, D))
    scores = x @ p["gate"]["weight"].T
    ids = choose_experts(xp, scores, routing)
    some, _ = expert_weights_forward(
        xp, scores, ids, renormalise=routing.renormalise, scale=routing.scale
    )
    w = np.zeros(scores.shape)
    np.put_along_axis(w, xp.to_numpy(ids), xp.to_numpy(some), -1)
    made = [
        xp.to_numpy(gated_mlp_forward(xp, x, p["experts"][str(e)], activation=SILU)[0])
        for e in range(w.shape[1])
    ]
    y = np.einsum("ne,end->nd", w, np.stack(made))
    if "shared_experts" in p:
        y = y + xp.to_numpy(gated_mlp_forward(xp, x, p["shared_experts"], activation=SILU)[0])
    return y


def routings(E, **options):
    return st.builds(
        lambda k, renormalise, scale: Routing(
            k=k, renormalise=renormalise, scale=scale, **options
        ),
        st.integers(1, E), st.booleans(), st.sampled_from([1.0, 2.5]),
    )  # fmt: skip


@settings(max_examples=10)
@given(sizes, st.integers(1, 5), st.booleans(), st.data(), rngs)
def test_the_sparse_sum_is_the_dense_sum(xp, T, E, shared, data, rng):
    routing, params = data.draw(routings(E)), draw_params(rng, E, shared)
    x = rng.standard_normal((2, T, D))
    y = run(xp, x, params, routing)
    expected = mix_densely(xp, x, params, routing).reshape(x.shape)
    np.testing.assert_allclose(y, expected, atol=1e-11)


@pytest.mark.parametrize("capacity", [None, 0.5])
@settings(max_examples=10)
@given(sizes, st.integers(1, 4), st.booleans(), st.data(), rngs)
def test_gradients(xp, capacity, T, E, shared, data, rng):
    """Of x, the router and every expert, by central differences away from a change of choice."""
    routing = data.draw(routings(E, capacity=capacity))
    params, x = draw_params(rng, E, shared), rng.standard_normal((2, T, D))
    for _ in range(20):  # two scores that are close could change places
        gaps = np.diff(np.sort(x @ params["gate.weight"].T, -1), axis=-1)
        if not gaps.size or gaps.min() > 1e-3:
            break
        x = rng.standard_normal(x.shape)
    names = sorted(params)

    def forward(xp, x, *weights):
        p = nest(dict(zip(names, weights)))
        return moe_forward(xp, x, p, routing=routing, activation=SILU)

    def backward(xp, dy, saved):
        dx, grads = moe_backward(xp, dy, saved)
        grads = flatten(grads)
        assert set(grads) == set(names)
        return dx, *(grads[name] for name in names)

    forward.__doc__ = moe_forward.__doc__
    weights = [params[name] for name in names]
    check_pair(xp, forward, backward, x, *weights, rng=rng, tolerance=1e-6)


def test_what_else_reads_the_router_s_scores_adds_its_gradient_there(xp):
    rng, saved = np.random.default_rng(0), {}
    params, x = draw_params(rng, 3), rng.standard_normal((2, 4, D))
    y = run(xp, x, params, Routing(k=2, renormalise=True), saved)
    dscores = rng.standard_normal((8, 3))
    dy = xp.asarray(np.zeros(y.shape))
    dx, grads = moe_backward(xp, dy, with_dscores(saved, xp.asarray(dscores)))
    expected = dscores.T @ x.reshape(8, D)
    np.testing.assert_allclose(xp.to_numpy(grads["gate"]["weight"]), expected, atol=1e-13)
    expected = (dscores @ params["gate.weight"]).reshape(x.shape)
    np.testing.assert_allclose(xp.to_numpy(dx), expected, atol=1e-13)


def test_the_gradient_of_an_expert_that_was_sent_nothing_is_exactly_zero(xp):
    rng, saved = np.random.default_rng(0), {}
    params, x = draw_params(rng, 4), rng.random((1, 5, D))
    params["gate.weight"][...] = 0.0
    params["gate.weight"][[0, 2]] = [[1.0] * D, [2.0] * D]  # of positive x: 2, then 0
    y = run(xp, x, params, Routing(k=2, renormalise=False), saved)
    _, grads = moe_backward(xp, xp.asarray(rng.standard_normal(y.shape)), saved)
    for e in range(4):
        for name, branch in grads["experts"][str(e)].items():
            grad = xp.to_numpy(branch["weight"])
            assert grad.shape == params[f"experts.{e}.{name}.weight"].shape
            assert (grad == 0.0).all() == (e in (1, 3))
    assert (xp.to_numpy(grads["gate"]["weight"]) != 0.0).all()  # they lose what others win


def test_only_the_chosen_experts_are_touched(xp):
    """An expert that is not chosen need not even be there."""
    rng = np.random.default_rng(1)
    params, x = draw_params(rng, 5), rng.standard_normal((1, 1, D))
    routing = Routing(k=2, renormalise=True)
    saved = {}
    expected = run(xp, x, params, routing, saved)
    chosen = xp.to_numpy(saved["ids"])[0].tolist()
    p = tree(xp, params)
    p["experts"] = {e: p["experts"][e] if int(e) in chosen else None for e in p["experts"]}
    y, _ = moe_forward(xp, xp.asarray(x), p, routing=routing, activation=SILU)
    assert np.array_equal(xp.to_numpy(y), expected)


@settings(max_examples=10)
@given(sizes, st.integers(1, 5), st.data(), rngs)
def test_experts_can_be_renumbered_with_their_rows_of_the_router(xp, T, E, data, rng):
    routing, params = data.draw(routings(E)), draw_params(rng, E)
    x, order = rng.standard_normal((1, T, D)), rng.permutation(E)
    moved = {"gate.weight": params["gate.weight"][order]}
    for name in ("gate_proj", "up_proj", "down_proj"):
        for new, old in enumerate(order):
            moved[f"experts.{new}.{name}.weight"] = params[f"experts.{old}.{name}.weight"]
    before, after = (run(xp, x, p, routing) for p in (params, moved))
    np.testing.assert_allclose(after, before, atol=1e-11)


@settings(max_examples=10)
@given(sizes, st.integers(1, 5), st.data(), rngs)
def test_equal_experts_are_one_expert_times_the_sum_of_the_weights(xp, T, E, data, rng):
    routing, params = data.draw(routings(E)), draw_params(rng, E)
    for name in list(params):
        if name.startswith("experts."):
            params[name] = params["experts.0." + name.split(".", 2)[2]]
    x = rng.standard_normal((1, T, D))
    p, saved = tree(xp, params), {}
    y = run(xp, x, params, routing, saved)
    one = gated_mlp_forward(xp, xp.asarray(x), p["experts"]["0"], activation=SILU)[0]
    total = xp.to_numpy(saved["combined"][0]).sum(-1).reshape(1, T, 1)
    np.testing.assert_allclose(y, total * xp.to_numpy(one), atol=1e-11)
    if routing.renormalise:
        np.testing.assert_allclose(total, routing.scale, rtol=1e-13)
    else:
        assert (total <= routing.scale * (1 + 1e-13)).all()


def test_a_token_does_not_depend_on_the_others_unless_there_is_a_capacity(xp):
    rng = np.random.default_rng(2)
    params, x = draw_params(rng, 3), rng.standard_normal((1, 6, D))
    for capacity in (None, 0.5):
        routing = Routing(k=1, renormalise=False, capacity=capacity)
        whole = run(xp, x, params, routing)
        alone = np.concatenate([run(xp, x[:, t : t + 1], params, routing) for t in range(6)], 1)
        same = np.abs(whole - alone).max(-1)[0] < 1e-12
        if capacity is None:
            assert same.all()
        else:  # one place in each expert: who comes later is given nothing
            assert not same.all()
            assert (whole[0, ~same] == 0.0).all()


def test_a_capacity_beyond_need_changes_nothing(xp):
    rng = np.random.default_rng(3)
    params, x = draw_params(rng, 3), rng.standard_normal((1, 6, D))
    y, roomy = (run(xp, x, params, Routing(k=2, renormalise=True, capacity=c)) for c in (None, 3.0))
    assert np.array_equal(y, roomy)


@settings(max_examples=10)
@given(st.integers(0, 9), st.integers(1, 5), st.sampled_from([None, 0.3, 1.0]), st.data(), rngs)
def test_slots_are_sorted_by_expert_and_found_again(N, E, capacity, data, rng):
    k = data.draw(st.integers(1, E))
    ids = np.stack([rng.permutation(E)[:k] for _ in range(N)]) if N else np.zeros((0, k), int)
    sent = dispatch(ids, E, capacity)
    M, chosen = len(sent.slots), ids.reshape(-1)
    assert sent.counts.sum() == M
    assert chosen[sent.slots].tolist() == np.repeat(np.arange(E), sent.counts).tolist()
    room = N if capacity is None else int(np.ceil(capacity * k * N / E))
    for e in range(E):  # the first ones have a place, in their order
        everyone = np.flatnonzero(chosen == e).tolist()
        assert [s for s in sent.slots.tolist() if chosen[s] == e] == everyone[:room]
    for slot, place in enumerate(sent.places.tolist()):
        assert place == M or sent.slots[place] == slot
    assert (sent.places == M).sum() == len(chosen) - M


def test_no_token_is_no_work(xp):
    params = draw_params(np.random.default_rng(0), 3, shared=True)
    x, saved = np.zeros((2, 0, D)), {}
    y = run(xp, x, params, Routing(k=2, renormalise=True), saved)
    assert y.shape == x.shape
    dx, grads = moe_backward(xp, xp.asarray(x), saved)
    assert dx.shape == x.shape
    assert all((xp.to_numpy(grad) == 0.0).all() for grad in flatten(grads).values())
