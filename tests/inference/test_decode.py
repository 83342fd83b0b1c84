"""tinyllm.inference.decode: kernels for one token give what the portable code gives."""

from dataclasses import fields, replace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyllm
import tinyllm_numpy
from conftest import data
from emulator.backend import EmulatedBackend
from emulator.module import COMPILER
from strategies import rngs
from tiny import POSITIONS, random_params, tiny_config, tree_of
from tinyllm.decode_plan import Drawing
from tinyllm.errors import TinyllmError, UsageError
from tinyllm.inference.decode import _LLAMA, compiled_reader, decode_plan
from tinyllm.inference.kv_cache import KVCache, RollingKVCache
from tinyllm.inference.session import Session
from tinyllm.models.config import DecoderConfig
from tinyllm.models.decoder import decoder_forward
from tinyllm.models.experts import Experts
from tinyllm.ops.quantization import dequantize, quantize
from tinyllm.ops.routing import Routing
from tinyllm.params import nest
from tinyllm_cuda.decode import compile_decode

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++ to compile kernels with")
BF16, OF_HEADS = ml_dtypes.bfloat16, {"n_heads": 4, "n_kv_heads": 2, "head_dim": 8}


def llama(**changes):
    """A tiny Llama whose sizes divide into nothing, with shared heads."""
    sizes = {"vocab_size": 37, "d_model": 32, "d_ff": 51, "norm_eps": 1e-5, **OF_HEADS}
    return tiny_config(**{**sizes, **changes})


def mixtures(first=0, shared_d_ff=0, **routing):
    routing = Routing(**{"k": 2, "renormalise": True, **routing})
    return Experts(n_experts=5, d_ff=32, first=first, shared_d_ff=shared_d_ff, routing=routing)


def stored(params, storage):
    """Keep the matrices in another format, and say what they then are."""
    kept, exact = {}, {}
    for name, x in params.items():
        kept[name] = exact[name] = x
        if x.ndim == 2 and storage in ("int8", "int4") and name.endswith("_proj.weight"):
            if x.shape[1] % 32 == 0:
                kept[name] = quantize(x, bits=int(storage[3:]))
                exact[name] = dequantize(tinyllm_numpy, kept[name])
        elif x.ndim == 2 and storage == "float16":
            kept[name] = x.astype(np.float16)
            exact[name] = kept[name].astype(np.float32)
        elif x.ndim == 2 and storage != "float32":
            kept[name] = x.astype(BF16)
            exact[name] = kept[name].astype(np.float32)
    return kept, exact


def expect_equal_steps(config, prompt, tokens, *, seed=0, storage="float32", order="forward"):
    """Read a prompt by the portable code and tokens by kernels; compare with one pass over all."""
    kept, exact = stored(random_params(config, seed, np.float32), storage)
    text = np.array([[*prompt, *tokens]])
    wanted = decoder_forward(tinyllm_numpy, text, nest(exact), config)[0][0]
    xp = EmulatedBackend(order)
    session = Session(xp, nest(kept), config, [prompt], max_tokens=len(tokens))
    got = [session.prefill()[0], *(session.step([token])[0] for token in tokens)]
    assert xp.steps, "the portable code ran"
    assert xp.steps[0] is not None, "the portable code ran"
    error = np.abs(np.array(got) - wanted[len(prompt) - 1 :]).max()
    assert error <= 1e-5 * np.abs(wanted).max()


configs = st.builds(
    lambda heads, biases, positions, windows, tied, scale: llama(
        n_heads=heads[0], n_kv_heads=heads[1], qkv_bias=biases, o_bias=biases, mlp_bias=biases,
        positions=POSITIONS[positions], windows=windows, tie_embeddings=tied, attention_scale=scale,
    ),
    st.sampled_from([(1, 1), (4, 1), (4, 2), (3, 3)]), st.booleans(),
    st.sampled_from(["default", "linear", "llama3", "yarn"]),
    st.sampled_from([(None, None), (2, 2), (None, 3), (5, 9)]), st.booleans(),
    st.sampled_from([None, 0.5]),
)  # fmt: skip


@settings(max_examples=20)
@given(configs, st.integers(1, 9), st.integers(1, 7), rngs)
def test_a_step_is_the_portable_code(config, prompt, steps, rng):
    ids = rng.integers(0, config.vocab_size, prompt + steps).tolist()
    expect_equal_steps(config, ids[:prompt], ids[prompt:])


@pytest.mark.parametrize("prompt", [1, 2, 31, 32, 33, 63, 64, 65, 127, 137])
def test_prompts_about_the_lengths_of_tiles(prompt):
    ids = np.random.default_rng(prompt).integers(0, 37, prompt + 3).tolist()
    expect_equal_steps(llama(), ids[:prompt], ids[prompt:], order="shuffled")


@pytest.mark.parametrize("storage", ["bfloat16", "float16", "int8", "int4"])
def test_stored_weights_give_what_their_widened_numbers_give(storage):
    """In float32 sums, whatever is stored: so the bound is that of float32."""
    expect_equal_steps(llama(d_ff=64), [1, 2, 3], [4, 5, 6, 7], storage=storage)


