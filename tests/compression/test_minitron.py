"""tinyllm.compression.activations, minitron and layer_costs"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyllm_numpy
from strategies import rngs
from tiny import random_params, tiny_config
from tinyllm.compression.activations import AGGREGATES, activity
from tinyllm.compression.depth import remove_layers
from tinyllm.compression.groups import config_of, without_groups
from tinyllm.compression.layer_costs import block_costs, cheapest, mean_nats
from tinyllm.compression.minitron import Target, cut_out, minitron, read_aggregates
from tinyllm.errors import CheckpointError, UsageError
from tinyllm.model import Model
from tinyllm.models.config import param_shapes
from tinyllm.models.decoder import decoder_forward
from tinyllm.models.positions import WITHOUT_NUMBERS
from tinyllm.params import nest

SINGLE = tiny_config(n_heads=4, n_kv_heads=4, d_ff=8)  # each query head with its own keys
SHARED = tiny_config(n_heads=6, n_kv_heads=2, d_ff=8)
TOKENS = np.random.default_rng(1).integers(0, 11, (5, 7))


def params_of(config, xp=tinyllm_numpy):
    return {name: xp.asarray(x) for name, x in random_params(config).items()}


def logits(config, params, xp=tinyllm_numpy, tokens=TOKENS):
    return xp.to_numpy(decoder_forward(xp, xp.asarray(tokens), nest(params), config)[0])


def narrowed(config, xp=tinyllm_numpy, merge=False, **widths):
    params = params_of(config, xp)
    cut = minitron(xp, params, config, Target(**widths), TOKENS, merge=merge)
    found = activity(xp, params, config, TOKENS)
    return found, cut.gone, *cut_out(xp, params, config, cut)


@pytest.mark.parametrize("batch", AGGREGATES)
@pytest.mark.parametrize("seq", AGGREGATES)
def test_activity_is_the_formula_of_the_traced_activations(batch, seq):
    params = params_of(SHARED)
    found = activity(tinyllm_numpy, params, SHARED, TOKENS, batch=batch, seq=seq)
    model = Model(SHARED, params, xp=tinyllm_numpy)
    names = ["layers.1.self_attn.heads", "layers.0.mlp.hidden", "norm"]
    names += [f"layers.{i}.{n}_layernorm" for i in (0, 1) for n in ("input", "post_attention")]
    _, seen = model.trace(TOKENS, names)

    def put_together(x):
        per_text = {"mean": abs(x).mean(1), "l2": (x**2).sum(1) ** 0.5, "var": x.var(1)}[seq]
        return {
            "mean": abs(per_text).mean(0), "l2": (per_text**2).sum(0) ** 0.5,
            "var": per_text.var(0),
        }[batch]  # fmt: skip

    heads = np.sqrt((seen["layers.1.self_attn.heads"].reshape(5, 7, 6, 4) ** 2).sum(-1))
    np.testing.assert_allclose(found.heads[1], put_together(heads), rtol=1e-12, atol=1e-15)
    neurons = put_together(seen["layers.0.mlp.hidden"])
    np.testing.assert_allclose(found.neurons[0], neurons, rtol=1e-12, atol=1e-15)
    channels = sum(put_together(seen[n]) for n in names if "norm" in n)
    np.testing.assert_allclose(found.channels, channels, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("style", "names"),
    [
        ({"layout": "post", "norm": "layernorm", "mlp": "relu"},
         ["post_attention_layernorm", "post_feedforward_layernorm"]),
        ({"embedding_norm": True}, ["embed_tokens", "norm", "input_layernorm",
                                    "post_attention_layernorm"]),
    ],
)  # fmt: skip
def test_each_norm_counts_once(style, names):
    """Post-norm models end with a block's norm; BLOOM begins with one of its own."""
    config = tiny_config(**style)
    params = params_of(config)
    found = activity(tinyllm_numpy, params, config, TOKENS)
    names = [
        x for n in names for x in ([f"layers.{i}.{n}" for i in (0, 1)] if "_lay" in n else [n])
    ]
    _, seen = Model(config, params, xp=tinyllm_numpy).trace(TOKENS, names)
    wanted = sum((abs(seen[name]).mean(1) ** 2).sum(0) ** 0.5 for name in names)
    np.testing.assert_allclose(found.channels, wanted, rtol=1e-12)


def test_data_twice_over_rank_units_as_once(xp):
    once = activity(xp, params_of(SINGLE, xp), SINGLE, TOKENS)
    twice = activity(xp, params_of(SINGLE, xp), SINGLE, np.concatenate([TOKENS, TOKENS]))
    np.testing.assert_allclose(twice.channels, np.sqrt(2) * once.channels, rtol=1e-12)
    for i in range(2):
        assert (np.argsort(twice.heads[i]) == np.argsort(once.heads[i])).all()
        assert (np.argsort(twice.neurons[i]) == np.argsort(once.neurons[i])).all()


