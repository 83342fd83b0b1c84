"""tinyllm.models.positions, seen in what a whole model computes."""

import numpy as np
import pytest

from strategies import check_pair
from tiny import POSITIONS, ROPES, random_params, tiny_config, tree_of
from tinyllm.inference.kv_cache import make_cache
from tinyllm.inference.session import Session
from tinyllm.models.config import param_shapes
from tinyllm.models.decoder import decoder_backward, decoder_forward, head_forward
from tinyllm.models.positions import (
    WITHOUT_NUMBERS,
    Alibi,
    Learned,
    Sinusoidal,
    describe_positions,
    positions_stay,
)
from tinyllm.models.stack import hidden_states
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
        assert ("model.embed_positions.weight" in shapes) == (name in ("learned", "offset"))
    config = tiny_config(positions=Learned(), max_seq_len=9)
    assert param_shapes(config)["model.embed_positions.weight"] == (9, 6)


def test_only_dynamic_scaling_moves_positions_that_were_computed():
    assert [name for name in POSITIONS if not positions_stay(POSITIONS[name])] == ["dynamic"]


def test_every_way_has_a_name_and_rope_its_numbers():
    assert list(WITHOUT_NUMBERS) == [
        "sinusoidal", "learned", "alibi", "falcon_alibi", "none",
    ]  # fmt: skip
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


@pytest.mark.parametrize("name", WITHOUT_NUMBERS)
class TestEveryWay:
    """The laws of a decoder, for each way by itself: elsewhere they are drawn at random."""

    def config(self, name, **changes):
        changes = {"windows": (None, 3), "norm_eps": 0.1, **changes}
        return tiny_config(positions=WITHOUT_NUMBERS[name], embedding_scale=1.5, **changes)

    def logits(self, xp, config, params, tokens):
        p = tree_of(xp, params)
        return xp.to_numpy(decoder_forward(xp, xp.asarray(tokens), p, config)[0])

    def test_the_gradient_of_every_parameter(self, xp, name):
        config = self.config(name, max_seq_len=7, tie_embeddings=True)
        params = random_params(config)

        def forward(xp, *weights):
            p = tree_of(xp, dict(zip(params, weights)))
            return decoder_forward(xp, xp.asarray(TOKENS), p, config)

        def backward(xp, dy, saved):
            grads = decoder_backward(xp, dy, saved)[1]
            assert set(grads) == set(params)
            return tuple(grads[name] for name in params)

        rng = np.random.default_rng(0)
        forward.__doc__ = "tokens (B, T) -> logits (B, T, V)"
        check_pair(xp, forward, backward, *params.values(), rng=rng)

    def test_a_later_token_changes_no_earlier_score(self, xp, name):
        config = self.config(name)
        params, later = random_params(config), TOKENS.copy()
        later[:, 3:] += 1
        before, after = (self.logits(xp, config, params, t)[:, :3] for t in (TOKENS, later))
        np.testing.assert_array_equal(after, before)

    @pytest.mark.parametrize("windows", [(None, 3), (2, 3)], ids=["whole", "rolling"])
    def test_a_cache_gives_the_scores_of_the_whole_text(self, xp, name, windows):
        config = self.config(name, windows=windows)
        params, tokens = random_params(config), np.concatenate([TOKENS, TOKENS], axis=1)
        p, kv = tree_of(xp, params), make_cache(xp, config, batch=2, capacity=10, dtype=xp.float64)
        parts = [
            hidden_states(xp, xp.asarray(part), p, config, kv=kv)
            for part in np.split(tokens, [4, 5, 6], axis=1)
        ]
        scores = xp.to_numpy(head_forward(xp, xp.concat(parts, axis=1), p)[0])
        np.testing.assert_allclose(scores, self.logits(xp, config, params, tokens), rtol=1e-12)

    def test_padding_changes_no_score(self, xp, name):
        config = self.config(name)
        params, prompts = random_params(config), [[1, 5, 2, 9], [3], [7, 7]]
        p = tree_of(xp, params)
        batch = Session(xp, p, config, prompts, max_tokens=1)
        scores = [batch.prefill(), batch.step([4, 5, 6])]
        for i, prompt in enumerate(prompts):
            alone = self.logits(xp, config, params, np.array([[*prompt, 4 + i]]))
            np.testing.assert_allclose(scores[0][i], alone[0, -2], rtol=1e-12)
            np.testing.assert_allclose(scores[1][i], alone[0, -1], rtol=1e-12)
