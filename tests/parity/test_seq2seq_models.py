"""Marian, BART and T5 against transformers: files both ways, logits, the loss and its gradients."""

import numpy as np
import pytest

import tinyllm
from parity.families import VOCAB, random_parameter
from tinyllm.models.architecture import architecture
from tinyllm.models.seq2seq import Pair, shifted_right
from tinyllm.models.weights import stored_tensors
from tinyllm.ops.losses import cross_entropy_backward, cross_entropy_forward
from tinyllm.params import nest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from parity.oracle import float64_throughout  # noqa: E402

pytestmark = pytest.mark.parity
PAD = 1
BART = {
    "vocab_size": VOCAB, "d_model": 12, "encoder_layers": 2, "decoder_layers": 3,
    "encoder_attention_heads": 3, "decoder_attention_heads": 2, "encoder_ffn_dim": 20,
    "decoder_ffn_dim": 18, "max_position_embeddings": 34, "pad_token_id": PAD, "bos_token_id": 0,
    "eos_token_id": 2, "forced_eos_token_id": None, "decoder_start_token_id": 2,
}  # fmt: skip
MARIAN = BART | {
    "decoder_start_token_id": PAD, "scale_embedding": True, "activation_function": "relu",
}  # fmt: skip
T5 = {
    "vocab_size": VOCAB, "d_model": 12, "d_kv": 5, "num_heads": 3, "d_ff": 20, "num_layers": 2,
    "num_decoder_layers": 3, "relative_attention_num_buckets": 8, "pad_token_id": PAD,
    "relative_attention_max_distance": 12, "decoder_start_token_id": PAD, "eos_token_id": 2,
}  # fmt: skip
V11 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
MODELS = {
    "marian": ("MarianMTModel", "MarianConfig", MARIAN),
    "marian_swish": ("MarianMTModel", "MarianConfig", MARIAN | {"activation_function": "swish"}),
    "bart": ("BartForConditionalGeneration", "BartConfig", BART),
    "t5": ("T5ForConditionalGeneration", "T5Config", T5),
    "t5_v1_1": ("T5ForConditionalGeneration", "T5Config", T5 | V11),
}


def wide(model):
    """Make the table of Marian's positions in float64, too, and give padding its gradient."""
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding):
            module.padding_idx = None
        if "Sinusoidal" in type(module).__name__:
            N, D = module.weight.shape
            angles = np.arange(N)[:, None] / 10000.0 ** (np.arange(0, D, 2) / D)
            table = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
            module.weight.data = torch.from_numpy(table)
    return model


@pytest.fixture(scope="module", params=MODELS)
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    kind, config, values = MODELS[request.param]
    config = getattr(transformers, config)(**values)
    config.tie_word_embeddings = values.get("tie_word_embeddings", True)  # which T5's forgets
    with float64_throughout():
        model = getattr(transformers, kind)._from_config(config, attn_implementation="eager")
    model.set_input_embeddings(model.get_input_embeddings())  # one for both sides, always
    rng = np.random.default_rng(list(request.param.encode()))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.requires_grad:
                values = random_parameter(key, tuple(parameter.shape), rng, 0.15)
                parameter.copy_(torch.from_numpy(values))
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.copy_(torch.from_numpy(rng.standard_normal((1, VOCAB))))
    wide(model).double().eval().save_pretrained(folder)
    return model, folder


@pytest.fixture(scope="module")
def texts():
    """Three sources, two of them padded, and targets of other lengths."""
    rng = np.random.default_rng(0)
    source, targets = rng.integers(3, VOCAB, (3, 17)), rng.integers(3, VOCAB, (3, 14))
    source[1, 11:] = source[2, 5:] = PAD
    targets[0, 12:] = targets[1, 3:] = -100
    return source, targets


def scores(model, source, target):
    """The oracle's logits, in float64 throughout."""
    with float64_throughout():
        return model(
            input_ids=torch.from_numpy(source),
            attention_mask=torch.from_numpy((source != PAD).astype(np.int64)),
            decoder_input_ids=torch.from_numpy(target),
            use_cache=False,
        ).logits


def run(model, source, target):
    return architecture(model.config).forward(
        model.xp, Pair(source, target), nest(model.params), model.config
    )


def test_logits(case, texts):
    oracle, folder = case
    model = tinyllm.load(folder, dtype="float64")
    source, target = texts[0], shifted_right(texts[1], model.config)
    expected = scores(oracle, source, target).detach().numpy()
    np.testing.assert_allclose(run(model, source, target)[0], expected, rtol=0, atol=1e-10)
    plain = type(oracle).from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        narrow = plain(
            input_ids=torch.from_numpy(source),
            attention_mask=torch.from_numpy((source != PAD).astype(np.int64)),
            decoder_input_ids=torch.from_numpy(target),
        ).logits.numpy()
    found = run(tinyllm.load(folder), source, target)[0]
    np.testing.assert_allclose(found, narrow, rtol=1e-4, atol=1e-4)


def test_loss_and_all_gradients(case, texts):
    oracle, folder = case
    model = tinyllm.load(folder, dtype="float64")
    source, targets = texts
    target = shifted_right(targets, model.config)
    with float64_throughout():
        loss = torch.nn.functional.cross_entropy(
            scores(oracle, source, target).flatten(0, 1),
            torch.from_numpy(targets).flatten(),
            label_smoothing=0.1,
        )
        named = {k: x for k, x in oracle.named_parameters() if x.requires_grad}
        grads = torch.autograd.grad(loss, list(named.values()))
    logits, saved = run(model, source, target)
    mine, s_loss = cross_entropy_forward(model.xp, logits, targets, label_smoothing=0.1)
    assert abs(float(mine) - loss.item()) <= 1e-12
    dlogits, _ = cross_entropy_backward(model.xp, 1.0, s_loss)
    by_name = architecture(model.config).backward(model.xp, dlogits, saved)[1]
    assert set(by_name) == set(model.params)
    stored = stored_tensors(by_name, model.config)
    expected = {k: g.numpy() for k, g in zip(named, grads, strict=True)}
    assert set(stored) - set(expected) <= {"final_logits_bias"}
    joined = [np.concatenate([x[k].ravel() for k in expected]) for x in (stored, expected)]
    assert np.linalg.norm(joined[0] - joined[1]) <= 1e-9 * np.linalg.norm(joined[1])


def test_transformers_reads_what_was_saved(case, texts, tmp_path):
    oracle, folder = case
    model = tinyllm.load(folder, dtype="float64")
    model.save(tmp_path / "saved")
    again = wide(type(oracle).from_pretrained(tmp_path / "saved", dtype=torch.float64)).eval()
    source, target = texts[0], shifted_right(texts[1], model.config)
    expected, found = (scores(m, source, target).detach().numpy() for m in (oracle, again))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("beams", [1, 4])
def test_the_same_texts_are_found(case, texts, beams):
    oracle, folder = case
    model = tinyllm.load(folder, dtype="float64")
    for row in texts[0]:
        source = row[row != PAD]
        with float64_throughout():
            expected = oracle.generate(
                torch.from_numpy(source[None]), num_beams=beams, do_sample=False,
                early_stopping=False, length_penalty=0.0, max_new_tokens=9,
                suppress_tokens=[PAD], use_cache=False,  # whose layers it counts in the encoder
            )[0, 1:].tolist()  # fmt: skip
        found = model.translate(source, beams=beams, alpha=0.0, max_tokens=9)
        assert found.tokens == [token for token in expected if token not in (2, PAD)]
