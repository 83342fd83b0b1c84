"""tinyllm.models.cost: counted by the formulas, and by what arrays really take."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyllm_numpy as xp
from tiny import configs, random_params, tiny_config, tree_of
from tinyllm.errors import UsageError
from tinyllm.inference.kv_cache import make_cache
from tinyllm.models.cost import cache_bytes, check_memory, count_parameters, memory_needed
from tinyllm.models.decoder import decoder_forward
from tinyllm.models.decoder_facts import decoder_flops
from tinyllm.ops.attention import attention_forward


@given(configs)
def test_parameters_are_counted_as_they_are(config):
    params = random_params(config, dtype=np.float32)
    assert count_parameters(config) == sum(p.size for p in params.values())
    assert memory_needed(config, 0, "float32") == sum(p.nbytes for p in params.values())
    assert memory_needed(config, 0, "float64") == 2 * memory_needed(config, 0, "float32")


@given(configs, st.integers(1, 9), st.sampled_from(["float32", "float64"]))
def test_a_kv_cache_takes_what_is_said(config, tokens, dtype):
    cache = make_cache(xp, config, batch=1, capacity=tokens, dtype=dtype)
    taken = sum(array.nbytes for array in [*cache.keys, *cache.values])
    assert cache_bytes(config, tokens, dtype) == taken
    assert cache_bytes(config, 0, dtype) == 0


@given(configs, st.integers(1, 5))
def test_the_arithmetic_is_that_of_the_products_of_a_forward_pass(config, T):
    """Count 2 n m k for every product of matrices; full attention multiplies hidden pairs too."""
    flops = 0

    def count(multiply):
        def counted(a, b):
            nonlocal flops
            y = multiply(a, b)
            flops += 2 * y.size * a.shape[-1]
            return y

        return counted

    class Counting:
        linear = staticmethod(count(lambda x, w: x @ w.T))
        matmul = staticmethod(count(np.matmul))

        def __getattr__(self, name):
            return getattr(xp, name)

    counting: Any = Counting()
    counting.attention_forward = partial(attention_forward, counting)
    p = tree_of(xp, random_params(config))
    decoder_forward(counting, np.zeros((1, T), np.int64), p, config)
    itself, each_before = decoder_flops(config)
    assert flops == T * (itself + T * each_before)


def test_memory_is_refused_with_the_way_out():
    config = tiny_config()
    enough = memory_needed(config, 7, "float32")
    check_memory(config, 7, "float32", "here", None, enough)
    check_memory(config, 8, "float32", "here", None, None)
    said = r"here: needs about .* of memory are available; --force .*, --storage bfloat16 takes"
    with pytest.raises(UsageError, match=said):
        check_memory(config, 8, "float32", "here", None, enough)
    with pytest.raises(UsageError, match=r"--force tries all the same$"):
        check_memory(config, 800, "float32", "here", "bfloat16", enough)
