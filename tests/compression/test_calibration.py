"""tinyllm.compression.calibration and streaming"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import rngs
from tiny import ROPES, configs, random_params, tiny_config, tree_of
from tinyllm.compression.calibration import TOGETHER, calibration_tokens, change_blocks
from tinyllm.compression.streaming import after_block, embedded, require_decoder, scored
from tinyllm.errors import UsageError
from tinyllm.models.decoder import decoder_forward
from tinyllm.models.trace import traced
from tinyllm.params import nest

INPUTS = {
    **dict.fromkeys(["q_proj", "k_proj", "v_proj"], "input_layernorm"),
    "o_proj": "self_attn.heads",
    **dict.fromkeys(["gate_proj", "up_proj"], "post_attention_layernorm"),
    "down_proj": "mlp.hidden",
}


def given_to(xp, saved, name):
    """What a whole forward pass gave to a matrix: rows."""
    _, _, index, *_, kind, _ = name.split(".")
    activation = f"layers.{index}.{INPUTS[kind]}"
    x = np.asarray(xp.to_numpy(traced(xp, saved, [activation])[activation]))
    return x.reshape(-1, x.shape[-1])


@settings(max_examples=10)
@given(configs, st.integers(1, 6), rngs)
def test_block_after_block_is_the_whole_model(xp, config, T, rng):
    p = tree_of(xp, random_params(config))
    tokens = xp.asarray(rng.integers(0, config.vocab_size, (2, T)))
    x = embedded(xp, tokens, p, config)
    for i in range(config.n_layers):
        x = after_block(xp, x, p["model"]["layers"][str(i)], config, i)
    found, expected = scored(xp, x, p, config), decoder_forward(xp, tokens, p, config)[0]
    np.testing.assert_allclose(xp.to_numpy(found), xp.to_numpy(expected), atol=1e-12)


@pytest.mark.parametrize("gram", [False, True])
def test_moments_are_those_of_what_earlier_changed_blocks_give_to_a_dense_one(xp, gram):
    """Against one whole forward pass for each block, of the model as it is at that moment."""
    config = tiny_config(n_layers=3, positions=ROPES["default"])
    params = {name: xp.asarray(x) for name, x in random_params(config).items()}
    tokens = np.random.default_rng(0).integers(0, config.vocab_size, (5, 4))
    now, seen = dict(params), []

    def change(index, block, moments):
        _, saved = decoder_forward(xp, xp.asarray(tokens), nest(now), config)
        assert block.keys() == {name for name in params if f"layers.{index}." in name}
        assert moments.keys() == {name for name in block if block[name].ndim == 2}
        for name, of_matrix in moments.items():
            x = given_to(xp, saved, name)
            assert of_matrix.count == 20
            np.testing.assert_allclose(of_matrix.norms, np.linalg.norm(x, axis=0), rtol=1e-12)
            if gram:
                np.testing.assert_allclose(of_matrix.gram, x.T @ x, rtol=1e-11, atol=1e-11)
            else:
                assert of_matrix.gram is None
        changed = {name: x * 0.5 for name, x in block.items()}
        now.update(changed)
        seen.append(index)
        return changed

    new = change_blocks(xp, params, config, tokens, change, gram=gram)
    assert seen == [0, 1, 2]
    for name, x in new.items():
        factor = 0.5 if "layers" in name else 1.0
        assert np.array_equal(xp.to_numpy(x), factor * xp.to_numpy(params[name]))


def test_how_many_rows_go_together_is_no_matter():
    import tinyllm_numpy as xp

    config = tiny_config(n_layers=1)
    params = random_params(config)
    tokens = np.random.default_rng(0).integers(0, config.vocab_size, (5, TOGETHER // 2))
    found = {}

    def change(index, block, moments):
        found["streamed"] = moments
        return block

    change_blocks(xp, params, config, tokens, change)
    _, saved = decoder_forward(xp, tokens, nest(params), config)
    for name, moments in found["streamed"].items():
        x = given_to(xp, saved, name)
        np.testing.assert_allclose(moments.squares, np.sum(x * x, axis=0), rtol=1e-12)


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 8), st.integers(0, 5))
def test_samples_are_windows_that_do_not_overlap(N, T, samples, seed):
    if T > N:
        return
    found = calibration_tokens(np.arange(N), T, samples, seed=seed)
    assert np.array_equal(found, found[:, :1] + np.arange(T))
    assert len(np.unique(found)) == found.size
    assert found.dtype == np.int64
    assert len(found) == samples or len(found) >= N // T - 1
    assert np.array_equal(found, calibration_tokens(np.arange(N), T, samples, seed=seed))


def test_the_seed_chooses_the_samples():
    first, second = (calibration_tokens(np.arange(999), 9, 4, seed=s) for s in (0, 1))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(("N", "T", "samples", "line"), [
    (7, 8, 1, "the calibration text has 7 tokens, and one sample takes 8"),
    (0, 1, 1, "has 0 tokens"),
    (9, 0, 1, "seqlen is 0, expected at least 1"),
    (9, 1, 0, "samples is 0, expected at least 1"),
])  # fmt: skip
def test_samples_that_cannot_be_are_one_line(N, T, samples, line):
    with pytest.raises(UsageError, match=line):
        calibration_tokens(np.arange(N), T, samples, seed=0)


def test_a_model_without_blocks_is_refused():
    with pytest.raises(UsageError, match="for decoders, and the model is a int"):
        require_decoder(3)
