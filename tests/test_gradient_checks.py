"""tinyllm.gradient_checks: right gradients pass, and every mistake that people make is seen."""

import inspect
import textwrap

import numpy as np
import pytest

import tinyllm
from tiny import tiny_config
from tinyllm import gradient_checks
from tinyllm.errors import UsageError
from tinyllm.gradient_checks import Check, check_gradients, check_operation
from tinyllm.layers import attention as attention_layer
from tinyllm.layers import blocks, mlp, moe, projection
from tinyllm.model import Model
from tinyllm.models import architecture, decoder, recurrent, stack
from tinyllm.models.examples import EXAMPLES as MODELS
from tinyllm.models.examples import example_config, random_params
from tinyllm.ops import (
    activations,
    balance,
    embedding,
    examples,
    linear,
    losses,
    lstm,
    norms,
    rope,
    softmax,
)
from tinyllm.ops import attention as attention_op
from tinyllm.ops import recurrent as recurrent_op
from tinyllm_numpy import attention as by_tiles
from tinyllm_numpy import losses as fused_losses


@pytest.mark.parametrize("name", examples.EXAMPLES)
def test_every_operation_is_right(xp, name):
    checks = check_operation(name, xp=xp)
    assert checks
    assert all(check.ok for check in checks), checks


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_is_right(name):
    config = example_config(name)
    checks = check_gradients(config)
    assert [check.name for check in checks] == list(
        architecture.architecture(config).param_shapes(config)
    )
    assert all(check.ok for check in checks), checks


def test_every_kind_of_model_has_an_example():
    kinds = {name for kind in architecture.ARCHITECTURES.values() for name in kind.model_types}
    assert kinds == {name.partition("-")[0] for name in MODELS}


def test_a_loaded_model_is_checked_in_float64_and_left_as_it_is():
    config = tiny_config(tie_embeddings=True)
    params = {k: v.astype(np.float32) for k, v in random_params(config, rng(0)).items()}
    params["model.norm.weight"][:] = 0  # nothing comes through: most gradients are exactly 0
    model = Model(config, params, xp=tinyllm.get_backend("numpy"))
    checks = tinyllm.check_gradients(model, samples=2)
    assert all(check.ok for check in checks), checks
    assert {p.dtype for p in model.params.values()} == {np.dtype(np.float32)}
    chosen = check_gradients(model, only=("model.norm", "1.mlp.up"))
    wanted = ["model.layers.1.mlp.up_proj.weight", "model.norm.weight"]
    assert [check.name for check in chosen] == wanted


def test_a_strict_backend_is_checked_too(xp):
    checks = check_gradients(example_config("rnn"), xp=xp, only=("weight_hh_l0",))
    assert [check.ok for check in checks] == [True]


@pytest.mark.parametrize("draw", [{"seed": 1}, {"samples": 3}])
def test_other_draws_find_other_errors(draw):
    def errors(**draw):
        return [check.error for check in check_operation("linear", **draw)]

    assert errors(**draw) != errors()
    assert errors(**draw) == errors(**draw)
    if "samples" in draw:
        assert max(errors(**draw)) >= max(errors())


def test_an_error_that_is_not_a_number_is_not_right():
    assert not Check(name="x", error=float("nan")).ok
    assert np.isnan(gradient_checks._worse(float("nan"), 1.0))
    assert np.isnan(gradient_checks._worse(1.0, float("nan")))
    assert gradient_checks._worse(1.0, 2.0) == gradient_checks._worse(2.0, 1.0) == 2.0


def test_names_that_are_not_there_are_refused():
    with pytest.raises(UsageError, match="no operation 'sin'; there are linear, "):
        check_operation("sin")
    with pytest.raises(UsageError, match="no model 'eliza'; there are llama, "):
        example_config("eliza")
    with pytest.raises(UsageError, match="no parameter has 'q_proj' in its name"):
        check_gradients(example_config("gru"), only=("q_proj",))


def test_what_has_no_gradient_is_refused():
    with pytest.raises(UsageError, match="the model is of type str, expected a Model or a config"):
        check_gradients("x")
    with pytest.raises(UsageError, match="rounded weights have no gradient"):
        check_gradients(tinyllm.load(storage="int8"))


def rng(seed):
    return np.random.default_rng(seed)


