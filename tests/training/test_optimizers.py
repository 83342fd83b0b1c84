"""tinyllm.training.optimizers"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyllm_numpy
from conftest import data
from strategies import rngs
from tinyllm.training import blocks
from tinyllm.training.optimizers import OPTIMIZERS, adam_update, adamw_update

SHAPES = {"a.weight": (5, 3), "b.weight": (2, 3, 2), "b.bias": (4,), "c": ()}


def draw(rng, shapes=SHAPES, dtype=np.float64):
    return {name: np.asarray(rng.standard_normal(s), dtype) for name, s in shapes.items()}


def on(xp, arrays):
    return {name: xp.asarray(x.copy()) for name, x in arrays.items()}


def run(xp, optimizer, params, gradients, lr=0.1, **options):
    """Take a step with each of the gradients; return the parameters, and the state."""
    params = on(xp, params)
    state = OPTIMIZERS[optimizer].init(xp, params)
    for grads in gradients:
        params = OPTIMIZERS[optimizer].update(xp, params, on(xp, grads), state, lr=lr, **options)
    return {name: np.asarray(xp.to_numpy(p)) for name, p in params.items()}, state


def by_hand(optimizer, p, gradients, lr=0.1):
    """Write the same down for one number, from the papers, with sums instead of recursions."""
    b1, b2, eps = 0.9, {"adam": 0.999, "adamw": 0.95}.get(optimizer), 1e-8
    for t in range(1, len(gradients) + 1):
        seen = gradients[:t]
        match optimizer:
            case "sgd":
                p = p - lr * seen[-1]
            case "momentum":
                p = p - lr * sum(0.9 ** (t - 1 - i) * g for i, g in enumerate(seen))
            case "adagrad":
                p = p - lr * seen[-1] / (sum(g * g for g in seen) ** 0.5 + 1e-10)
            case "adam" | "adamw":
                weights = [b1 ** (t - 1 - i) for i in range(t)]
                squares = [b2 ** (t - 1 - i) for i in range(t)]
                m = sum(w * g for w, g in zip(weights, seen)) / sum(weights)
                v = sum(w * g * g for w, g in zip(squares, seen)) / sum(squares)
                decay = 0.1 if optimizer == "adamw" and p.ndim >= 2 else 0.0
                p = p - lr * (m / (np.sqrt(v) + eps) + decay * p)
    return p


ELEMENTWISE = ["sgd", "momentum", "adagrad", "adam", "adamw"]


@pytest.mark.parametrize("optimizer", ELEMENTWISE)
@settings(max_examples=10)
@given(rng=rngs, steps=st.integers(1, 5))
def test_steps_are_those_of_the_papers(xp, optimizer, rng, steps):
    params, gradients = draw(rng), [draw(rng) for _ in range(steps)]
    found, state = run(xp, optimizer, params, gradients)
    assert state["step"] == steps
    for name, p in params.items():
        wanted = by_hand(optimizer, p, [grads[name] for grads in gradients])
        np.testing.assert_allclose(found[name], wanted, rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_arguments_stay_as_they_were_but_for_the_state(optimizer):
    rng = np.random.default_rng(0)
    params, grads = draw(rng), draw(rng)
    kept = [{name: x.copy() for name, x in arrays.items()} for arrays in (params, grads)]
    for x in (*params.values(), *grads.values()):
        x.flags.writeable = False
    state = OPTIMIZERS[optimizer].init(tinyllm_numpy, params)
    new = OPTIMIZERS[optimizer].update(tinyllm_numpy, params, grads, state, lr=0.1)
    for before, now in zip(kept, (params, grads)):
        assert all(np.array_equal(before[name], now[name]) for name in before)
    assert new.keys() == params.keys()
    assert not any(np.shares_memory(new[name], params[name]) for name in params)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_float32_stays_float32(xp, optimizer):
    rng = np.random.default_rng(0)
    params = draw(rng, dtype=np.float32)
    found, state = run(xp, optimizer, params, [draw(rng, dtype=np.float32)] * 2)
    assert {x.dtype for x in found.values()} == {np.dtype("float32")}
    for key in OPTIMIZERS[optimizer].buffers:
        assert all(x.dtype == xp.float32 for x in state[key].values())


@pytest.mark.parametrize("optimizer", ELEMENTWISE)
@pytest.mark.parametrize("block", [1, 4, 7, 10**9])
def test_not_a_bit_depends_on_the_blocks(monkeypatch, optimizer, block):
    rng = np.random.default_rng(0)
    params, gradients = draw(rng, dtype=np.float32), [draw(rng, dtype=np.float32) for _ in range(3)]
    wanted, _ = run(tinyllm_numpy, optimizer, params, gradients)
    monkeypatch.setattr(blocks, "BLOCK", block)
    found, _ = run(tinyllm_numpy, optimizer, params, gradients)
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


@given(rngs)
def test_the_first_step_of_adam_has_the_length_of_the_rate(rng):
    params, grads = draw(rng), draw(rng)
    found, _ = run(tinyllm_numpy, "adam", params, [grads])
    for name, p in params.items():
        np.testing.assert_allclose(found[name], p - 0.1 * np.sign(grads[name]), atol=1e-6)


def test_only_matrices_decay():
    params = {"w": np.ones((2, 2)), "gain": np.ones(2), "model.final_logits_bias": np.ones((1, 2))}
    grads = {name: np.zeros_like(p) for name, p in params.items()}
    found, _ = run(tinyllm_numpy, "adamw", params, [grads], lr=0.5, weight_decay=0.2)
    assert np.array_equal(found["w"], np.full((2, 2), 0.9))
    assert np.array_equal(found["gain"], np.ones(2))
    assert np.array_equal(found["model.final_logits_bias"], np.ones((1, 2)))
    assert list(found) == list(params)


def test_nesterov_looks_one_step_ahead():
    grads = [{"p": np.array(1.0)}, {"p": np.array(2.0)}]
    found, _ = run(
        tinyllm_numpy, "momentum", {"p": np.array(0.0)}, grads, lr=1.0, momentum=0.5, nesterov=True
    )
    assert found["p"] == -(1 + 0.5 * 1) - (2 + 0.5 * (0.5 * 1 + 2))


@pytest.mark.parametrize("case", ["test_adam", "test_adagrad", "test_momentum"])
def test_onnx_vectors(xp, case):
    """ONNX corrects no mean at its step 0, and adds weight decay to gradients."""
    with np.load(data(f"oracles/onnx/{case}.npz")) as file:
        given = {key.rsplit("__", 1)[1]: file[key] for key in file}
    x, lr = {"x": xp.asarray(given["X"])}, float(given["R"])
    grads = {"x": xp.asarray(given["G"] + np.float32(0.001) * given["X"])}
    match case:
        case "test_adam":  # at a late step nothing is left to correct
            state = {"step": 10**9, "m": {"x": given["V"]}, "v": {"x": given["H"]}}
            options, names = {"betas": (0.95, 0.1), "eps": 1e-7}, {"V_new": "m", "H_new": "v"}
        case "test_adagrad":
            state, options, names = (
                {"step": 0, "v": {"x": given["H"]}},
                {"eps": 1e-5},
                {"H_new": "v"},
            )
        case "test_momentum":
            state = {"step": 0, "m": {"x": given["V"]}}
            options, names = {"momentum": 0.95}, {"V_new": "m"}
    for key in names.values():
        state[key] = on(xp, state[key])
    new = OPTIMIZERS[case.removeprefix("test_")].update(xp, x, grads, state, lr=lr, **options)
    found = {"X_new": new["x"], **{name: state[key]["x"] for name, key in names.items()}}
    for name, value in found.items():
        np.testing.assert_allclose(xp.to_numpy(value), given[name], rtol=1e-6, err_msg=name)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("optimizer", "class_name", "options", "theirs"),
    [
        ("sgd", "SGD", {}, {}),
        ("momentum", "SGD", {}, {"momentum": 0.9}),
        ("momentum", "SGD", {"nesterov": True}, {"momentum": 0.9, "nesterov": True}),
        ("adagrad", "Adagrad", {}, {}),
        ("adam", "Adam", {"betas": (0.8, 0.99), "eps": 1e-3}, {"betas": (0.8, 0.99), "eps": 1e-3}),
        ("adamw", "AdamW", {}, {"betas": (0.9, 0.95), "weight_decay": 0.1}),
        ("adamw", "AdamW", {"weight_decay": 0.0}, {"betas": (0.9, 0.95), "weight_decay": 0.0}),
    ],
)
def test_ten_steps_are_pytorchs(optimizer, class_name, options, theirs):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    params, gradients = draw(rng), [draw(rng) for _ in range(10)]
    found, _ = run(tinyllm_numpy, optimizer, params, gradients, lr=0.01, **options)
    tensors = {name: torch.tensor(p, requires_grad=True) for name, p in params.items()}
    groups = [
        {"params": [t for t in tensors.values() if t.ndim >= 2]},
        {"params": [t for t in tensors.values() if t.ndim < 2], "weight_decay": 0.0},
    ]
    oracle = getattr(torch.optim, class_name)(groups, lr=0.01, **theirs)
    for grads in gradients:
        for name, tensor in tensors.items():
            tensor.grad = torch.tensor(grads[name])
        oracle.step()
    for name, tensor in tensors.items():
        np.testing.assert_allclose(found[name], tensor.detach().numpy(), rtol=0, atol=1e-12)


@pytest.mark.parity
def test_cs336s_regression_ends_where_theirs_did():
    """The course's test: a linear map learns to add up its inputs with signs, in 1000 steps."""
    torch = pytest.importorskip("torch")
    with np.load(data("oracles/cs336/adamw_expected_params.npz")) as file:
        expected = file["value"]
    torch.manual_seed(42)
    model = torch.nn.Linear(3, 2, bias=False)
    params = {"w": model.weight.detach().numpy().copy()}
    state = OPTIMIZERS["adamw"].init(tinyllm_numpy, params)
    options = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}
    for _ in range(1000):
        x = torch.rand(model.in_features).numpy()
        y = params["w"] @ x
        wanted = np.array([x[0] + x[1], -x[2]], np.float32)
        grads = {"w": np.outer(2 * (y - wanted), x)}
        params = adamw_update(tinyllm_numpy, params, grads, state, **options)
    np.testing.assert_allclose(params["w"], expected, atol=1e-4)


def test_adam_is_adamw_without_decay():
    rng = np.random.default_rng(0)
    params, grads, options = draw(rng), draw(rng), {"lr": 0.1, "betas": (0.5, 0.6), "eps": 0.1}
    states = [OPTIMIZERS["adam"].init(tinyllm_numpy, params) for _ in range(2)]
    one = adam_update(tinyllm_numpy, params, grads, states[0], **options)
    other = adamw_update(tinyllm_numpy, params, grads, states[1], weight_decay=0.0, **options)
    assert all(np.array_equal(one[name], other[name]) for name in params)


def test_a_momentum_of_zero_is_sgd():
    rng = np.random.default_rng(0)
    params, gradients = draw(rng), [draw(rng), draw(rng)]
    one, _ = run(tinyllm_numpy, "momentum", params, gradients, momentum=0.0)
    other, _ = run(tinyllm_numpy, "sgd", params, gradients)
    assert all(np.array_equal(one[name], other[name]) for name in params)
