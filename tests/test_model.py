"""tinyllm.model: load, forward, trace, gradients, save; and real weights"""

import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings

import tinyllm
import tinyllm_numpy
from conftest import ROOT, data
from strategies import rngs
from tiny import configs, random_params, tiny_config
from tinyllm.backend import get_backend
from tinyllm.checkpoints import write_checkpoint, write_llama2c, write_meta
from tinyllm.errors import CheckpointError, TokenizerError, UsageError
from tinyllm.model import Model
from tinyllm.models.config import param_shapes
from tinyllm.models.config_json import write_config_json
from tinyllm.models.cost import memory_needed
from tinyllm.models.rope import Rope
from tinyllm.shown import quantity

XP = get_backend("numpy")


def saved(folder, config=None, dtype=np.float32, **changes):
    config = config or tiny_config()
    params = random_params(config, dtype=dtype)
    write_checkpoint(folder, write_config_json(config, "float32") | changes, params)
    return Model(config, params, xp=XP)


def test_a_saved_model_loads_again(tmp_path):
    model = saved(tmp_path / "a")
    loaded = tinyllm.load(tmp_path / "a")
    assert loaded.config == model.config
    tokens = [[1, 2, 3]]
    np.testing.assert_array_equal(loaded.forward(tokens), model.forward(tokens))
    loaded.save(tmp_path / "b")
    again = tinyllm.load(tmp_path / "b")
    assert again.config == model.config
    np.testing.assert_array_equal(again.forward(tokens), model.forward(tokens))


def test_float32_weights_are_mapped_not_copied(tmp_path):
    saved(tmp_path)
    params = tinyllm.load(tmp_path).params
    assert not any(p.flags.owndata or p.flags.writeable for p in params.values())


def test_the_dtype_is_that_of_the_computation(tmp_path):
    saved(tmp_path)
    for dtype in ("float32", "float64"):
        assert tinyllm.load(tmp_path, dtype=dtype).forward([[1, 2]]).dtype == dtype
    with pytest.raises(UsageError, match="expected float32 or float64"):
        tinyllm.load(tmp_path, dtype="float16")


def test_eos_ids_come_from_everywhere(tmp_path):
    saved(tmp_path, eos_token_id=[3])
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [4, 5]}')
    assert tinyllm.load(tmp_path).eos_ids == {3, 4, 5}


def test_what_is_no_hugging_face_folder_says_how_to_come_to_one(tmp_path):
    config, params = tiny_config(positions=Rope(theta=1e4), head_dim=2, d_model=8), {}
    params = random_params(config, dtype=np.float32)
    plain = write_config_json(config, "float32") | {"bos_token_id": 1, "eos_token_id": 2}
    write_checkpoint(tmp_path / "hf", plain, params)
    write_llama2c(tmp_path / "model.bin", plain, params)
    write_meta(tmp_path / "meta", plain, params)
    for name in ("model.bin", "meta"):
        with pytest.raises(CheckpointError, match=r"python -m tinyllm.convert makes"):
            tinyllm.load(tmp_path / name)
    for name in ("model.safetensors", "config.json"):
        with pytest.raises(CheckpointError, match="give the folder that it lies in"):
            tinyllm.load(tmp_path / "hf" / name)
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="expected a model's folder"):
        tinyllm.load(tmp_path / "x")


def test_more_memory_than_there_is_is_refused_with_both_numbers(tmp_path, monkeypatch):
    config = saved(tmp_path).config
    needed = memory_needed(config, 0, "float32")
    monkeypatch.setattr(tinyllm_numpy, "free_memory", lambda: needed)
    tinyllm.load(tmp_path)
    numbers = f"{quantity(needed * 2, 'B')} in float64, and {quantity(needed, 'B')} of memory"
    with pytest.raises(UsageError, match=f"needs about {numbers} are available; --force"):
        tinyllm.load(tmp_path, dtype="float64")
    with pytest.raises(UsageError, match="--force"):
        tinyllm.load(tmp_path, context=10)
    tinyllm.load(tmp_path, dtype="float64", context=10, force=True)
    monkeypatch.setattr(tinyllm_numpy, "free_memory", lambda: None)
    tinyllm.load(tmp_path, dtype="float64")


