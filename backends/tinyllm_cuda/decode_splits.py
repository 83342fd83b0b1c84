"""Into how many parts to split the keys of a text, so that its attention keeps the GPU busy."""

START = 2.0  # what it takes to start a block and to merge what its threads found
MERGE = 0.1  # what it takes to merge the result of one block more
MOST = 64  # blocks to a head


def choose_splits(tiles: int, heads: int, resident: int) -> int:
    """Return the number of blocks s for each head that takes the least time, in times of a tile.

    ⌈heads · s / resident⌉ · (⌈tiles / s⌉ + START) + MERGE · s

    A head has `tiles` tiles of keys, and the GPU runs `resident` blocks side by side, in waves. Of
    equals it is the fewest. Split keys are Flash-Decoding's (Dao et al. 2023), the rule is like
    flashinfer's.
    """

    def time(splits: int) -> float:
        waves = -(-heads * splits // resident)
        return waves * (-(-tiles // splits) + START) + MERGE * splits

    return min(range(1, max(1, min(tiles, MOST)) + 1), key=time)
