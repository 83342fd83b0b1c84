"""tinyllm.compression.groups and dry_run: what must go together is found."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyllm_numpy
from tiny import configs, random_params, tiny_config, tree_of
from tinyllm.compression.dry_run import connected
from tinyllm.compression.groups import config_of, find_groups, without_groups
from tinyllm.compression.streaming import after_block
from tinyllm.errors import UsageError
from tinyllm.models.config import param_shapes
from tinyllm.models.decoder import decoder_forward
from tinyllm.models.examples import example_config
from tinyllm.params import nest

CONFIG = tiny_config(n_layers=2, head_dim=4)  # 4 heads that share 2 keys, of 6 channels, d_ff 7
TOKENS = np.random.default_rng(1).integers(0, CONFIG.vocab_size, (2, 5))


def by_place(config):
    return {groups.where: groups for groups in find_groups(config)}


def members(groups, index):
    """What one group has of each parameter, by short names."""
    return {
        (name.removeprefix(groups.where).removesuffix(".weight").lstrip("."), axis): which[
            index
        ].tolist()
        for (name, axis), which in groups.members.items()
    }


def test_a_channel_of_the_feed_forward_layer_is_two_rows_and_a_column():
    groups = by_place(CONFIG)["model.layers.1.mlp"]
    assert len(groups) == 7
    for c in range(7):
        assert members(groups, c) == {
            ("gate_proj", 0): [c],
            ("up_proj", 0): [c],
            ("down_proj", 1): [c],
        }


def test_a_head_of_keys_goes_with_all_that_read_from_it():
    groups = by_place(CONFIG)["model.layers.0.self_attn"]
    assert len(groups) == 2
    for h in range(2):
        rows, queries = list(range(4 * h, 4 * h + 4)), list(range(8 * h, 8 * h + 8))
        assert members(groups, h) == {
            ("q_proj", 0): queries, ("k_proj", 0): rows, ("v_proj", 0): rows,
            ("o_proj", 1): queries,
        }  # fmt: skip


def test_a_channel_of_the_residual_stream_goes_through_the_whole_model():
    groups = by_place(CONFIG)["model"]
    assert len(groups) == 6
    expected = {(name, axis) for name, shape in param_shapes(CONFIG).items()
                for axis, n in enumerate(shape) if n == 6}  # fmt: skip
    assert set(groups.members) == expected
    assert (
        len(expected) == 2 * (2 + 7) + 3
    )  # norms and matrices of two blocks, embedding, norm, head
    for which in groups.members.values():
        assert which.tolist() == [[j] for j in range(6)]


@pytest.mark.parametrize(
    ("name", "where", "expected"),
    [
        ("llama", "mlp", {"gate_proj", "gate_proj.bias", "up_proj", "up_proj.bias", "down_proj"}),
        ("gpt2", "mlp", {"up_proj", "up_proj.bias", "down_proj"}),
        ("gpt2", "self_attn", {"q_proj", "q_proj.bias", "k_proj", "k_proj.bias", "v_proj",
                               "v_proj.bias", "o_proj"}),
        ("qwen3", "self_attn", {"q_proj", "k_proj", "v_proj", "o_proj"}),  # q_norm is of all heads
        ("tinyllm-sandwich", "self_attn", {"q_proj", "k_proj", "v_proj", "o_proj"}),
    ],
)  # fmt: skip
def test_biases_go_with_their_rows_and_what_all_heads_share_stays(name, where, expected):
    groups = by_place(example_config(name))[f"model.layers.1.{where}"]
    assert {part for part, _ in members(groups, 0)} == expected


@pytest.mark.parametrize("name", ["bloom", "mpt", "falcon-rw", "tinyllm-alibi"])
def test_heads_that_have_a_slope_of_their_own_stay(name):
    places = by_place(example_config(name))
    assert set(places) == {"model", "model.layers.0.mlp", "model.layers.1.mlp"}


@given(configs)
def test_groups_share_nothing_and_are_all_of_a_kinds_axes(config):
    seen = {}
    for groups in find_groups(config):
        for axis, which in groups.members.items():
            assert axis not in seen
            seen[axis] = which
            n = param_shapes(config)[axis[0]][axis[1]]
            assert sorted(which.reshape(-1).tolist()) == list(range(n))


def influence(config, block, place):
    """Change each row of a block's matrices; return which columns of the last one hear of it."""
    queue = {"self_attn": "o_proj", "mlp": "down_proj"}[place]
    last = block[f"model.layers.0.{place}.{queue}.weight"]
    x = np.random.default_rng(3).standard_normal((1, 4, config.d_model))

    class Ear:
        def __getattr__(self, name):
            return getattr(tinyllm_numpy, name)

        def linear(self, rows, weight):
            if weight is last:
                self.heard = rows
            return tinyllm_numpy.linear(rows, weight)

    def heard(params):
        ear = Ear()
        after_block(ear, x, nest(params)["model"]["layers"]["0"], config, 0)
        return ear.heard

    plain = heard(block)
    for name, weight in block.items():
        if f".{place}." in name and weight.ndim == 2 and weight is not last:
            for row in range(len(weight)):
                changed = weight.copy()
                changed[row] += np.random.default_rng(row).standard_normal(weight.shape[1])
                columns = np.any(heard(block | {name: changed}) != plain, axis=0)
                yield (name, row), np.flatnonzero(columns).tolist()


