"""Every command on every kind of model: it does its work, or says in one line what is not its."""

import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import tinyllm
import tinyllm_numpy
from cli.commands import refused
from tinyllm.bench import main as bench
from tinyllm.chat import main as chat
from tinyllm.convert import main as convert
from tinyllm.evaluate import main as evaluate
from tinyllm.fill_mask import main as fill_mask
from tinyllm.generate import main as generate
from tinyllm.info import main as info
from tinyllm.key_reader import KeyReader
from tinyllm.model import Model
from tinyllm.models.architecture import architecture, understand
from tinyllm.models.examples import EXAMPLES, random_params
from tinyllm.prune import main as prune
from tinyllm.tokenizers import train_byte_level_bpe
from tinyllm.train import main as train
from tinyllm.translate import main as translate

KINDS = ("gpt2", "mixtral", "deepseek_v2", "lstm", "bert", "roberta", "marian", "bart", "t5")
MARKERS = ("<pad>", "<s>", "</s>", "<mask>")
LINE = "the cat sat"
QUESTION = {"prompt": "the", "choices": [" cat", " dog"], "answer": 0}

COMMANDS = {  # what each is for, and its words; M is the model, T a text, O a folder to be made
    "generate": ("generate", generate, ["-m", "M", "the", "-n", "3"]),
    "chat": ("generate", chat, ["-m", "M", "--template", "plain", "-n", "3"]),
    "perplexity": ("generate", evaluate, ["perplexity", "-m", "M", "--text", "T"]),
    "choices": ("generate", evaluate, ["choices", "-m", "M", "Q"]),
    "fill-mask": ("fill-mask", fill_mask, ["-m", "M", "the <mask>"]),
    "masked": ("fill-mask", evaluate, ["masked", "-m", "M", "--text", "T"]),
    "translate": ("translate", translate, ["-m", "M", "the cat", "--max-tokens", "3"]),
    "translation": (
        "translate", evaluate,
        ["translation", "-m", "M", "--text", "T", "--target", "T", "--max-tokens", "3"],
    ),
    "info": ("any", info, ["M"]),
    "convert": ("any", convert, ["M", "O"]),
    "bench": ("generate", bench, ["decode", "-m", "M", "--lengths", "4", "-n", "8"]),
}  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def model(request, tmp_path_factory):
    """A folder of each kind, which reads 32 tokens."""
    values = {"model_type": request.param, **EXAMPLES[request.param], "vocab_size": 260}
    longest = {"n_positions", "max_position_embeddings"} & values.keys()
    values |= dict.fromkeys(longest, 34)  # RoBERTa has two that are no token's
    tokenizer = train_byte_level_bpe(["x"], 260, special_tokens=MARKERS, bos="<s>", eos="</s>")
    if architecture(understand(KeyReader(values, "test"))).use != "generate":
        values |= {"pad_token_id": 0}
    config = understand(KeyReader(values, "test"))
    params = random_params(config, np.random.default_rng(0))
    folder = tmp_path_factory.mktemp("kinds") / request.param
    Model(config, params, xp=tinyllm_numpy, tokenizer=tokenizer).save(folder)
    return folder


def use_of(folder):
    return architecture(tinyllm.load(folder).config).use


@pytest.fixture
def words(model, tmp_path):
    def words(template):
        files = {"M": model, "T": tmp_path / "text", "Q": tmp_path / "asked", "O": tmp_path / "out"}
        files["T"].write_text(f"{LINE}\n{LINE}\n")
        files["Q"].write_text(json.dumps(QUESTION) + "\n")
        return [str(files.get(word, word)) for word in template]

    return words


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_works_or_names_what_is_not_its(model, words, command, capsys, monkeypatch):
    use, main, template = COMMANDS[command]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"the\n"), isatty=bool))
    if use in ("any", use_of(model)):
        assert main(words(template)) == 0
        assert "rror" not in capsys.readouterr().err
    else:
        assert "python -m tinyllm" in refused(main, words(template), capsys)


def test_every_kind_trains_further(model, words, capsys):
    """A decoder and an encoder on a text, an encoder-decoder on pairs; the other is refused."""
    template = ["-m", "M", "--data", "T", "--out", "O", "--steps", "2", "--seq-len", "8",
                "--batch-size", "2", "--val-fraction", "0"]  # fmt: skip
    pairs = [*template, "--target", "T"]
    is_pairs = use_of(model) == "translate"
    said = refused(train, words(template if is_pairs else pairs), capsys)
    assert "--target" in said
    both = pairs if is_pairs else template
    both[both.index("--seq-len") + 1] = "16"
    assert train(words(both)) == 0
    before, after = tinyllm.load(model), tinyllm.load(words(["O"])[0])
    assert after.config == before.config
    assert any(np.any(before.params[name] != x) for name, x in after.params.items())


def test_pruning_is_for_decoders(model, words, capsys):
    template = words(["-m", "M", "--method", "magnitude", "--out", "O", "--eval-tokens", "0"])
    if use_of(model) == "generate" and model.name != "lstm":
        assert prune(template) == 0
    else:
        assert f"is for decoders, and the model is a {model.name}" in refused(
            prune, template, capsys
        )
