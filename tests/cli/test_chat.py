"""tinyllm.chat: a conversation through a pipe, a terminal and a file."""

import io
import json
import os
import re
import sys

import pytest

from cli.commands import ENDLESS, in_terminal, refused, run, variant
from tiny_vocabulary import write_json
from tinyllm.chat import main
from tinyllm.cli.dialogue import lines, paragraphs
from tinyllm.cli.history import kept_from_others
from tinyllm.errors import UsageError
from tinyllm.inference.conversation import Conversation
from tinyllm.inference.templates import TEMPLATES

terminal = pytest.mark.skipif(os.name != "posix", reason="of POSIX")
CHAT = "tinyllm.chat"
NOTE = "note: the model has no chat template; talking in plain text (--template)\n"
PLAIN = ["--template=plain", "--seed=1", "-n", "5", "--ignore-eos"]
A = "--logit-bias=68=1000"


@pytest.fixture
def talk(model, capsys, monkeypatch):
    """Talk through a pipe: -> exit code, stdout, stderr."""

    def talk(text, *words):
        stream = io.TextIOWrapper(io.BytesIO(text.encode()), "ascii")
        monkeypatch.setattr(sys, "stdin", stream)
        return main(["-m", str(model), *PLAIN, *words]), *capsys.readouterr()

    return talk


@pytest.fixture
def conversation(loaded):
    """The same as the library has it."""

    def conversation(**options):
        given = {"seed": 1, "max_tokens": 5, "ignore_eos": True} | options
        return Conversation(loaded, TEMPLATES["plain"], **given)

    return conversation


def test_each_line_is_a_message_and_each_answer_is_the_librarys(talk, conversation):
    same = conversation()
    wanted = "".join("".join(same.say(text)) + "\n" for text in ("ab", "é世", " the "))
    assert talk("ab\né世\r\n\n the \n") == (0, wanted, "")


def test_the_last_line_needs_no_end(talk, conversation):
    assert talk("ab") == (0, "".join(conversation().say("ab")) + "\n", "")
    assert talk("") == (0, "", "")


def test_the_system_message_begins_the_prompt(talk, conversation):
    same = conversation(system="in the")
    wanted = "".join(same.say("ab")) + "\n"
    assert talk("ab\n", "--system=in the") == (0, wanted, "")
    assert talk("/system in the\nab\n") == (0, wanted, "")
    assert talk("/system\n/system  b \n/system\n", "--system=a")[2] == "system: a\nsystem: b\n"


def test_commands(talk, conversation):
    same = conversation()
    first = "".join(same.say("ab")) + "\n"
    again = "".join(same.again()) + "\n"
    same.reset()
    assert talk("ab\n/regen\n/reset\nab\n") == (
        0, first + again + "".join(same.say("ab")) + "\n", "the conversation is forgotten\n",
    )  # fmt: skip
    for leave in ("/exit", "/quit", " /exit "):
        assert talk(f"{leave}\nab\n") == (0, "", "")


def test_help_lists_the_commands(talk):
    code, out, err = talk("/help\n")
    assert (code, out) == (0, "")
    assert [line.split()[0] for line in err.splitlines()] == [
        "/help", "/reset", "/regen", "/system", "/exit",
    ]  # fmt: skip


def test_a_message_may_begin_with_a_slash(talk, conversation):
    assert talk("//ab\n") == (0, "".join(conversation().say("/ab")) + "\n", "")


def test_a_message_of_several_lines(talk, conversation):
    same = conversation()
    wanted = "".join("".join(same.say(text)) + "\n" for text in ("a\n\nb", "c"))
    assert talk("a\n\nb\n/send\n/system x\n/system\nc\n", "--multiline", "--system=")[1] != wanted
    assert talk("a\n\nb\n/send\nc\n", "--multiline") == (0, wanted, "")
    assert list(paragraphs(["/help", "a", "/help", "/send"])) == ["/help", "a\n/help"]


