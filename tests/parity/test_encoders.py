"""BERT and RoBERTa against transformers: files both ways, logits, gradients, vectors of texts."""

import numpy as np
import pytest

import tinyllm
from parity.families import VOCAB, random_parameter
from tinyllm.models.encoder import encoded, pooled
from tinyllm.models.weights import stored_tensors
from tinyllm.params import nest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from parity.oracle import float64_throughout  # noqa: E402

pytestmark = pytest.mark.parity
PAD = 1
SIZES = {
    "vocab_size": VOCAB, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3,
    "intermediate_size": 20, "max_position_embeddings": 34, "pad_token_id": PAD,
}  # fmt: skip
MODELS = {
    "bert": ("BertForMaskedLM", "BertConfig", {}),
    "bert_other": ("BertForMaskedLM", "BertConfig", {"hidden_act": "gelu_new"}),
    "bert_pretraining": ("BertForPreTraining", "BertConfig", {"type_vocab_size": 3}),
    "roberta": ("RobertaForMaskedLM", "RobertaConfig", {"hidden_act": "relu"}),
    "roberta_pad": ("RobertaForMaskedLM", "RobertaConfig", {"pad_token_id": 0}),
}


def built(name, folder, classes=MODELS):
    kind, config, changes = classes[name]
    with float64_throughout():
        model = getattr(transformers, kind)._from_config(
            getattr(transformers, config)(**SIZES | changes), attn_implementation="eager"
        )
    rng = np.random.default_rng(list(name.encode()))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(
                torch.from_numpy(random_parameter(key, tuple(parameter.shape), rng, 0.15))
            )
    model.double().eval().save_pretrained(folder)
    return model


@pytest.fixture(scope="module", params=MODELS)
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return built(request.param, folder), folder


def padded(pad=PAD):
    """Three texts, two of them padded."""
    tokens = np.random.default_rng(0).integers(2, VOCAB, (3, 17))
    tokens[1, 11:] = tokens[2, 5:] = pad
    return tokens


@pytest.fixture
def tokens(request):
    if "case" not in request.fixturenames:
        return padded()
    return padded(request.getfixturevalue("case")[0].config.pad_token_id)


def scores(model, tokens, **options):
    """The oracle's logits, in float64 throughout."""
    seen = torch.from_numpy((tokens != model.config.pad_token_id).astype(np.int64))
    with float64_throughout():
        out = model(torch.from_numpy(tokens), attention_mask=seen, **options)
    return out.logits if hasattr(out, "logits") else out.prediction_logits


def test_logits(case, tokens):
    oracle, folder = case
    seen = tokens != oracle.config.pad_token_id
    expected = scores(oracle, tokens).detach().numpy()
    logits = tinyllm.load(folder, dtype="float64").forward(tokens)
    np.testing.assert_allclose(logits[seen], expected[seen], rtol=0, atol=1e-10)
    plain = type(oracle).from_pretrained(folder, dtype=torch.float32)
    plain_logits = scores(plain, tokens).detach().numpy()
    np.testing.assert_allclose(
        tinyllm.load(folder).forward(tokens)[seen], plain_logits[seen], rtol=1e-4, atol=1e-4
    )


def test_loss_and_all_gradients(case, tokens):
    oracle, folder = case
    hidden = np.random.default_rng(1).random(tokens.shape) < 0.4
    targets = np.where(hidden & (tokens != oracle.config.pad_token_id), tokens, -100)
    with float64_throughout():
        logits = scores(oracle, tokens)
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), torch.from_numpy(targets).flatten()
        )
        names, parameters = zip(*oracle.named_parameters(), strict=True)
        grads = torch.autograd.grad(loss, parameters, allow_unused=True)
    model = tinyllm.load(folder, dtype="float64")
    mine, by_name = model.loss_and_grads(tokens, targets)
    assert abs(mine - loss.item()) <= 1e-12
    stored = stored_tensors(by_name, model.config)
    expected = {n: g.numpy() for n, g in zip(names, grads, strict=True) if g is not None}
    extra = {n for n in stored if n not in expected}
    assert all("pooler" in n and not stored[n].any() for n in extra)
    joined = [np.concatenate([x[n].ravel() for n in expected]) for x in (stored, expected)]
    assert np.linalg.norm(joined[0] - joined[1]) <= 1e-9 * np.linalg.norm(joined[1])


def test_transformers_reads_what_was_saved(case, tokens, tmp_path):
    oracle, folder = case
    tinyllm.load(folder, dtype="float64").save(tmp_path / "saved")
    again = type(oracle).from_pretrained(tmp_path / "saved", dtype=torch.float64)
    expected, found = (scores(model, tokens).detach().numpy() for model in (oracle, again.eval()))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_a_model_without_a_head_makes_vectors(name, tokens, tmp_path):
    classes = {
        "bert": ("BertModel", "BertConfig", {}),
        "roberta": ("RobertaModel", "RobertaConfig", {}),
    }
    oracle = built(name, tmp_path / "first", classes)
    model = tinyllm.load(tmp_path / "first", dtype="float64")
    model.save(tmp_path / "saved")
    again = type(oracle).from_pretrained(tmp_path / "saved", dtype=torch.float64).eval()
    seen = torch.from_numpy((tokens != PAD).astype(np.int64))
    p = nest(model.params)
    hidden = encoded(model.xp, tokens, p, model.config)
    for reader in (oracle, again):
        with float64_throughout(), torch.no_grad():
            expected = reader(torch.from_numpy(tokens), attention_mask=seen)
        last, pooler = expected.last_hidden_state.numpy(), expected.pooler_output.numpy()
        np.testing.assert_allclose(hidden[tokens != PAD], last[tokens != PAD], rtol=0, atol=1e-10)
        vectors = pooled(model.xp, hidden, tokens, p, model.config, "pooler")
        np.testing.assert_allclose(vectors, pooler, rtol=0, atol=1e-10)


def test_two_texts_are_told_apart(tokens, tmp_path):
    oracle = built("bert", tmp_path)
    model = tinyllm.load(tmp_path, dtype="float64")
    types = np.where(np.arange(17) < 8, 0, 1)[None].repeat(3, axis=0)
    expected = scores(oracle, tokens, token_type_ids=torch.from_numpy(types)).detach().numpy()
    logits, _ = model._kind.forward(model.xp, tokens, nest(model.params), model.config, types=types)
    seen = tokens != PAD
    np.testing.assert_allclose(logits[seen], expected[seen], rtol=0, atol=1e-10)
