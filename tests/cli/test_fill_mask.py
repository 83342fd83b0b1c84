"""tinyllm.fill_mask: what a mask hides, and what each kind of model is refused for."""

import json

import numpy as np
import pytest

import tinyllm
from cli.commands import refused
from tinyllm.chat import main as chat
from tinyllm.checkpoints import write_checkpoint
from tinyllm.errors import UsageError
from tinyllm.evaluate import main as evaluate
from tinyllm.fill_mask import main
from tinyllm.generate import main as generate
from tinyllm.info import main as info
from tinyllm.key_reader import KeyReader
from tinyllm.models.architecture import understand
from tinyllm.models.config_json import write_config_json
from tinyllm.models.examples import EXAMPLES, random_params
from tinyllm.models.weights import stored_tensors
from tinyllm.prune import main as prune
from tinyllm.train import main as train

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "dog", "sat", "##s", "."]


def folder_of(path, **changes):
    values = {"model_type": "bert", **EXAMPLES["bert"], "vocab_size": len(WORDS), **changes}
    config = understand(KeyReader(values, "test"))
    params = random_params(config, np.random.default_rng(0))
    stored = stored_tensors({k: x.astype(np.float32) for k, x in params.items()}, config)
    write_checkpoint(path, write_config_json(config, "float32"), stored)
    (path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return path


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("bert") / "model")


def out(capsys, *words):
    assert main([str(word) for word in words]) == 0
    printed, err = capsys.readouterr()
    assert err == ""
    return printed


def test_guesses_are_the_models_probabilities(bert, capsys):
    model = tinyllm.load(bert)
    text = "the [MASK] sat."
    (row,) = map(json.loads, out(capsys, "-m", bert, text, "--json", "--top", 11).splitlines())
    logits = model.forward([[2, 5, 4, 8, 10, 3]])[0, 2].astype(np.float64)
    probs = np.exp(logits - logits.max())
    probs /= probs.sum()
    guesses = row["guesses"]
    assert [guess["token"] for guess in guesses] == np.argsort(-probs).tolist()
    np.testing.assert_allclose(
        [guess["probability"] for guess in guesses], np.sort(probs)[::-1], rtol=1e-5
    )
    assert sum(guess["probability"] for guess in guesses) == pytest.approx(1.0)


def test_a_person_gets_a_line_for_each_guess(bert, capsys):
    one = out(capsys, "-m", bert, "the [MASK]", "--top", 3).splitlines()
    assert len(one) == 3
    assert float(one[0].split()[0]) >= float(one[1].split()[0])
    two = out(capsys, "-m", bert, "[MASK] cat [MASK]", "--top", 2).splitlines()
    assert [line for line in two if line.startswith("mask")] == ["mask 1", "mask 2"]
    assert len(two) == 6


def test_vectors_of_texts(bert):
    model = tinyllm.load(bert)
    vectors = model.embed(["the cat sat.", "the dog", "the cat sat."])
    assert vectors.shape == (3, 6)
    np.testing.assert_array_equal(vectors[0], vectors[2])
    np.testing.assert_allclose(vectors[1], model.embed(["the dog"])[0], atol=1e-6)
    assert model.embed([]).shape == (0, 6)
    with pytest.raises(UsageError, match="no pooler"):
        model.embed(["the"], pooling="pooler")


def test_a_model_without_padding_reads_texts_one_by_one(tmp_path):
    model = tinyllm.load(folder_of(tmp_path / "model", pad_token_id=None))
    both = model.embed(["the cat sat.", "the dog"])
    np.testing.assert_allclose(both[1], model.embed(["the dog"])[0], atol=1e-6)


def test_info_describes_an_encoder(bert, capsys):
    assert info([str(bert), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["architecture"] == "BertForMaskedLM"
    assert described["problems"] == []
    assert info([str(bert)]) == 0
    assert "bert" in capsys.readouterr().out.lower()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (generate, ["the cat"]),
        (chat, ["--template", "plain"]),
        (evaluate, ["perplexity", "--text", "TEXT"]),
        (evaluate, ["choices", "QUESTIONS"]),
        (prune, ["--method", "magnitude", "--out", "OUT"]),
    ],
)
def test_what_an_encoder_is_not_for_is_refused(bert, command, words, tmp_path, capsys, monkeypatch):
    (tmp_path / "TEXT").write_text("the cat sat.")
    question = {"prompt": "the", "choices": [" cat", " dog"], "answer": 1}
    (tmp_path / "QUESTIONS").write_text(json.dumps(question) + "\n")
    monkeypatch.chdir(tmp_path)
    said = refused(command, [*words, "-m", bert], capsys)
    assert "fill-mask" in said or "decoder" in said
    assert not (tmp_path / "OUT").exists()


BAD = {
    "no mask": (["the cat"], "there is no [MASK] in the text"),
    "no model": (["[MASK]", "-m", None], "give -m a BERT's folder"),
    "no guesses": (["[MASK]", "--top", "0"], "--top is 0"),
    "too long": (["[MASK] " + "the " * 20], "the text has 23 tokens; this model reads 1 to 16"),
}


@pytest.mark.parametrize(("words", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line(bert, words, says, capsys):
    words = words[:-2] if words[-1] is None else [*words, "-m", bert]
    assert says in refused(main, words, capsys)


def test_help_speaks_of_what_there_is(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "the text with a mask in it; - reads" in said
    assert "a BERT's folder" in said
    assert "ships" not in said


def test_a_decoder_fills_no_masks(model, capsys):
    said = refused(main, ["x", "-m", model], capsys)
    assert "python -m tinyllm generate is what it is for" in said


def test_without_a_tokenizer_there_are_no_masks(bert, tmp_path, capsys):
    path = folder_of(tmp_path / "model")
    (path / "vocab.txt").unlink()
    assert "has no tokenizer" in refused(main, ["[MASK]", "-m", path], capsys)


def test_training_leaves_the_pooler_as_it_is_and_goes_on_with_it(tmp_path):
    """No guess depends on it, so that a decay of weights would only make it smaller."""
    before = tinyllm.load(folder_of(tmp_path / "model", architectures=["BertForPreTraining"]))
    text, whole, parts = tmp_path / "text", tmp_path / "whole", tmp_path / "parts"
    text.write_text("the cat sat. the dogs sat.\n" * 20)
    words = ["--data", str(text), "--model", str(tmp_path / "model"), "--steps=4", "--lr=0.1"]
    words += ["--batch-size=2", "--seq-len=8", "--weight-decay=1", "--val-fraction=0", "--quiet"]
    assert train([*words, "--out", str(whole)]) == 0
    assert train([*words, "--out", str(parts), "--until=2"]) == 0
    assert train(["--resume", str(parts), "--quiet"]) == 0
    one, other = tinyllm.load(whole).params, tinyllm.load(parts).params
    assert one.keys() == before.params.keys()
    for name, x in before.params.items():
        np.testing.assert_array_equal(one[name], other[name])
        assert np.array_equal(one[name], x) == ("pooler" in name), name
