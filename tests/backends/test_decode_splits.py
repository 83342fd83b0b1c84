"""Into how many parts attention splits its keys."""

from hypothesis import given
from hypothesis import strategies as st

from tinyllm_cuda.decode_splits import MERGE, MOST, START, choose_splits

counts = st.integers(1, 5000)


def time(splits, tiles, heads, resident):
    waves = -(-heads * splits // resident)
    return waves * (-(-tiles // splits) + START) + MERGE * splits


@given(counts, st.integers(1, 64), st.integers(1, 800))
def test_no_other_number_takes_less_time(tiles, heads, resident):
    chosen = choose_splits(tiles, heads, resident)
    assert 1 <= chosen <= min(tiles, MOST)
    least = min(time(s, tiles, heads, resident) for s in range(1, min(tiles, MOST) + 1))
    assert time(chosen, tiles, heads, resident) == least


def test_a_short_text_is_not_split():
    assert choose_splits(1, 8, 132) == 1
    assert choose_splits(0, 8, 132) == 1


def test_a_long_text_fills_whole_waves():
    splits = choose_splits(tiles=4096, heads=8, resident=132 * 4)
    assert splits * 8 <= 132 * 4
    assert splits * 8 > 0.9 * 132 * 4


def test_many_heads_fill_the_gpu_without_splits():
    assert choose_splits(tiles=100, heads=528, resident=528) == 1