class TestStorage:
    """Matrices in 16 bits: mapped, never widened whole, and the same scores."""

    def test_bfloat16_stays_a_view_of_the_file_and_scores_alike(self, tmp_path):
        saved(tmp_path, tiny_config(family="qwen2", qkv_bias=True), dtype=ml_dtypes.bfloat16)
        wide, narrow = tinyllm.load(tmp_path), tinyllm.load(tmp_path, storage="bfloat16")
        for name, x in narrow.params.items():
            assert x.dtype == (ml_dtypes.bfloat16 if x.ndim == 2 else np.float32), name
            assert x.ndim < 2 or not x.flags.owndata
        tokens = [[1, 2, 3, 4]]
        np.testing.assert_allclose(narrow.forward(tokens), wide.forward(tokens), atol=1e-5)
        options = {"temperature": 0, "max_tokens": 5}
        assert (
            narrow.generate([1, 2], **options).tokens
            == narrow.generate([1, 2], use_cache=False, **options).tokens
            == wide.generate([1, 2], **options).tokens
        )
        logits, seen = narrow.trace(tokens, ["layers.0.mlp"])
        assert seen["layers.0.mlp"].dtype == logits.dtype == np.float32

    def test_a_float32_file_is_rounded(self, tmp_path):
        model = saved(tmp_path)
        narrow = tinyllm.load(tmp_path, storage="bfloat16")
        name = "model.layers.0.mlp.up_proj.weight"
        rounded = model.params[name].astype(ml_dtypes.bfloat16)
        np.testing.assert_array_equal(narrow.params[name], rounded)

    def test_it_saves_and_loads_again(self, tmp_path):
        saved(tmp_path / "a", dtype=ml_dtypes.bfloat16)
        narrow = tinyllm.load(tmp_path / "a", storage="bfloat16")
        narrow.save(tmp_path / "b")
        again = tinyllm.load(tmp_path / "b", storage="bfloat16")
        np.testing.assert_array_equal(again.forward([[1, 2]]), narrow.forward([[1, 2]]))

    def test_what_it_cannot_do_is_refused(self, tmp_path):
        saved(tmp_path, dtype=ml_dtypes.bfloat16)
        with pytest.raises(UsageError, match="expected float32 or bfloat16"):
            tinyllm.load(tmp_path, storage="int3")
        with pytest.raises(UsageError, match="widened to float32"):
            tinyllm.load(tmp_path, storage="bfloat16", dtype="float64")
        with pytest.raises(UsageError, match="load without `storage`"):
            tinyllm.load(tmp_path, storage="bfloat16").loss_and_grads([[1]], [[2]])
        assert tinyllm.load(tmp_path, storage="float32").params["model.norm.weight"].dtype == "f4"


def test_a_parameter_is_replaced_not_written_to():
    config = tiny_config()
    model = Model(config, random_params(config), xp=XP)
    options = {"temperature": 0, "max_tokens": 3}
    model.generate([1], **options)
    name = "lm_head.weight"
    with pytest.raises(ValueError, match="read-only"):
        model.params[name][0] = 0
    model.params[name] = model.params[name][::-1]
    fresh = Model(config, model.params, xp=XP)
    np.testing.assert_array_equal(model.forward([[1]]), fresh.forward([[1]]))
    assert model.generate([1], **options).tokens == fresh.generate([1], **options).tokens


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux's own accounts")
def test_loading_takes_the_memory_of_the_weights_and_no_more(tmp_path):
    """Mapped weights take none; converted ones themselves, and at most one of the file's."""
    program = """if True:
        import sys, tinyllm, tinyllm.model

        def now(file, key):
            with open(f"/proc/self/{file}") as lines:
                return next(int(line.split()[1]) for line in lines if line.startswith(key))

        private, resident = now("smaps_rollup", "Private_Dirty:"), now("status", "VmRSS:")
        model = tinyllm.load(sys.argv[1], storage=sys.argv[2] or None)
        if sys.argv[2]:
            model.generate([1, 2, 3], max_tokens=3)
        print(now("smaps_rollup", "Private_Dirty:") - private, now("status", "VmHWM:") - resident)
    """
    config = tiny_config(vocab_size=25_000, d_model=64, d_ff=4000, n_layers=10)
    weights = {n: np.full(s, 0.5, ml_dtypes.bfloat16) for n, s in param_shapes(config).items()}
    size = sum(4 * x.size for x in weights.values()) / 1024
    largest = max(4 * x.size for x in weights.values()) / 1024
    assert size > 40_000
    for name, dtype, storage in (
        ("mapped", np.float32, ""),
        ("converted", ml_dtypes.bfloat16, ""),
        ("narrow", ml_dtypes.bfloat16, "bfloat16"),
    ):
        folder, config_json = tmp_path / name, write_config_json(config, "float32")
        write_checkpoint(folder, config_json, {n: x.astype(dtype) for n, x in weights.items()})
        done = subprocess.run(
            [sys.executable, "-c", program, folder, storage],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        private, peak = map(int, done.stdout.split())
        if name == "mapped":
            assert private < 0.05 * size
        elif name == "narrow":  # the file itself, mapped, and room for blocks and a KV cache
            assert private < 20_000
            assert peak < 0.5 * size + 30_000
        else:
            assert 0.9 * size < private < 1.05 * size
            assert peak < 1.1 * size + largest


def test_loading_says_how_far_it_is(tmp_path):
    saved(tmp_path, tiny_config(vocab_size=2**15, d_model=8))  # embedding and head of a megabyte
    lines = []
    tinyllm.load(tmp_path, report=lines.append)
    assert lines == [f"loading 2.1 MB in float32: {done} of 21 tensors" for done in (0, 20)]


def test_a_tokenizer_of_another_model_is_refused():
    class Large:
        vocab_size, eos_id = 12, None

    with pytest.raises(CheckpointError, match="ids up to 11, but config and embedding have 11"):
        Model(tiny_config(), random_params(tiny_config()), xp=XP, tokenizer=Large())


def test_saving_beside_another_tokenizer_touches_nothing(tmp_path):
    model = tinyllm.load()
    with pytest.raises(UsageError, match="name is empty"):
        model.save("")
    saved(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"theirs")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TokenizerError, match=r"another tokenizer's tokenizer.model"):
        model.save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("method", ["loss_and_grads", "logprobs"])