@pytest.mark.parametrize("config", [SINGLE, SHARED], ids=["single heads", "shared keys"])
def test_a_narrower_model_is_the_model_with_zeros_there(xp, config):
    found, gone, params, smaller = narrowed(config, xp, ffn=5, heads=2)
    masked = {name: np.array(x) for name, x in random_params(config).items()}
    for groups, which in gone:
        for (name, axis), indices in groups.members.items():
            masked[name][(slice(None),) * axis + (indices[which].reshape(-1),)] = 0.0
    expected = logits(config, masked)
    assert np.abs(logits(smaller, params, xp) - expected).max() < 1e-12
    assert {name: tuple(x.shape) for name, x in params.items()} == param_shapes(smaller)
    assert (smaller.n_heads, smaller.n_kv_heads, smaller.d_ff) == (2, 2, 5)
    assert smaller.blocks is None
    for i in range(2):
        kept = np.setdiff1d(range(8), gone[[g.where for g, _ in gone].index(
            f"model.layers.{i}.mlp")][1])  # fmt: skip
        assert sorted(np.argsort(-found.neurons[i])[:5]) == kept.tolist()


def test_each_group_of_query_heads_keeps_its_best():
    found, gone, _, smaller = narrowed(SHARED, heads=4)
    assert (smaller.n_heads, smaller.n_kv_heads) == (4, 2)
    for (groups, which), i in zip(gone, range(2)):
        weakest = [np.argmin(found.heads[i][:3]), 3 + np.argmin(found.heads[i][3:])]
        assert which == weakest
        assert {name.split(".")[-2] for name, _ in groups.members} == {"q_proj", "o_proj"}


def test_the_least_active_channels_go_from_the_whole_model():
    found, gone, params, smaller = narrowed(SINGLE, width=4)
    ((groups, which),) = gone
    assert (groups.where, smaller.d_model) == ("model", 4)
    assert which == sorted(np.argsort(-found.channels, kind="stable")[4:].tolist())
    assert {name: x.shape for name, x in params.items()} == param_shapes(smaller)


@pytest.mark.parametrize("embed_dim", [4, 8])
def test_a_table_of_another_width_keeps_all_its_columns(embed_dim):
    """OPT-350M's: what norms say of the residual stream says nothing of these."""
    config = tiny_config(embed_dim=embed_dim)
    found, gone, params, smaller = narrowed(config, width=3)
    ((_, which),) = gone
    assert which == sorted(np.argsort(-found.channels, kind="stable")[3:].tolist())
    assert (smaller.d_model, smaller.embed_dim) == (3, embed_dim)
    assert {name: x.shape for name, x in params.items()} == param_shapes(smaller)
    table = "model.embed_tokens.weight"
    assert (params[table] == random_params(config)[table]).all()


def test_all_of_it_is_the_same_model():
    for config in (SINGLE, SHARED):
        _, gone, params, smaller = narrowed(config, ffn=8, heads=config.n_heads, width=6)
        assert smaller == config
        assert not any(which for _, which in gone)
        assert all((params[name] == x).all() for name, x in random_params(config).items())


@given(st.sampled_from([SINGLE, SHARED]), st.integers(1, 3), rngs)
def test_merged_heads_get_what_sets_them_apart(config, keep, rng):
    keep = keep if config is SINGLE else 2 * min(keep, 2)
    found, gone, params, smaller = narrowed(config, heads=keep, merge=True)
    plain = without_groups(tinyllm_numpy, random_params(config), gone)
    assert config_of(plain, config) == smaller
    G = 4 if config is SINGLE else 3
    for i, (_, which) in enumerate(gone):
        w = found.heads[i]
        dense = random_params(config)[f"model.layers.{i}.self_attn.q_proj.weight"]
        rows = dense.reshape(config.n_heads, 4, 6).copy()
        for first in range(0, config.n_heads, G):
            order = [first + j for j in np.argsort(-w[first : first + G])]
            K, L = G - sum(first <= j < first + G for j in which), G
            for one_based in range(max(1, K - (L - K) + 1), K + 1):  # the paper's indices
                mine, theirs = order[one_based - 1], order[2 * K - one_based + 1 - 1]
                rows[mine] = rows[mine] + (rows[mine] - rows[theirs])
        stay = np.setdiff1d(range(config.n_heads), which)
        name = f"model.layers.{i}.self_attn.q_proj.weight"
        np.testing.assert_allclose(params[name], rows[stay].reshape(-1, 6), rtol=1e-12)
        for part in ("v_proj", "o_proj"):
            name = f"model.layers.{i}.self_attn.{part}.weight"
            same = np.array_equal(params[name], plain[name])
            assert same == (part == "o_proj" or config is SHARED)