BAD = {
    "an unknown command": ("/fly\n", [], "there is no command /fly; /help lists them"),
    "nothing to answer anew": ("/regen\n", [], "there is no answer yet to try again"),
    "a message beyond the context": ("the " * 99 + "\n", [], "and the context 100: no room"),
    "a context without room": ("ab\n", ["--ctx=3"], "and the context 3"),
    "a number out of range": ("ab\n", ["--top-k=-1"], "top_k is -1"),
    "an unknown template": ("ab\n", ["--template=x"], "invalid choice: 'x'"),
    "a template of another model": ("ab\n", ["--template=chatml"], "has no <|im_end|> token"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_one_line_and_ends_a_pipe(talk, case):
    text, words, says = BAD[case]
    code, out, err = talk(text + "ab\n", *words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert says in err
    assert err.count("\n") == 1


def test_input_that_is_not_utf8_or_has_no_end(model, capsys, monkeypatch):
    for content, says in ((b"a\xff\n", "not UTF-8 at byte 1"), (b"12345", "longer than 4 bytes")):
        monkeypatch.setattr("tinyllm.cli.dialogue.LONGEST", 4)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert says in refused(main, ["-m", model, *PLAIN], capsys)
    monkeypatch.setattr(sys, "stdin", None)
    assert "standard input is closed" in refused(main, ["-m", model, *PLAIN], capsys)
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["-m", str(model), *PLAIN]) == 2


def test_old_messages_are_forgotten_on_request_only(talk):
    text = "the in the\n" * 4
    code, out, err = talk(text)
    assert (code, out.count("\n")) == (2, 3)
    assert "the conversation has" in err
    assert "and the context 100: no room for an answer; --trim forgets the oldest" in err
    code, out, err = talk(text, "--trim", "--stats")
    assert (code, out.count("\n")) == (0, 4)
    assert all(int(n) <= 100 for n in re.findall(r"ctx (\d+)/100", err))


def test_the_footer_says_how_long_and_how_fast_it_was(talk):
    code, _, err = talk("ab\n", "--stats")
    assert code == 0
    assert re.fullmatch(r"5 tok · \d+\.\d tok/s · ctx \d+/100\n", err)
    assert re.fullmatch(r"1 tok · ctx \d+/100\n", talk("ab\n", "--stats", "-n1")[2])


class TestHistory:
    def test_a_conversation_goes_on_where_it_ended(self, talk, conversation, tmp_path):
        file, same = tmp_path / "talk.jsonl", conversation(system="é\u2028")
        wanted = "".join(same.say("ab")) + "\n"
        words = [f"--history={file}", "--system=é\u2028"]
        assert talk("ab\n", *words) == (0, wanted, "")
        written = [json.loads(line) for line in file.read_text("utf-8").rstrip("\n").split("\n")]
        assert written == [{"role": "system", "content": "é\u2028"}, *same.messages]
        more = conversation(system="é\u2028", messages=same.messages)
        assert talk("c\n", words[0]) == (0, "".join(more.say("c")) + "\n", "")
        assert len(file.read_text("utf-8").rstrip("\n").split("\n")) == 5
        assert os.listdir(tmp_path) == ["talk.jsonl"]

    def test_an_empty_file_is_a_new_conversation(self, talk, tmp_path):
        (tmp_path / "new").touch()
        assert talk("ab\n", f"--history={tmp_path / 'new'}")[0] == 0

    @pytest.mark.parametrize(
        ("content", "says"),
        [(b"{}", "line 1 is no message"), (b"x", "line 1 is no message"),
         (b"[" * 99999, "line 1 is no message"),
         (b'{"role":"user","content":"a"}', "by user and assistant in turns"),
         (b'{"role":"user","content":"\\ud800"}', "line 1 is no message"),
         (b'{"role":"tool","content":"a"}', "no message"), (b"\xff", "not UTF-8 at byte 0")],
        ids=range(7),
    )  # fmt: skip
    def test_a_file_that_is_no_conversation_is_refused_and_kept(
        self, talk, tmp_path, content, says
    ):
        (tmp_path / "bad").write_bytes(content)
        code, _, err = talk("ab\n", f"--history={tmp_path / 'bad'}")
        assert code == 2
        assert says in err
        assert (tmp_path / "bad").read_bytes() == content

    def test_two_chats_at_once_would_lose_what_one_says(self, talk, tmp_path):
        file = tmp_path / "talk"
        with kept_from_others(str(file), print):
            code, out, err = talk("ab\n", f"--history={file}")
        assert (code, out) == (2, "")
        assert f"talk: process {os.getpid()} is talking there; wait for its end" in err
        assert os.listdir(tmp_path) == []
        assert talk("ab\n", f"--history={file}")[0] == 0
        assert os.listdir(tmp_path) == ["talk"]

    def test_a_file_that_cannot_be_written_is_one_line(self, talk, tmp_path):
        code, _, err = talk("ab\n", f"--history={tmp_path / 'no' / 'folder'}")
        assert code == 2
        assert err.count("\n") == 1
        assert "folder" in refused_line(err)


def refused_line(err):
    assert err.startswith("error: ")
    return err


class TestTemplate:
    @pytest.fixture
    def unknown(self, model, tmp_path):
        folder = variant(model, tmp_path / "unknown")
        write_json(folder / "tokenizer_config.json", {"chat_template": "{{ 9 ** 9 ** 9 }}"})
        return folder

    def test_a_model_without_one_is_talked_to_in_plain_text(self, model, capsys, monkeypatch):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
        assert main(["-m", str(model)]) == 0
        assert capsys.readouterr() == ("", NOTE)

    def test_one_that_is_not_known_is_refused_and_not_run(self, unknown, capsys):
        line = refused(main, ["-m", unknown], capsys)
        assert "use --raw, or --template with one of llama2" in line

    def test_the_models_own_is_used(self, model, loaded, tmp_path, capsys, monkeypatch):
        folder = variant(model, tmp_path / "tuned")
        program = "{{ bos_token }}[INST] <<SYS>> <</SYS>> [/INST] {{ eos_token }}"
        (folder / "chat_template.jinja").write_text(program)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"ab\n")))
        assert main(["-m", str(folder), "--seed=1", "-n5"]) == 0
        same = Conversation(loaded, TEMPLATES["llama2"], seed=1, max_tokens=5)
        assert capsys.readouterr() == ("".join(same.say("ab")) + "\n", "")