@pytest.mark.parametrize("storage", ["float32", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize(("k", "renormalise", "first"), [(1, True, 0), (2, True, 1), (3, False, 0)])
def test_a_mixture_of_experts_is_the_portable_code(k, renormalise, first, storage):
    scale = 1.0 if renormalise else 2.5
    experts = mixtures(first, k=k, renormalise=renormalise, scale=scale)
    expect_equal_steps(llama(experts=experts), [1, 2, 3], [4, 5, 6, 7], storage=storage)


@pytest.mark.parametrize("dtype", [BF16, np.float16])
def test_a_cache_of_16_bits_is_as_near_as_its_rounding(dtype):
    """Keys and values are rounded once, by half a step: 2⁻⁸ of bfloat16, 2⁻¹¹ of float16."""
    config, tokens = llama(), [5, 3, 9, 1, 30, 2]
    p = tree_of(tinyllm_numpy, random_params(config, 0, np.float32))
    wanted = decoder_forward(tinyllm_numpy, np.array([tokens]), p, config)[0][0]
    xp = EmulatedBackend()
    kv = KVCache(xp, config, batch=1, capacity=6, dtype=dtype)
    reader = compiled_reader(xp, p, config, kv)
    error = np.abs([reader.logits(token) for token in tokens] - wanted).max()
    assert 0 < error <= 4 * float(ml_dtypes.finfo(dtype).eps) * np.abs(wanted).max()


def test_reads_and_steps_may_take_turns():
    config, rng = llama(), np.random.default_rng(0)
    p, tokens = tree_of(tinyllm_numpy, random_params(config, 0, np.float32)), rng.integers(0, 37, 9)
    wanted = decoder_forward(tinyllm_numpy, tokens[None], p, config)[0][0]
    one, earlier = (
        Session(EmulatedBackend(), p, config, [tokens[:n].tolist()], max_tokens=9) for n in (8, 3)
    )
    earlier.prefill()
    earlier.step([tokens[3]])
    assert one.resume(earlier, 4) == 4  # what kernels wrote, portable code reads
    np.testing.assert_allclose(one.prefill()[0], wanted[7], atol=1e-5)
    np.testing.assert_allclose(one.step([tokens[8]])[0], wanted[8], atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"norm": "layernorm"}, {"mlp": "gelu"}, {"mlp": "geglu"}, {"layout": "sandwich"},
        {"qk_norm": True}, {"attention_softcap": 2.0}, {"logit_softcap": 3.0}, {"qkv_clip": 0.5},
        {"embedding_scale": 2.0}, {"embedding_norm": True}, {"embed_dim": 16},
        {"positions": POSITIONS["alibi"]}, {"positions": POSITIONS["partial"]},
        {"positions": POSITIONS["dynamic"]},
        {"experts": mixtures(shared_d_ff=8)}, {"experts": mixtures(capacity=1.0)},
        {"n_heads": 32, "n_kv_heads": 1, "head_dim": 128}, {"head_dim": 5, "positions": None},
    ],
)  # fmt: skip
def test_other_models_run_by_the_portable_code(change):
    config = llama(**change)
    p = tree_of(tinyllm_numpy, random_params(config, 0, np.float32))
    portable, emulated = (
        Session(xp, p, config, [[1, 2]], max_tokens=2) for xp in (tinyllm_numpy, EmulatedBackend())
    )
    assert np.array_equal(portable.prefill(), emulated.prefill())
    np.testing.assert_allclose(emulated.step([3]), portable.step([3]), rtol=1e-5)
    assert emulated.compiled is None


READ = {  # by a plan, or by the arrays that it has
    "vocab_size", "d_model", "d_ff", "n_layers", "n_heads", "n_kv_heads", "head_dim", "norm_eps",
    "positions", "windows", "experts", "qkv_bias", "o_bias", "mlp_bias", "attention_scale",
    "tie_embeddings",
}  # fmt: skip
OF_NO_MATTER = {"family", "max_seq_len", "bos_id", "eos_ids"}  # to what a token gives


def test_no_field_of_a_config_is_overlooked():
    names = {field.name for field in fields(DecoderConfig)}
    assert names == READ | OF_NO_MATTER | set(_LLAMA)


def plan_of(config, dtype=np.float32, batch=1):
    p = tree_of(tinyllm_numpy, random_params(config, 0, np.float32))
    kv = KVCache(tinyllm_numpy, config, batch=batch, capacity=6, dtype=dtype)
    return decode_plan(p, config, kv)


