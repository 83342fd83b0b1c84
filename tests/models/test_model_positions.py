"""tinyllm.models.positions, seen in what a whole model computes."""

import numpy as np
import pytest

from tiny import POSITIONS, ROPES, random_params, tiny_config, tree_of
from tinyllm.models.config import param_shapes
from tinyllm.models.decoder import decoder_forward
from tinyllm.models.positions import (
    WITHOUT_NUMBERS,
    Alibi,
    Learned,
    Sinusoidal,
    describe_positions,
    positions_stay,
)
from tinyllm.models.trace import traced
from tinyllm.ops.alibi import alibi_slopes

TOKENS = np.array([[1, 5, 2, 9, 9], [3, 3, 0, 7, 1]])


def run(xp, names, **changes):
    """Return a model's parameters, and activations by name."""
    config = tiny_config(**changes)
    params = random_params(config)
    _, saved = decoder_forward(xp, xp.asarray(TOKENS), tree_of(xp, params), config)
    return params, {name: xp.to_numpy(x) for name, x in traced(xp, saved, names).items()}


@pytest.mark.parametrize(("positions", "slopes"), [(Alibi(), alibi_slopes(4)), (None, np.zeros(4))])
def test_alibi_is_in_the_scores_and_none_is_nowhere(xp, positions, slopes):
    names = [f"layers.1.self_attn.{name}" for name in ("q", "k", "probs")]
    _, seen = run(xp, names, positions=positions, window=4)
    q, k, probs = (seen[name] for name in names)
    scores = np.einsum("bhtd,bhsd->bhts", q, np.repeat(k, 2, axis=1)) / 2  # √4 features
    for i in range(5):
        for j in range(5):
            scores[:, :, i, j] -= slopes * (i - j) if 0 <= i - j < 4 else np.inf
    expected = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    np.testing.assert_allclose(probs, expected, atol=1e-13)


def test_what_is_added_to_the_embedding(xp):
    for positions in (Alibi(), Learned(), Sinusoidal()):
        params, seen = run(xp, ["embed_tokens"], positions=positions, embedding_scale=2.5)
        expected = 2.5 * params["model.embed_tokens.weight"][TOKENS]
        if positions == Learned():
            expected = expected + params["model.embed_positions.weight"][:5]
        if positions == Sinusoidal():
            angles = np.arange(5)[:, None] / 10000 ** (np.arange(0, 6, 2) / 6)
            expected[..., ::2] += np.sin(angles)
            expected[..., 1::2] += np.cos(angles)
        np.testing.assert_allclose(seen["embed_tokens"], expected, atol=1e-13)


def test_only_learned_positions_are_parameters():
    for name, positions in POSITIONS.items():
        shapes = param_shapes(tiny_config(positions=positions))
        assert ("model.embed_positions.weight" in shapes) == (name == "learned")
    config = tiny_config(positions=Learned(), max_seq_len=9)
    assert param_shapes(config)["model.embed_positions.weight"] == (9, 6)


def test_only_dynamic_scaling_moves_positions_that_were_computed():
    assert [name for name in POSITIONS if not positions_stay(POSITIONS[name])] == ["dynamic"]


def test_every_way_has_a_name_and_rope_its_numbers():
    assert list(WITHOUT_NUMBERS) == ["sinusoidal", "learned", "alibi", "none"]
    assert [describe_positions(p) for p in WITHOUT_NUMBERS.values()] == [
        {"type": name} for name in WITHOUT_NUMBERS
    ]
    assert describe_positions(ROPES["linear"]) == {
        "type": "rope", "kind": "linear", "theta": 100.0, "factor": 3.0,
    }  # fmt: skip


def test_scores_in_float32_stay_float32(xp):
    for positions in POSITIONS.values():
        config = tiny_config(positions=positions, embedding_scale=1.5)
        p = tree_of(xp, random_params(config, dtype=np.float32))
        logits, _ = decoder_forward(xp, xp.asarray(TOKENS), p, config)
        assert logits.dtype == xp.float32
