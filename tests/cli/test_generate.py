"""tinyllm.generate in this process: the answer, and nothing but the answer, on stdout."""

import io
import re
import sys

import pytest

from cli.commands import refused
from tiny_vocabulary import id_of
from tinyllm.generate import main

SEEDED = ["--seed", "1", "-n", "20"]


def answer(model, *words):
    return main(["--model", str(model), *words])


def test_the_answer_is_the_librarys_and_one_newline(model, loaded, capsys):
    assert answer(model, "the in", *SEEDED) == 0
    out, err = capsys.readouterr()
    assert out == loaded.generate("the in", seed=1, max_tokens=20).text + "\n"
    assert err == ""


FLAGS = [
    "--temperature=0.5", "--temp=0", "--top-k=3", "--top-p=0.5", "--min-p=0.2",
    "--repeat-penalty=1.5", "--repeat-last-n=2", "--logit-bias=5=3", "--stop=a", "--ctx=15",
    "--max-new-tokens=7", "--max_new_tokens=7", "--no-cache",
]  # fmt: skip
OPTIONS = [
    {"temperature": 0.5}, {"temperature": 0}, {"top_k": 3}, {"top_p": 0.5}, {"min_p": 0.2},
    {"repetition_penalty": 1.5}, {"repeat_last_n": 2}, {"logit_bias": {5: 3.0}}, {"stop": ["a"]},
    {"context": 15}, {"max_tokens": 7}, {"max_tokens": 7}, {"use_cache": False},
]  # fmt: skip


@pytest.mark.parametrize(("flag", "option"), list(zip(FLAGS, OPTIONS, strict=True)), ids=FLAGS)
def test_a_flag_is_the_librarys_option(model, loaded, capsys, flag, option):
    base = {"seed": 1, "max_tokens": 20, "repetition_penalty": 1.2}
    assert answer(model, "ab", *SEEDED, "--repetition-penalty=1.2", flag) == 0
    assert capsys.readouterr().out == loaded.generate("ab", **base | option).text + "\n"


def test_the_text_ends_at_eos_unless_it_is_ignored(model, capsys):
    to_the_end = ["--logit-bias=2=1000", "-n", "3"]
    assert answer(model, "ab", *to_the_end) == 0
    assert capsys.readouterr().out == "\n"
    assert answer(model, "ab", *to_the_end, "--ignore-eos", "--stats") == 0
    assert "generated 3 tok" in capsys.readouterr().err


