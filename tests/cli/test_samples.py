"""tinyllm.generate: several samples, JSON lines, log-probabilities, what the model reads."""

import json
import sys

import numpy as np
import pytest

from cli.commands import refused
from tiny_vocabulary import id_of
from tinyllm.generate import main

WORDS = ["the in", "--seed", "1", "-n", "6"]


@pytest.fixture
def out(model, capsys):
    """Run the command: -> stdout, stderr."""

    def out(*words):
        assert main(["-m", str(model), *words]) == 0
        return capsys.readouterr()

    return out


def objects(text):
    return [json.loads(line) for line in text.removesuffix("\n").split("\n")]


def test_the_json_text_is_what_is_printed_without(out, loaded):
    text = out(*WORDS).out
    (sample,) = objects(out(*WORDS, "--json").out)
    assert sample["text"] + "\n" == text
    same = loaded.generate("the in", seed=1, max_tokens=6)
    assert (sample["tokens"], sample["finish_reason"]) == (same.tokens, same.finish_reason)
    assert (sample["seed"], sample["sample"], sample["prompt"]) == (1, 0, "the in")
    assert sample["prompt_ids"] == loaded.encode_prompt("the in")
    assert sample["prompt_tokens"] == len(sample["prompt_ids"])
    assert sample["tokens_per_second"] > 0
    assert "logprobs" not in sample


def test_json_of_nothing_has_no_speed(out):
    (sample,) = objects(out("ab", "-n", "0", "--json").out)
    assert (sample["text"], sample["tokens"], sample["tokens_per_second"]) == ("", [], None)


def test_json_is_one_line_whatever_the_text_is(out):
    (sample,) = objects(
        out("é\n\u2028", "-n2", "--json", f"--logit-bias={id_of('<0x0A>')}=1e9").out
    )
    assert (sample["text"], sample["prompt"]) == ("\n\n", "é\n\u2028")


def test_logprobs_are_the_librarys(out, loaded):
    (sample,) = objects(out(*WORDS, "--json", "--logprobs=3").out)
    same = loaded.generate("the in", seed=1, max_tokens=6, logprobs=3)
    for step, wanted in zip(sample["logprobs"], same.logprobs, strict=True):
        assert step["token"] == wanted.token
        assert step["logprob"] == pytest.approx(wanted.logprob)
        assert list(map(int, step["top"])) == list(wanted.top)
        assert np.exp(list(step["top"].values())).sum() <= 1 + 1e-9
    (none,) = objects(out(*WORDS, "--json", "--logprobs=0").out)
    assert [step["top"] for step in none["logprobs"]] == [{}] * 6


@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_a_sample_is_the_same_in_any_batch(out, loaded, size):
    same = loaded.generate_batch(["the in"] * 3, seed=1, max_tokens=6)
    words = [*WORDS, "--num-samples=3", f"--batch-size={size}"]
    samples = objects(out(*words, "--json").out)
    assert [s["tokens"] for s in samples] == [g.tokens for g in same]
    assert [s["sample"] for s in samples] == [0, 1, 2]
    texts = [g.text for g in same]
    assert out(*words).out == "\n---\n".join(texts) + "\n"
    assert out(*words, "--echo", "--no-stream").out == "\n---\n".join(
        "the in" + text for text in texts
    ) + "\n"  # fmt: skip


def test_samples_without_a_seed_share_one_and_differ(out):
    samples = objects(out("ab", "--json", "--num-samples=4", "--batch-size=2").out)
    assert len({s["seed"] for s in samples}) == 1
    assert len({s["text"] for s in samples}) > 1


def test_the_stats_of_a_batch_count_all_of_it(out):
    err = out("ab", "-n4", "--ignore-eos", "--num-samples=2", "--batch-size=2", "--stats").err
    assert "prompt 6 tok" in err
    assert "generated 8 tok" in err


