"""tinyllm.ops.flash against PyTorch's scaled_dot_product_attention and its gradients."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracles.test_torch import check
from oracles.torch_cases import F, queries_keys_values
from strategies import rngs, sizes
from tinyllm.ops.flash import flash_attention_backward, flash_attention_forward
from tinyllm.ops.flash1 import flash_attention1_backward, flash_attention1_forward
from tinyllm.ops.position_mask import PositionMask

pytestmark = pytest.mark.parity


@pytest.mark.parametrize(
    "pair",
    [
        (flash_attention_forward, flash_attention_backward),
        (flash_attention1_forward, flash_attention1_backward),
    ],
    ids=["flash", "flash1"],
)
@given(st.data(), st.booleans(), st.tuples(sizes, sizes), rngs)
def test_flash_attention_is_torch_s_own(pair, data, causal, tile, rng):
    def oracle(q, k, v, bias, *, mask, tile):
        options = {"attn_mask": bias, "is_causal": causal, "enable_gqa": True}
        return F.scaled_dot_product_attention(q, k, v, **options)

    (B, K, G, T, S), (q, k, v) = queries_keys_values(data.draw, rng)
    bias = None if causal else rng.standard_normal((B, K * G, T, S))
    mask = PositionMask(queries=np.arange(T), keys=np.arange(S)) if causal else None
    check(*pair, [q, k, v, bias], {"mask": mask, "tile": tile}, oracle, rng=rng)