@pytest.mark.parametrize("place", ["self_attn", "mlp"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3", "gemma2", "gpt_neox", "falcon-new"])
def test_what_is_found_is_what_numbers_show(name, place):
    """Rows and columns hang together where a changed row is heard in a column."""
    config = example_config(name)
    params = random_params(config)
    block = {key: x for key, x in params.items() if key.startswith("model.layers.0.")}
    found = by_place(config)[f"model.layers.0.{place}"]
    last = next(axis for axis in found.members if axis[1] == 1)
    group_of = {}
    for (key, axis), which in found.members.items():
        for g, indices in enumerate(which.tolist()):
            group_of |= {(key, axis, i): g for i in indices}
    reached = {g: set() for g in range(len(found))}
    for (key, row), columns in influence(config, block, place):
        groups = {group_of[*last, c] for c in columns}
        assert groups == {group_of[key, 0, row]}
        reached[groups.pop()] |= set(columns)
    for g, columns in reached.items():  # nothing is in a group that nothing connects to it
        assert columns == set(found.members[last][g].tolist())


@given(configs, st.integers(0, 10**6))
def test_a_model_without_groups_is_one_in_which_they_are_zero(xp, config, seed):
    rng = np.random.default_rng(seed)
    params = random_params(config)
    tokens = xp.asarray(TOKENS)
    gone, masked = [], dict(params)
    for groups in find_groups(config):
        if groups.block is None:
            continue
        which = rng.permutation(len(groups))[: rng.integers(len(groups))].tolist()
        gone.append((groups, which))
        for (name, axis), indices in groups.members.items():
            x = np.moveaxis(masked[name].copy(), axis, 0)
            x[indices[which].reshape(-1)] = 0.0
            masked[name] = np.moveaxis(x, 0, axis)
    smaller = without_groups(xp, {name: xp.asarray(x) for name, x in params.items()}, gone)
    new = config_of(smaller, config)
    assert {name: x.shape for name, x in smaller.items()} == param_shapes(new)
    found, _ = decoder_forward(xp, tokens, nest(smaller), new)
    expected, _ = decoder_forward(xp, tokens, tree_of(xp, masked), config)
    expected = xp.to_numpy(expected)
    np.testing.assert_allclose(xp.to_numpy(found), expected, atol=1e-12 * np.abs(expected).max())


@given(configs, st.integers(1, 5))
def test_without_channels_of_the_stream_all_shapes_fit(config, count):
    if type(config.positions).__name__ == "Sinusoidal":
        return
    groups = by_place(config)["model"]
    smaller = without_groups(tinyllm_numpy, random_params(config), [(groups, range(count))])
    new = config_of(smaller, config)
    assert new.d_model == 6 - count
    assert {name: x.shape for name, x in smaller.items()} == param_shapes(new)
    assert np.isfinite(decoder_forward(tinyllm_numpy, TOKENS, nest(smaller), new)[0]).all()


def test_without_a_part_of_a_group_nothing_fits():
    """A group is no larger than it must be: without one of its parameters, shapes contradict."""
    groups = by_place(CONFIG)["model.layers.0.mlp"]
    for axis in groups.members:
        part = type(groups)(members={axis: groups.members[axis]})
        broken = without_groups(tinyllm_numpy, random_params(CONFIG), [(part, [2])])
        with pytest.raises(ValueError, match=r"operands|mismatch|size|shape"):
            decoder_forward(tinyllm_numpy, TOKENS, nest(broken), CONFIG)


def test_without_anything_nothing_changes():
    params = random_params(CONFIG)
    same = without_groups(tinyllm_numpy, params, [(g, []) for g in find_groups(CONFIG)])
    assert all((same[name] == x).all() for name, x in params.items())
    assert config_of(same, CONFIG) == CONFIG


@pytest.mark.parametrize(
    ("name", "part"), [("mixtral", "mixtures of experts"), ("deepseek_v2", "mixtures"),
                       ("tinyllm-latent", "latent attention")],
)  # fmt: skip
def test_what_is_no_plain_block_is_refused_by_name(name, part):
    with pytest.raises(UsageError, match=part):
        find_groups(example_config(name))


@given(st.integers(1, 30), st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=30))
def test_components_are_those_of_a_walk(n, ties):
    ties = [(a % n, b % n) for a, b in ties]
    a, b = np.array(ties, np.int64).reshape(-1, 2).T
    expected = list(range(n))
    for _ in range(n):
        for x, y in ties:
            expected[x] = expected[y] = min(expected[x], expected[y])
    assert connected(n, a, b).tolist() == expected