class Stdout(io.StringIO):
    """Remembers what had been written at each flush."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def flush(self):
        self.seen.append(self.getvalue())


@pytest.mark.parametrize(
    ("flag", "seen"), [("--temp=1", ["A", "AA", "AAA", "AAA\n"]), ("--no-stream", ["AAA\n"])]
)
def test_the_answer_comes_token_by_token_unless_it_may_not(model, monkeypatch, flag, seen):
    stdout = Stdout()
    monkeypatch.setattr(sys, "stdout", stdout)
    assert answer(model, "ab", "-n", "3", "--logit-bias=68=1000", flag) == 0
    assert list(dict.fromkeys(stdout.seen)) == seen


def test_echo_prints_the_prompt_first(model, capsys):
    answer(model, "ab\tin\n", *SEEDED)
    alone = capsys.readouterr().out
    answer(model, "ab\tin\n", *SEEDED, "--echo")
    assert capsys.readouterr().out == "ab\tin\n" + alone


STATS = (
    r"prompt \d+ tok, \d+\.\d tok/s · generated 20 tok, \d+\.\d tok/s · peak \d+(\.\d)? [MG]B"
    r" · seed 1 · stop: length\n"
)


def test_stats_say_how_fast_it_went_and_how_to_repeat_it(model, capsys):
    answer(model, "ab", *SEEDED, "--stats", "--quiet")
    assert re.fullmatch(STATS, capsys.readouterr().err)


def test_stats_of_no_tokens_and_of_one(model, capsys):
    for count in ("0", "1"):
        answer(model, "ab", "--stats", "-n", count)
        out, err = capsys.readouterr()
        assert f"generated {count} tok · peak" in err
    assert out.endswith("\n")


def test_a_system_without_a_memory_count_leaves_it_out(model, capsys, monkeypatch):
    monkeypatch.setattr("tinyllm.cli.report.peak_memory", lambda: "")
    answer(model, "ab", *SEEDED, "--stats")
    assert re.search(r"tok/s · seed 1 · stop", capsys.readouterr().err)


def test_the_seed_that_is_printed_repeats_the_draw(model, capsys):
    answer(model, "ab", "-n", "20", "--stats")
    out, err = capsys.readouterr()
    seed = re.search(r"seed (\d+)", err)[1]
    answer(model, "ab", "-n", "20", "--seed", seed)
    assert capsys.readouterr().out == out


def test_control_characters_are_raw_where_nobody_watches(model, capsys):
    answer(model, "ab", "-n", "3", f"--logit-bias={id_of('<0x1B>')}=1000")
    assert capsys.readouterr().out == "\x1b\x1b\x1b\n"


BAD_NUMBERS = {
    "--temperature=-1": "temperature is -1.0, expected at least 0",
    "--temperature=nan": "argument --temperature/-t/--temp: 'nan' is not a finite number",
    "--temperature=inf": "'inf' is not a finite number",
    "--temperature=warm": "'warm' is not a finite number",
    "--top-k=-1": "top_k is -1, expected at least 0",
    "--top-k=1.5": "'1.5' is not a whole number",
    "--top-p=0": "top_p is 0.0, expected above 0 and at most 1",
    "--top-p=1.5": "top_p is 1.5",
    "--top-p=nan": "'nan' is not a finite number",
    "--min-p=-0.1": "min_p is -0.1, expected from 0 to 1",
    "--min-p=1.1": "min_p is 1.1",
    "--repetition-penalty=0": "repetition_penalty is 0.0, expected above 0",
    "--repetition-penalty=-1": "repetition_penalty is -1.0",
    "--repeat-last-n=-1": "repeat_last_n is -1",
    "--seed=-1": "seed is -1, expected 0 to 18446744073709551615",
    f"--seed={2**64}": f"seed is {2**64}",
    "--max-tokens=-1": "max_tokens is -1, expected at least 0",
    "--ctx=0": "context is 0, expected at least 1",
    "--ctx=-1": "context is -1, expected at least 1",
    "--ctx=2": "the prompt has 3 tokens and the context 2",
    "--logit-bias=3": "'3' is not ID=X, like 13=-1.5",
    "--logit-bias=3=x": "'3=x' is not ID=X",
    "--logit-bias=x=3": "'x=3' is not ID=X",
    "--logit-bias=3=nan": "'3=nan' is not ID=X",
    "--logit-bias=3=inf": "'3=inf' is not ID=X",
    "--logit-bias=291=1": "logit_bias names token 291, expected 0 to 290",
    "--logit-bias=-1=1": "logit_bias names token -1",
    "--stop=": "a stop string is empty",
    "--dtype=float16": "invalid choice: 'float16'",
    "--backend=tpu": "invalid choice: 'tpu'",
    "--tie=maybe": "invalid choice: 'maybe'",
    "--tempera=1": "unrecognized arguments: --tempera=1; did you mean --temperature?",
    "--zzz": "unrecognized arguments: --zzz; a value that begins with - is written",
}


@pytest.mark.parametrize("flag", BAD_NUMBERS)
def test_a_bad_value_is_one_line(model, capsys, flag):
    assert BAD_NUMBERS[flag] in refused(main, ["-m", model, "ab", flag], capsys)


AT_THE_LIMIT = [
    "--temperature=0", "--temperature=1e-320", "--temperature=1e-8", "--temperature=1e30",
    "--top-k=0", "--top-k=1", "--top-k=999", "--top-p=1", "--top-p=1e-9", "--min-p=0", "--min-p=1",
    "--max-tokens=0", f"--max-tokens={10**30}", "--repetition-penalty=1e-9",
    "--repetition-penalty=1e9", "--repeat-last-n=0", "--seed=0", f"--seed={2**64 - 1}", "--ctx=4",
    "--logit-bias=0=1", "--logit-bias=290=-inf", "--stop=a text longer than the answer",
]  # fmt: skip


@pytest.mark.parametrize("flag", AT_THE_LIMIT)
def test_a_value_at_its_limit_is_taken(model, capsys, flag):
    assert answer(model, "ab", "-n", "3", flag) == 0
    out, err = capsys.readouterr()
    assert out.endswith("\n")
    assert err == ""


@pytest.mark.parametrize("room", [-1, 0, 1, 2])
def test_a_prompt_must_leave_room_in_the_context(model, loaded, capsys, room):
    text = "in" * 10
    words = ["-m", model, text, "--stats", f"--ctx={len(loaded.encode_prompt(text)) + room}"]
    if room < 1:
        assert "no room for an answer" in refused(main, words, capsys)
    else:
        assert main([str(word) for word in words]) == 0
        assert re.search(rf"generated {room} tok.*stop: length", capsys.readouterr().err)


def test_an_answer_ends_where_the_models_context_ends(model, loaded, capsys):
    answer(model, "ab", "--ignore-eos", "--stats", "-n", "1000")
    room = loaded.config.max_seq_len - len(loaded.encode_prompt("ab"))
    assert f"generated {room} tok" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--echo", "--no-stream"])
def test_json_has_the_prompt_and_comes_whole(capsys, flag):
    line = refused(main, ["-m", "nowhere", "ab", "--json", flag], capsys)
    assert line == f"{flag} is not read with --json: leave it out"


def test_a_number_is_refused_before_anything_is_loaded(capsys):
    assert "top_k is -1" in refused(main, ["-m", "nowhere", "ab", "--top-k=-1"], capsys)


def test_a_typing_error_comes_with_the_way_out(model, capsys):
    words = ["-m", model, "Once", "upon", "a", "time"]
    assert "a text of several words needs quotes" in refused(main, words, capsys)
    dash = "a value that begins with - is written --option=-value"
    for words in (["-m", model, "--prompt", "-x"], ["-m", model, "-x"]):
        assert dash in refused(main, words, capsys)


def test_short_flags_may_be_joined(model, capsys):
    assert answer(model, r"a\n", "-qen5", "--echo") == 0
    assert capsys.readouterr().out.startswith("a\n")