# What people get wrong: the function, a part of its source, what stands there instead, and what
# the mistake must show in.
MISTAKES = {
    "RMSNorm without its mean": (
        norms.rmsnorm_backward,
        "dxhat - xhat * xp.mean(dxhat * xhat, axis=-1, keepdims=True)", "dxhat",
        ["rmsnorm", "llama"],
    ),
    "RMSNorm with a sum for the mean": (
        norms.rmsnorm_backward, "xp.mean(", "xp.sum(", ["rmsnorm", "qwen3"],
    ),
    "LayerNorm without its two means": (
        norms.layernorm_backward, "dxhat - along_one - xhat * along_xhat", "dxhat", ["layernorm"],
    ),
    "LayerNorm without the mean along xhat": (
        norms.layernorm_backward, " - xhat * along_xhat", "", ["layernorm"],
    ),
    "softmax as if it were elementwise": (
        softmax.softmax_backward, "xp.sum(dy * y, axis=-1, keepdims=True)", "dy * y",
        ["softmax", "attention"],
    ),
    "attention's softmax as if it were elementwise": (
        by_tiles.tiled_backward, "dscores -= _rows(along[b, heads, rows])",
        "dscores -= dscores * probs", ["llama"],
    ),
    "the residual around attention dropped": (
        blocks.pre_norm_block_backward, "return dh + dx,", "return dx,", ["llama"],
    ),
    "the residual around the mlp dropped": (
        blocks.pre_norm_block_backward, "dh = dy + dx", "dh = dx", ["llama", "tinyllm-none"],
    ),
    "a sublayer's gradient dropped beside the other's": (
        blocks.parallel_block_backward, "return dy + dx,", "return dx,", ["tinyllm-parallel"],
    ),
    "the residual before a norm that ends it dropped": (
        blocks.post_norm_block_backward, "return dsum + dx,", "return dx,", ["tinyllm-post"],
    ),
    "the residual around two norms dropped": (
        blocks.sandwich_block_backward, "return dh + dx,", "return dx,", ["tinyllm-sandwich"],
    ),
    "a weight's gradient averaged over the batch": (
        linear.linear_backward, "dweight = xp.matmul(dy.T, rows(xp, x))",
        "dweight = xp.matmul(dy.T, rows(xp, x)) / x.shape[0]", ["linear", "llama", "lstm"],
    ),
    "a bias's gradient averaged": (
        linear.linear_backward, "xp.sum(dy, axis=0)", "xp.mean(dy, axis=0)", ["linear", "qwen2"],
    ),
    "scores without 1/sqrt(d) on the way back": (
        by_tiles.tiled_backward, "(scale * dqueries)", "dqueries", ["llama"],
    ),
    "the formula's scores without it": (
        attention_op.attention_backward, "dscores = scale *", "dscores =", ["attention"],
    ),
    "the soft cap without its slope": (
        by_tiles.tiled_backward, "(1.0 - capped * capped)", "1.0", ["tinyllm-sandwich"],
    ),
    "the formula's soft cap without its slope": (
        attention_op.attention_backward, "(1.0 - capped * capped)", "1.0", ["attention"],
    ),
    "a tied table without the head's gradient": (
        decoder.decoder_backward, "stack_backward(xp, dhidden, saved, dhead=dhead)",
        "stack_backward(xp, dhidden, saved)", ["qwen2"],
    ),
    "a tied table without the embedding's gradient": (
        embedding.tied_embedding_backward, "xp.add_rows(dhead, ids, rows(xp, dy))", "dhead",
        ["qwen2", "bert", "marian"],
    ),
    "a recurrent model's tied table without the head's": (
        recurrent.recurrent_lm_backward, "dembedding + dhead", "dembedding", ["lstm"],
    ),
    "RoPE turned the wrong way": (
        rope.rope_half_backward, "-sin", "sin", ["rope_half", "llama", "mistral"],
    ),
    "RoPE not turned back": (
        rope.rope_half_backward, "rope_half_forward(xp, dy, cos, -sin)[0]", "dy", ["qwen3"],
    ),
    "interleaved RoPE turned the wrong way": (
        rope.rope_interleaved_backward, "-sin", "sin", ["rope_interleaved"],
    ),
    "a key head that hears only its first query head": (
        by_tiles.tiled_backward, "dk[b, j, tile.keys] += dscores.T @ queries",
        "half = len(queries) // 2\n"
        "            dk[b, j, tile.keys] += dscores[:half].T @ queries[:half]", ["llama"],
    ),
    "a value head that hears only its first query head": (
        by_tiles.tiled_backward, "dv[b, j, tile.keys] += probs.T @ dout",
        "half = len(dout) // 2\n            dv[b, j, tile.keys] += probs[:half].T @ dout[:half]",
        ["mistral"],
    ),
    "the mask forgotten on the way back": (
        by_tiles.tiled_backward, "tile.of(b, heads), softcap)", "tile._replace(added=()), softcap)",
        ["llama", "mistral"],
    ),
    "gate and up changed places": (
        mlp.gated_mlp_backward, "[dgate, dh * act]", "[dh * act, dgate]", ["llama"],
    ),
    "SiLU without its second term": (
        activations.silu_backward, " * (1.0 + x * (1.0 - gate))", "", ["silu", "llama"],
    ),
    "x used three times, the last gradient kept": (
        projection.projections_backward, "part if dx is None else dx + part", "part", ["llama"],
    ),
    "a norm of queries forgotten": (
        attention_layer.head_norm_backward, "return dx, {", "return dy, {", ["qwen3"],
    ),
    "an embedding that keeps the last of equal tokens": (
        embedding.embedding_backward, "xp.index_add(V, ids, rows(xp, dy))",
        "_last(xp, V, ids, rows(xp, dy))", ["embedding", "llama", "gru"],
    ),
    "cross-entropy not divided by the count": (
        losses.cross_entropy_backward, "(dy / n)", "dy", ["cross_entropy"],
    ),
    "cross-entropy of targets that do not count": (
        fused_losses.summed_cross_entropy, "probs[~used] = 0.0", "pass", ["cross_entropy"],
    ),
    "a recurrent network cut off from its past": (
        recurrent_op.recurrent_backward, "dy[:, t, :] + ds", "dy[:, t, :]",
        ["recurrent", "rnn", "lstm", "gru"],
    ),
    "a recurrent step without the way through the weights": (
        recurrent_op.step_gradient, "dstate + dh", "dstate", ["rnn", "rnn_relu", "gru"],
    ),
    "an LSTM that forgets the output's way into its cell": (
        lstm.lstm_cell_backward, "dc + dh * o * (1.0 - squashed * squashed)", "dc", ["lstm_cell"],
    ),
    "an LSTM whose cell is not carried back": (
        lstm.lstm_cell_backward, "dc * f], axis=1)", "dc * 0], axis=1)", ["lstm_cell"],
    ),
    "losses of routers that do not come back": (
        moe.moe_backward, 'dz + saved["dscores"]', "dz", ["mixtral", "deepseek_v2-groups"],
    ),
    "the mean over tokens of a router's loss left out": (
        balance.balance_backward, " / max(1, shape[1])", "", ["balance", "mixtral"],
    ),
    "a gradient left out": (
        stack.stack_backward, ', "norm": dnorm', "", ["llama"],
    ),
    "a gradient of another shape": (
        stack.stack_backward, '"norm": dnorm', '"norm": {"weight": dx}',
        ["llama"],
    ),
    "a gradient too many": (
        stack.stack_backward, '"norm": dnorm', '"norm": dnorm | {"bias": dy[0, 0]}',
        ["llama"],
    ),
}  # fmt: skip


def _last(xp, n, ids, values):
    out = np.zeros((n, values.shape[1]))
    out[ids] = values
    return out


@pytest.fixture
def planted(monkeypatch):
    """Return a function that writes a mistake into a function, whoever has a name for it."""

    def plant(function, old, new):
        source = textwrap.dedent(inspect.getsource(function))
        assert old in source, f"{function.__name__} no longer has {old!r}"
        space = dict(function.__globals__)
        exec(source.replace(old, new), space)
        monkeypatch.setitem(function.__globals__, "_last", _last)
        monkeypatch.setattr(function, "__code__", space[function.__name__].__code__)

    return plant


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_seen(planted, mistake):
    function, old, new, shows_in = MISTAKES[mistake]
    planted(function, old, new)
    for name in shows_in:
        is_model = name in MODELS
        checks = check_gradients(example_config(name)) if is_model else check_operation(name)
        worst = max(checks, key=lambda check: check.error)
        assert worst.error > 1e-3, f"{name} does not show it"
        assert not worst.ok