def test_what_the_model_reads_can_be_seen(out, loaded):
    ids = " ".join(map(str, loaded.encode_prompt("the in")))
    assert out(*WORDS, "--show-prompt").err == (
        f"prompt: {len(ids.split())} tokens: {ids}\nprompt: '<s> the in'\n"
    )


def test_special_tokens_are_read_on_request_only(out):
    ids = objects(out("a</s>b", "-n0", "--json").out)[0]["prompt_ids"]
    assert ids.count(2) == 0
    parsed = objects(out("a</s>b", "-n0", "--json", "--parse-special", "--raw").out)[0]
    assert parsed["prompt_ids"].count(2) == 1
    assert parsed["prompt_ids"].count(1) == 1


def test_there_is_one_bos_even_if_the_text_spells_it(out):
    for words in (["<s>ab"], ["ab"], ["--template=plain", "<s>"], ["--template=mistral", "<s>"]):
        (sample,) = objects(out(*words, "-n0", "--json").out)
        assert sample["prompt_ids"].count(1) == 1


def test_colours_tell_the_prompt_from_the_answer(out):
    plain = out(*WORDS, "--echo").out
    colored = out(*WORDS, "--echo", "--color=always").out
    assert colored == "\x1b[2mthe in\x1b[0m" + plain.removeprefix("the in")


def test_verbose_says_what_is_done_where_nobody_watches(out, model):
    assert out(*WORDS, "--verbose").err == f"loading {model} …\nreading 3 tokens …\n"


BAD = {
    "--num-samples=0": "--num-samples is 0, expected at least 1",
    "--batch-size=-1": "--batch-size is -1, expected at least 1",
    "--logprobs=1": "--logprobs are printed with --json only",
    "--system=a": "the model has no chat template for --system; --template chooses one",
    "--template=gpt": "invalid choice: 'gpt'",
    "--template=llama3": "has no <|start_header_id|> token",
}


@pytest.mark.parametrize("flag", BAD)
def test_a_flag_without_sense_is_one_line(model, capsys, flag):
    assert BAD[flag] in refused(main, ["-m", model, "ab", flag], capsys)


def test_flags_that_contradict_each_other_are_one_line(model, capsys):
    for words, says in (
        (["--raw", "--template=plain"], "--raw means no template"),
        (["--raw", "--system="], "--raw means no template"),
        (["--parse-special", "--template=plain"], "--parse-special is for raw texts: add --raw"),
        (["--json", "--logprobs=-1"], "logprobs is -1, expected at least 0"),
        (["--quiet", "--verbose"], "not allowed with argument"),
    ):
        assert says in refused(main, ["-m", model, "ab", *words], capsys)


def test_numbers_are_refused_before_the_model_is_looked_for(capsys):
    for flag in ("--max-tokens=-1", "--ctx=0", "--stop=", "--seed=-1", "--num-samples=0"):
        line = refused(main, ["-m", "nowhere", "ab", flag], capsys)
        assert "nowhere" not in line


def test_ten_megabytes_are_refused_by_their_beginning(model, loaded, capsys, monkeypatch, tmp_path):
    (tmp_path / "long.txt").write_text("the in " * 1_500_000)
    longest = 0

    whole = type(loaded.tokenizer).encode

    def encode(self, text, *rest, **options):
        nonlocal longest
        longest = max(longest, len(text))
        return whole(self, text, *rest, **options)

    monkeypatch.setattr("tinyllm.tokenizers.Tokenizer.encode", encode)
    line = refused(main, ["-m", model, "-f", tmp_path / "long.txt"], capsys)
    assert "tokens and the context 100: no room for an answer; shorten the prompt" in line
    assert longest == 1600


@pytest.mark.filterwarnings("ignore:prompt and answer may have")
def test_a_long_text_of_few_tokens_is_read(out):
    text = "a" * 4000
    (sample,) = objects(out(text, "-n1", "--json", "--ctx=2200").out)
    assert sample["prompt_tokens"] < 2200
    assert sys.stdout is not None