def test_a_block_costs_the_nats_that_are_lost_without_it(xp):
    config = tiny_config(n_layers=3)
    params = params_of(config, xp)
    costs = block_costs(xp, params, config, TOKENS)

    def nats(config, params):
        z = logits(config, params, xp, TOKENS[:, :-1])
        log_probs = z - np.log(np.exp(z).sum(-1, keepdims=True))
        return -np.take_along_axis(log_probs, TOKENS[:, 1:, None], -1).mean()

    dense = nats(config, params)
    assert mean_nats(xp, params, config, TOKENS) == pytest.approx(dense, rel=1e-12)
    _, seen = Model(config, params, xp=xp).trace(TOKENS, [f"layers.{i}.input" for i in range(3)])
    x, y = (xp.to_numpy(seen[f"layers.{i}.input"]).reshape(-1, 6) for i in (1, 2))
    cosines = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    assert costs[1].influence == pytest.approx(1 - cosines.mean(), rel=1e-12)
    for i, cost in enumerate(costs):
        smaller, fewer = remove_layers(params, config, [i])
        assert cost.nats == pytest.approx(nats(fewer, smaller) - dense, rel=1e-9, abs=1e-12)
        assert 0 <= cost.influence <= 2
    worth = sorted(range(3), key=lambda i: costs[i].nats)
    assert cheapest(costs, "perplexity", 2) == sorted(worth[:2])


@pytest.mark.parametrize("by", ["perplexity", "influence"])
def test_the_blocks_that_are_worth_least_go_and_the_others_get_narrower(by):
    config = tiny_config(n_layers=4, n_heads=2, d_ff=8)
    params = params_of(config)
    target = Target(ffn=3, width=4, layers=2)
    cut = minitron(tinyllm_numpy, params, config, target, TOKENS, depth_by=by)
    costs = block_costs(tinyllm_numpy, params, config, TOKENS)
    assert cut.removed == cheapest(costs, by, 2)
    smaller, left = cut_out(tinyllm_numpy, params, config, cut)
    assert (left.n_layers, left.d_ff, left.d_model, left.blocks) == (2, 3, 4, None)
    assert {name: x.shape for name, x in smaller.items()} == param_shapes(left)
    assert np.isfinite(logits(left, smaller)).all()


def test_blocks_by_number_go_without_a_text():
    config = tiny_config(n_layers=3)
    cut = minitron(tinyllm_numpy, params_of(config), config, Target(drop=(0, 2)))
    smaller, left = cut_out(tinyllm_numpy, params_of(config), config, cut)
    expected, fewer = remove_layers(params_of(config), config, [0, 2])
    assert left == fewer
    assert all(smaller[name] is not None and (smaller[name] == x).all()
               for name, x in expected.items())  # fmt: skip
    with pytest.raises(UsageError, match="minitron needs a calibration text"):
        minitron(tinyllm_numpy, params_of(config), config, Target(layers=1))
    with pytest.raises(UsageError, match="--layers is 4, expected 1 to 3"):
        minitron(tinyllm_numpy, params_of(config), config, Target(layers=4), TOKENS)
    with pytest.raises(UsageError, match="layers \\[3\\] cannot be removed"):
        minitron(tinyllm_numpy, params_of(config), config, Target(drop=(3,)))


BAD = {
    "ffn": ({"ffn": 0}, "--ffn is 0, expected 1 to 8: there are so many neurons in block 0"),
    "too wide": ({"width": 7}, "--width is 7, expected 1 to 6"),
    "heads": ({"heads": 5}, "--heads is 5, expected 1 to 4"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_there_is_refused(case):
    widths, line = BAD[case]
    with pytest.raises(UsageError, match=line):
        narrowed(SINGLE, **widths)


def test_shared_keys_keep_as_many_query_heads_each():
    with pytest.raises(UsageError, match="--heads is 3, expected a multiple of 2 up to 6"):
        narrowed(SHARED, heads=3)


def test_what_positions_hold_on_to_stays():
    with pytest.raises(UsageError, match="the heads of this llama cannot go"):
        narrowed(tiny_config(positions=WITHOUT_NUMBERS["alibi"]), heads=2)


def test_activations_that_are_not_finite_are_refused():
    params = params_of(SINGLE)
    params["model.layers.0.mlp.up_proj.weight"] = np.full((8, 6), np.inf)
    with pytest.raises(CheckpointError, match="is not finite"), np.errstate(all="ignore"):
        activity(tinyllm_numpy, params, SINGLE, TOKENS)


def test_how_to_put_together_is_told_by_two_words():
    assert read_aggregates("l2-mean") == ("l2", "mean")
    for name in ("l2", "l2-max", "mean-", ""):
        with pytest.raises(UsageError, match="expected BATCH-SEQ"):
            read_aggregates(name)