def test_targets_have_the_shape_of_the_tokens(method):
    model = Model(tiny_config(), random_params(tiny_config()), xp=XP)
    for targets in ([[1, 2], [3, 4], [5, 6]], [[1, 2, 3]], [[1, 2], [3, 4]]):
        shapes = rf"targets have shape \({len(targets)}, {len(targets[0])}\), and tokens \(2, 3\)"
        with pytest.raises(UsageError, match=shapes):
            getattr(model, method)([[1, 2, 3], [4, 5, 6]], targets)


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        ([[1, 2], [3]], "rows of different lengths"),
        ([[]], r"shape \(1, 0\): there is none"),
        ([[11]], "token id 11"),
        ([[-1]], "token id -1"),
        ([1, 2], r"shape \(2,\)"),
        ([[0.5]], "dtype float64"),
        ([[True]], "dtype bool"),
    ],
)
def test_tokens_are_checked_where_they_enter(tokens, says):
    model = Model(tiny_config(), random_params(tiny_config()), xp=XP)
    with pytest.raises(UsageError, match=says):
        model.forward(tokens)


@settings(max_examples=20)
@given(configs, rngs)
def test_the_gradient_descends(config, rng):
    """One small step against the gradient lowers the loss by its squared length."""
    params = random_params(config)
    tokens, targets = rng.integers(0, config.vocab_size, (2, 2, 4))
    targets[0, 0] = -100
    loss, grads = Model(config, params, xp=XP).loss_and_grads(tokens, targets)
    assert set(grads) == set(params)
    squared = sum(float((g * g).sum()) for g in grads.values())
    step = 1e-7 / max(squared, 1.0) ** 0.5
    moved = {name: params[name] - step * grads[name] for name in params}
    lower, _ = Model(config, moved, xp=XP).loss_and_grads(tokens, targets)
    assert loss - lower == pytest.approx(step * squared, rel=1e-3, abs=1e-12)


def test_trace_gives_logits_and_activations():
    model = Model(tiny_config(), random_params(tiny_config()), xp=XP)
    logits, seen = model.trace([[1, 2]], ["layers.1.self_attn.probs", "norm"])
    np.testing.assert_array_equal(logits, model.forward([[1, 2]]))
    assert {name: a.shape for name, a in seen.items()} == {
        "layers.1.self_attn.probs": (1, 4, 2, 2),
        "norm": (1, 2, 6),
    }


def test_an_unknown_attribute_of_the_package():
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        tinyllm.lode  # noqa: B018
    assert set(tinyllm.__all__) <= set(dir(tinyllm))
    assert tinyllm.errors.TinyllmError


def test_import_is_light():
    program = "import sys, tinyllm; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "False\n"


class TestStories:
    """A real trained Llama with grouped queries, and the text that llama2.c makes of it."""

    @pytest.fixture
    def folder(self):
        return data("models/stories260K")

    def test_greedy_text_byte_for_byte(self, folder):
        expected = (folder / "expected_greedy_200steps.txt").read_bytes()
        result = tinyllm.load(folder).generate("", max_tokens=200, temperature=0)
        assert result.text.encode() == expected
        assert len(result.tokens) == 200

    def test_a_continuation_keeps_its_leading_space(self, folder):
        text = (folder / "expected_greedy_200steps.txt").read_text()
        result = tinyllm.load(folder).generate(text[:16], max_tokens=20, temperature=0)
        assert text[16:].startswith(result.text)

    def test_saved_and_loaded_again(self, folder, tmp_path):
        model = tinyllm.load(folder)
        model.save(tmp_path)
        again = tinyllm.load(tmp_path)
        prompt = "One day, a girl"
        assert (
            again.generate(prompt, seed=1, max_tokens=30).text
            == model.generate(prompt, seed=1, max_tokens=30).text
        )

    def test_float64_agrees(self, folder):
        tokens = [list(range(3, 60))]
        narrow, wide = (
            tinyllm.load(folder, dtype=d).forward(tokens) for d in ("float32", "float64")
        )
        assert np.abs(narrow - wide).max() < 1e-4
