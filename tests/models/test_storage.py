"""tinyllm.models.storage: what is rounded, how much it takes, and that only rounding is lost."""

import numpy as np
import pytest

import tinyllm
from tinyllm.errors import CheckpointError, UsageError
from tinyllm.models.cost import memory_needed
from tinyllm.models.storage import kept
from tinyllm.ops.quantization import Quantized, dequantize


@pytest.fixture(scope="module")
def shipped():
    return tinyllm.load()


@pytest.mark.parametrize(("storage", "off"), [("int8", 0.05), ("int4", 0.6)])
def test_a_rounded_model_scores_nearly_the_same(shipped, storage, off):
    tokens = np.arange(1, 41)[None]
    model = tinyllm.load(storage=storage)
    expected = shipped.forward(tokens)
    error = np.linalg.norm(model.forward(tokens) - expected) / np.linalg.norm(expected)
    assert 0 < error < off
    assert model.generate("Once", temperature=0, max_tokens=5).tokens


@pytest.mark.parametrize("storage", ["int8", "int4"])
def test_only_what_is_multiplied_is_rounded(shipped, storage):
    model = tinyllm.load(storage=storage)
    for name, x in model.params.items():
        original = shipped.params[name]
        if name.endswith("_proj.weight"):
            assert isinstance(x, Quantized)
            step = np.repeat(x.scales, original.shape[1] // x.scales.shape[1], axis=1)
            assert (np.abs(dequantize(shipped.xp, x) - original) <= 0.5001 * step).all()
        else:
            assert x.shape == original.shape


def test_it_takes_as_little_as_is_said():
    for storage, most in (("int8", 0.3), ("int4", 0.2)):
        model = tinyllm.load(storage=storage)
        kept = sum(
            x.values.nbytes + x.scales.nbytes if isinstance(x, Quantized) else x.nbytes
            for x in model.params.values()
        )
        assert memory_needed(model.config, 0, "float32", storage) == kept
        assert kept < most * memory_needed(model.config, 0, "float32") + 2 * 4096 * 256 * 2


def test_what_was_rounded_has_no_gradient_and_is_not_saved(tmp_path):
    model = tinyllm.load(storage="int8")
    with pytest.raises(UsageError, match="without `storage`"):
        model.loss_and_grads([[1, 2]], [[2, 3]])
    with pytest.raises(UsageError, match="without `storage` to save"):
        model.save(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_float16_keeps_ten_digits_of_two_and_refuses_what_it_has_not(shipped, tmp_path):
    narrow, tokens = tinyllm.load(storage="float16"), np.arange(1, 41)[None]
    for name, x in narrow.params.items():
        assert x.dtype == (np.float16 if x.ndim == 2 else np.float32), name
    expected = shipped.forward(tokens)
    error = np.linalg.norm(narrow.forward(tokens) - expected) / np.linalg.norm(expected)
    assert 0 < error < 2e-3
    assert memory_needed(narrow.config, 0, "float32", "float16") == sum(
        x.nbytes for x in narrow.params.values()
    )
    with np.errstate(over="ignore"):
        large = kept(shipped.xp, "a.weight", np.float32([[np.inf, -6e4]]), dtype="float32",
                     storage="float16")  # fmt: skip
    assert np.isinf(large[0, 0])
    with pytest.raises(CheckpointError, match=r"a.weight has the number 70000, and float16 ends"):
        kept(shipped.xp, "a.weight", np.float32([[1, -7e4]]), dtype="float32", storage="float16")


def test_another_word_is_refused():
    with pytest.raises(UsageError, match="int3"):
        tinyllm.load(storage="int3")