@terminal
class TestTerminal:
    def test_a_conversation_at_a_terminal(self, model):
        typed = [(b"> ", b"ab\n"), (b"/100\r\n> ", b"/nope\n"), (b"help lists them\r\n> ", b"\x04")]
        code, screen = in_terminal(CHAT, "-m", model, *PLAIN, A, typed=typed)
        assert code == 0
        assert re.fullmatch(
            r"\rloading .*\r +\r/help lists the commands, Ctrl-D ends the chat\r\n"
            r"> ab\r\n\r…\r \rAAAAA\r\n5 tok · [0-9.]+ tok/s · ctx \d+/100\r\n"
            r"> /nope\r\nerror: there is no command /nope; /help lists them\r\n"
            r"> (\^D\x08\x08)?\r\n",
            screen,
        )

    def test_ctrl_c_stops_the_answer_and_keeps_the_chat_and_a_second_one_ends_it(self, model):
        # A Ctrl-C just before readline waits for keys is noticed at the next key: the line's end.
        typed = [(b"> ", b"ab\n"), (b"AAA", b"\x03"), (b"60000\r\n> ", b"\x03\n")]
        words = [CHAT, "-m", model, "--template=plain", *ENDLESS]
        code, screen = in_terminal(*words, typed=typed)
        assert code == 130
        assert "Traceback" not in screen
        assert re.search(r"A{3,}(\^C)?A*\r\n\d+ tok · .*/60000\r\n> (\^C)?(\r\n)+$", screen)

    def test_the_answers_alone_go_into_a_file(self, model, tmp_path):
        typed = [(b"> ", b"ab\n"), (b"ctx", b"\x04")]
        words = [CHAT, "-m", model, *PLAIN, A]
        code, screen = in_terminal(*words, typed=typed, redirection=f">{tmp_path / 'out'}")
        assert code == 0
        assert (tmp_path / "out").read_text() == "AAAAA\n"
        assert "A" * 5 not in screen

    def test_colours_are_for_the_prompt_where_they_are_wanted(self, model):
        words = [CHAT, "-m", model, *PLAIN, "--color=always"]
        code, screen = in_terminal(*words, typed=[(b"> ", b"\x04")])
        assert code == 0
        assert "\x1b[32m> " in screen

    def test_bytes_that_are_no_characters_are_one_line(self, model):
        code, screen = in_terminal(CHAT, "-m", model, *PLAIN, typed=[(b"> ", b"\xff\n")])
        assert code == 2
        assert "error: standard input: is not UTF-8" in screen


def test_a_reader_who_leaves_ends_it_in_peace(model):
    words = ["-m", model, *PLAIN, A]
    code, out, err = run(CHAT, *words, stdin=b"ab\ncd\n")
    assert (code, out, err) == (0, b"AAAAA\nAAAAA\n", b"")


def test_lines_need_a_readable_input(monkeypatch):
    class Broken(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, buffer):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Broken())))
    with pytest.raises(UsageError, match="cannot be read: Input/output error"):
        next(lines("> "))
