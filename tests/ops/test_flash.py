"""tinyllm.ops.flash and flash1: what tinyllm.ops.attention gives, by tiles of any size."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyllm_numpy
from strategies import check_pair, rngs, sizes
from tinyllm.errors import UsageError
from tinyllm.ops import flash_tiles
from tinyllm.ops.attention import attention_backward, attention_forward
from tinyllm.ops.flash import flash_attention_backward, flash_attention_forward
from tinyllm.ops.flash1 import flash_attention1_backward, flash_attention1_forward
from tinyllm.ops.position_mask import PositionMask

FLASH = (flash_attention_forward, flash_attention_backward)
FLASH1 = (flash_attention1_forward, flash_attention1_backward)
both = pytest.mark.parametrize("pair", [FLASH, FLASH1], ids=["flash", "flash1"])


def run(xp, pair, arrays, dy, **options):
    """Return o, dq, dk, dv and dbias, in NumPy."""
    o, saved = pair[0](xp, *(None if a is None else xp.asarray(a) for a in arrays), **options)
    results = [o, *pair[1](xp, xp.asarray(dy), saved)]
    return [None if r is None else xp.to_numpy(r) for r in results]


def expect(results, expected, tolerance):
    for name, got, wanted in zip(("o", "dq", "dk", "dv", "dbias"), results, expected):
        if wanted is None:
            assert got is None, name
        else:
            assert got.shape == wanted.shape, name
            np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance, err_msg=name)


@st.composite
def problems(draw):
    """Arrays, dy and options of attention, with any mask and bias that broadcasts, and a tile."""
    B, K, G, d = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 3)), 3
    T, S, rng = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(rngs)
    q, k, v = (rng.standard_normal(s) for s in ((B, K * G, T, d), (B, K, S, d), (B, K, S, 2)))
    broadcast = st.sampled_from(
        [None, (T, S), (1, S), (T, 1), (K * G, T, S), (B, 1, T, S), (1, K * G, 1, S)]
    )
    bias, mask = draw(broadcast), draw(broadcast)
    options = {
        "mask": None if mask is None else rng.random(mask) < draw(st.sampled_from([0.1, 0.6])),
        "scale": draw(st.sampled_from([None, 0.3])),
        "softcap": draw(st.sampled_from([None, 1.5])),
    }
    if mask is not None and draw(st.booleans()):
        options["mask"] = np.where(options["mask"], rng.standard_normal(mask), -np.inf)
    arrays = [q, k, v, None if bias is None else rng.standard_normal(bias)]
    tile = draw(st.tuples(st.integers(1, T + 3), st.integers(1, S + 3)))
    return arrays, rng.standard_normal((B, K * G, T, 2)), options, tile


@both
@given(problems())
def test_any_tiles_give_what_attention_gives(pair, problem):
    arrays, dy, options, tile = problem
    expected = run(tinyllm_numpy, (attention_forward, attention_backward), arrays, dy, **options)
    expect(run(tinyllm_numpy, pair, arrays, dy, **options, tile=tile), expected, 1e-12)


@both
@settings(max_examples=8)
@given(problems())
def test_only_the_array_api_is_needed(xp, pair, problem):
    arrays, dy, options, tile = problem
    expected = run(tinyllm_numpy, (attention_forward, attention_backward), arrays, dy, **options)
    mask = options.pop("mask")
    options["mask"] = None if mask is None else xp.asarray(mask)
    expect(run(xp, pair, arrays, dy, **options, tile=tile), expected, 1e-12)


@both
@settings(max_examples=10)
@given(problems())
def test_central_differences(pair, problem):
    (q, k, v, bias), _, options, tile = problem
    if bias is not None:  # to the shape of the docstring
        bias = np.array(np.broadcast_to(bias, (*q.shape[:3], k.shape[2])))
    arrays, rng = (q, k, v, bias), np.random.default_rng(0)
    check_pair(tinyllm_numpy, *pair, *arrays, rng=rng, **options, tile=tile)


@both
@given(
    st.integers(1, 9), st.integers(0, 5), st.integers(0, 3), st.booleans(),
    st.sampled_from([None, 1, 3, 20]), st.booleans(), st.tuples(sizes, sizes), rngs,
)  # fmt: skip
def test_a_rule_on_positions_is_the_mask_that_it_describes(
    pair, T, earlier, padding, causal, window, slopes, tile, rng
):
    """Padded rows, keys out of a cache, windows and slopes, without a (T, S) array."""
    S = T + earlier
    keys = np.stack([np.arange(S), np.arange(S) - padding])
    rule = PositionMask(
        queries=keys[:, earlier:], keys=keys, causal=causal, window=window,
        slopes=np.array([0.5, 0.1]) if slopes else None,
    )  # fmt: skip
    arrays = [*(rng.standard_normal((2, h, n, 3)) for h, n in ((2, T), (1, S), (1, S))), None]
    dy = rng.standard_normal((2, 2, T, 3))
    whole = rule.tile(tinyllm_numpy, slice(None), slice(None))
    naive = (attention_forward, attention_backward)
    expected = run(tinyllm_numpy, naive, arrays, dy, mask=whole)
    expect(run(tinyllm_numpy, pair, arrays, dy, mask=rule, tile=tile), expected, 1e-12)


@both
@given(problems(), rngs)
def test_the_order_of_tiles_does_not_matter(pair, problem, rng):
    arrays, dy, options, tile = problem
    expected = run(tinyllm_numpy, pair, arrays, dy, **options, tile=tile)
    with pytest.MonkeyPatch.context() as patch:
        in_order = flash_tiles.tiles
        patch.setattr(
            flash_tiles, "tiles", lambda n, size: list(rng.permutation(in_order(n, size)))
        )
        expect(run(tinyllm_numpy, pair, arrays, dy, **options, tile=tile), expected, 1e-13)


@given(problems())
def test_lse_is_the_logarithm_of_a_rows_sum(problem):
    arrays, _, options, tile = problem
    _, saved = flash_attention_forward(tinyllm_numpy, *arrays, **options, tile=tile)
    # A key of its own with score 0 and value 1 has the probability exp(0 - log(1 + exp lse)).
    q, k, _, bias = arrays
    T, S = q.shape[2], k.shape[2]
    bias = np.zeros((T, S)) if bias is None else bias
    mask = np.zeros((T, S)) if options["mask"] is None else options["mask"]
    mask = np.where(mask, 0.0, -np.inf) if mask.dtype == bool else mask
    added = np.broadcast_to(bias + mask, (*q.shape[:2], T, S))
    added = np.concatenate([added, np.zeros((*q.shape[:3], 1))], axis=-1)
    zero, indicator = np.zeros_like(k[:, :, :1]), np.zeros((*k.shape[:2], S + 1, 1))
    indicator[:, :, -1] = 1.0
    options |= {"mask": None}
    probability, _ = attention_forward(
        tinyllm_numpy, q, np.concatenate([k, zero], axis=2), indicator, added, **options
    )
    np.testing.assert_allclose(1 / (1 + np.exp(saved.lse)), probability[..., 0], rtol=1e-12)
    assert ((saved.lse == -np.inf) == (added[..., :-1] == -np.inf).all(axis=-1)).all()


@both
def test_a_query_that_sees_nothing_gives_zero_and_takes_no_gradient(xp, pair):
    rng = np.random.default_rng(0)
    arrays = [*rng.standard_normal((3, 1, 2, 5, 4)), None]
    mask = np.tril(np.ones((5, 5), bool))
    mask[2] = False
    mask[:, 4] = False
    o, dq, dk, dv, _ = run(xp, pair, arrays, arrays[0], mask=xp.asarray(mask), tile=(2, 2))
    assert np.isfinite([o, dq, dk, dv]).all()
    for result, row in ((o, 2), (dq, 2), (dk, 4), (dv, 4)):
        assert not result[:, :, row].any()
        assert result[:, :, 1].any()


@both
@pytest.mark.parametrize("first", [-1e30, 1e30, -np.inf])
def test_no_score_makes_a_nan(xp, pair, first):
    """Tiles of the lowest, the highest, and no score at all come before and after others.

    Of 1e30 + log 3 float32 keeps 1e30, so there the gradients are finite, and no more.
    """
    scores = np.float32(
        [[first, first, 1.0, 2.0, -1e30, 1e30], [first, first, 0.0, -3.0, 1.0, 2.0]]
    )
    q, k = np.zeros((1, 1, 2, 1), np.float32), np.zeros((1, 1, 6, 1), np.float32)
    v = np.arange(6, dtype=np.float32).reshape(1, 1, 6, 1)
    results = run(xp, pair, [q, k, v, scores], np.ones_like(q), tile=(1, 2))
    naive = (attention_forward, attention_backward)
    expected = run(xp, naive, [q, k, v, scores], np.ones_like(q))
    expect(*((x[:1] if first == 1e30 else x) for x in (results, expected)), 1e-6)
    assert all(np.isfinite(result).all() for result in results)
    assert results[0][0, 0, 0, 0] == (2.0 if first == 1e30 else 5.0)


@both
def test_float32_is_as_attention_in_float32(pair):
    rng = np.random.default_rng(0)
    arrays = [*(rng.standard_normal((1, 2, 100, 16)).astype(np.float32) for _ in range(3)), None]
    dy = rng.standard_normal((1, 2, 100, 16)).astype(np.float32)
    naive = (attention_forward, attention_backward)
    mask = np.tril(np.ones((100, 100), bool))
    expected = run(tinyllm_numpy, naive, arrays, dy, mask=mask)
    expect(run(tinyllm_numpy, pair, arrays, dy, mask=mask, tile=(32, 24)), expected, 5e-6)


@both
def test_a_later_token_changes_no_earlier_output_by_a_single_bit(pair):
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 1, 2, 9, 4))
    mask = PositionMask(queries=np.arange(9), keys=np.arange(9))
    before, _ = pair[0](tinyllm_numpy, q, k, v, mask=mask, tile=(4, 2))
    k[:, :, 5:], v[:, :, 5:] = rng.standard_normal((2, 1, 2, 4, 4))
    after, _ = pair[0](tinyllm_numpy, q, k, v, mask=mask, tile=(4, 2))
    assert np.array_equal(after[:, :, :5], before[:, :, :5])
    assert not np.array_equal(after[:, :, 5:], before[:, :, 5:])


@both
@pytest.mark.parametrize(("window", "tiles"), [(None, 15), (5, 9)])
@pytest.mark.parametrize("kind", ["rule", "bool", "float"])
def test_a_hidden_tile_is_not_computed(pair, window, tiles, kind):
    """Of 5 by 5 tiles of a causal text 15 are seen, and with a window of a tile, two a row."""
    products = []
    counting = SimpleNamespace(**{n: getattr(tinyllm_numpy, n) for n in tinyllm_numpy.__all__})
    counting.matmul = lambda a, b: products.append(1) or tinyllm_numpy.matmul(a, b)
    mask = PositionMask(queries=np.arange(20), keys=np.arange(20), window=window)
    if kind != "rule":
        mask = mask.tile(counting, slice(None), slice(None))
    if kind == "float":
        mask = np.where(mask, 0.0, -np.inf)
    q, k, v = np.random.default_rng(0).standard_normal((3, 1, 1, 20, 4))
    o, saved = pair[0](counting, q, k, v, mask=mask, tile=(4, 4))
    assert len(products) == 2 * tiles
    pair[1](counting, o, saved)
    assert len(products) == 7 * tiles


@both
def test_memory_grows_with_the_text_and_not_with_its_square(pair):
    def peak(N):
        q, k, v = np.random.default_rng(0).standard_normal((3, 1, 1, N, 8), dtype=np.float32)
        mask = PositionMask(queries=np.arange(N), keys=np.arange(N))
        tracemalloc.start()
        try:
            o, saved = pair[0](tinyllm_numpy, q, k, v, mask=mask, tile=(64, 64))
            pair[1](tinyllm_numpy, o, saved)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(64)  # what is made once
    short, long, longer = peak(256), peak(512), peak(1024)
    assert (longer - long) / (long - short) == pytest.approx(2, rel=0.1)
    assert longer < 1024 * 1024 * 4 / 4  # a quarter of one (T, S) array


@pytest.mark.parametrize("tile", [(0, 4), (4, -1)])
def test_a_tile_of_nothing_is_refused(tile):
    q = np.zeros((1, 1, 3, 2))
    with pytest.raises(UsageError, match="expected at least 1 row and 1 column"):
        flash_attention_forward(tinyllm_numpy, q, q, q, tile=tile)


@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (2, 3)])
def test_a_mask_or_bias_of_another_length_is_refused(shape):
    """A longer one would be cut in tiles, and its end not noticed."""
    q = np.zeros((1, 1, 3, 2))
    rule = PositionMask(queries=np.arange(shape[0]), keys=np.arange(shape[1]))
    for name, x in (("bias", np.zeros(shape)), ("mask", np.ones(shape, bool)), ("mask", rule)):
        with pytest.raises(UsageError, match=rf"the {name} is for .* not \(3, 3\)"):
            flash_attention_forward(tinyllm_numpy, q, q, q, **{name: x})
