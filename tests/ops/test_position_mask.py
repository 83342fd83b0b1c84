"""tinyllm.ops.position_mask"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyllm_numpy
from strategies import rngs
from tinyllm.ops.alibi import alibi_slopes
from tinyllm.ops.attention import attention_mask
from tinyllm.ops.position_mask import PositionMask

ALL = slice(None)


@st.composite
def rules(draw):
    """Any positions: in order, padded in front, or in no order at all."""
    rng, B = draw(rngs), draw(st.sampled_from([None, 1, 3]))
    shape = lambda n: (n,) if B is None else (B, n)
    T, S = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    if draw(st.booleans()):
        queries, keys = (rng.integers(-2, 12, shape(n)) for n in (T, S))
    else:
        lead = 0 if B is None else rng.integers(0, 3, (B, 1))
        keys = np.arange(S + T) - lead
        queries = keys[..., S:]
    return PositionMask(
        queries=queries, keys=keys, causal=draw(st.booleans()),
        window=draw(st.sampled_from([None, 1, 3, 9])),
    )  # fmt: skip


@given(rules(), st.integers(1, 9), st.integers(1, 9))
def test_tiles_are_parts_of_the_mask_and_what_is_hidden_is_invisible(xp, rule, Br, Bc):
    (T, S), queries, keys = rule.shape, rule.queries, rule.keys
    if queries.ndim == 2:
        queries, keys = queries[:, None], keys[:, None]
    expected = attention_mask(tinyllm_numpy, queries, keys, causal=rule.causal, window=rule.window)
    for i, j in (
        (slice(t, t + Br), slice(s, s + Bc)) for t in range(0, T, Br) for s in range(0, S, Bc)
    ):
        tile, wanted = rule.tile(xp, i, j), expected[..., i, j]
        if tile is None:
            assert wanted.all()
        else:
            assert np.array_equal(xp.to_numpy(tile), wanted)
        assert not (rule.hides(xp, i, j) and wanted.any())


@pytest.mark.parametrize("window", [None, 4, 7])
@pytest.mark.parametrize("causal", [True, False])
def test_in_a_text_in_order_a_tile_is_hidden_exactly_where_nothing_is_seen(causal, window):
    positions = np.arange(-6, 20)
    rule = PositionMask(queries=positions, keys=positions, causal=causal, window=window)
    mask = rule.tile(tinyllm_numpy, ALL, ALL)
    parts = [slice(start, start + 4) for start in range(0, 26, 4)]
    for i in parts:
        for j in parts:
            assert rule.hides(tinyllm_numpy, i, j) == (not mask[i, j].any()), (i, j)
            assert (rule.tile(tinyllm_numpy, i, j) is None) == mask[i, j].all(), (i, j)


def test_slopes_make_alibi(xp):
    slopes = xp.asarray(alibi_slopes(2))
    rule = PositionMask(queries=np.arange(1, 3), keys=np.arange(3), slopes=slopes)
    assert xp.to_numpy(rule.tile(xp, ALL, ALL)).tolist() == [
        [[-0.0625, 0.0, -np.inf], [-0.125, -0.0625, 0.0]],
        [[-0.00390625, 0.0, -np.inf], [-0.0078125, -0.00390625, 0.0]],
    ]


def test_of_no_texts_nothing_is_seen():
    none = np.zeros((0, 4), int)
    rule = PositionMask(queries=none, keys=none)
    assert rule.hides(tinyllm_numpy, ALL, ALL)