def test_what_no_kernel_takes_is_left_to_the_portable_code():
    plan, where = plan_of(llama()), EmulatedBackend().device
    block = plan.blocks[0]
    assert compile_decode(where, plan) is not None
    bad = [
        replace(plan, norm=plan.norm.astype(np.float64)),
        replace(plan, head=plan.head.astype(np.float64)),
        plan_of(llama(), dtype=np.float64),
        plan_of(llama(), batch=2),
        replace(
            plan, blocks=[replace(block, q=replace(block.q, weight=block.q.weight.astype(BF16)))]
        ),
    ]
    assert all(compile_decode(where, each) is None for each in bad)
    small = replace(where, shared_memory=100)
    assert compile_decode(small, plan) is None


def test_padded_rows_and_batches_run_by_the_portable_code():
    p = tree_of(tinyllm_numpy, random_params(llama(), 0, np.float32))
    session = Session(EmulatedBackend(), p, llama(), [[1, 2], [3]], max_tokens=2)
    session.prefill()
    session.step([1, 2])
    assert session.compiled is None


def test_a_full_cache_is_an_error_and_a_rolling_one_never_is():
    config = llama(window=4)
    p, xp = tree_of(tinyllm_numpy, random_params(config, 0, np.float32)), EmulatedBackend()
    full, rolling = (
        kind(xp, config, batch=1, capacity=4, dtype=np.float32)
        for kind in (KVCache, RollingKVCache)
    )
    readers = [compiled_reader(xp, p, config, kv) for kv in (full, rolling)]
    for token in range(4):
        a, b = (reader.logits(token) for reader in readers)
        assert np.array_equal(a, b)
    with pytest.raises(UsageError, match="room for 4 tokens, not for 5"):
        readers[0].logits(4)
    assert full.length == 4
    readers[1].logits(4)
    assert rolling.length == 5


@pytest.fixture(scope="module")
def models():
    """The model that ships, by the portable code and by kernels."""
    model = tinyllm.load()
    return model, tinyllm.model.Model(
        model.config, model.params, xp=EmulatedBackend(), tokenizer=model.tokenizer
    )


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0},
        {"temperature": 0.9, "top_p": 0.9, "seed": 1},
        {"temperature": 1.3, "top_k": 7, "min_p": 0.05, "seed": 2},
        {"temperature": 0.8, "seed": 3, "repetition_penalty": 1.2},
        {"temperature": 0, "logprobs": 2},
        {"temperature": 0.7, "seed": 4, "stop": ["a"]},
        {"temperature": 0, "max_tokens": 1},
    ],
)
def test_a_text_is_the_same(models, options):
    texts = [model.generate("Once upon", **{"max_tokens": 20, **options}) for model in models]
    for name in ("text", "tokens", "finish_reason", "prompt_tokens"):
        assert getattr(texts[0], name) == getattr(texts[1], name)
    assert models[1].xp.steps[-1] is not None


def test_a_conversation_goes_on_where_the_device_drew_ahead(models):
    """What was drawn after the end of a text is no part of what the next turn takes over."""
    texts = []
    for model in models:
        first = model.run(["Once upon"], temperature=0, max_tokens=30, stop=["."])
        list(first)
        prompt = model.encode_prompt("Once upon") + first.results()[0].tokens + [5, 7]
        second = model.run([prompt], temperature=0, max_tokens=5)
        kept = second.resume(first)
        list(second)
        texts.append((kept, second.results()[0].tokens))
    assert texts[0][1] == texts[1][1]
    assert texts[1][0] >= texts[0][0]


def test_scores_that_are_not_finite_are_an_error(models):
    _, model = models
    name = "model.layers.0.mlp.down_proj.weight"
    broken = tinyllm.model.Model(
        model.config, {**model.params, name: model.params[name] * np.float32(np.nan)},
        xp=EmulatedBackend(), tokenizer=model.tokenizer,
    )  # fmt: skip
    reader = broken.run([[1, 2]], max_tokens=4)._scorer
    reader._reader.read(np.array([[1, 2]]))
    how = Drawing(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, vocab_size=10)
    assert reader.compiled.draw(3, [0.5] * 3, how) == [-1] * 3
    with pytest.raises(TinyllmError, match="scores are NaN"):
        broken.generate([1, 2], max_tokens=4)


@pytest.mark.parametrize("tokens", [50, pytest.param(200, marks=pytest.mark.slow)])
def test_stories260k_tells_its_story_by_kernels(tokens):
    """Greedy text, token for token, as long as the best token leads by more than rounding."""
    folder = data("models/stories260K")
    model = tinyllm.load(folder)
    expected = (folder / "expected_greedy_200steps.txt").read_text()
    emulated = tinyllm.model.Model(
        model.config, model.params, xp=EmulatedBackend(), tokenizer=model.tokenizer
    )
    options = {"temperature": 0, "max_tokens": tokens, "ignore_eos": True}
    a, b = model.generate("", **options, logprobs=2), emulated.generate("", **options)
    gaps = [each.logprob - min(each.top.values()) for each in a.logprobs]
    sure = next((i for i, gap in enumerate(gaps) if gap < 1e-4), len(gaps))
    assert a.tokens[:sure] == b.tokens[:sure]
    assert sure == tokens
    assert b.text
    assert expected.startswith(b.text)
