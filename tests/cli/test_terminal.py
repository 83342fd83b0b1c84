"""What a person at a terminal sees, in a pseudo-terminal and of the pieces."""

import io
import os
import re
import signal
import sys

import pytest

from cli.commands import ENDLESS, in_terminal
from tiny_vocabulary import id_of
from tinyllm.cli import color, terminal
from tinyllm.cli.terminal import Messages, peak_memory, printable, speed
from tinyllm.generate import main

pty = pytest.mark.skipif(os.name != "posix", reason="of POSIX")
GENERATE = "tinyllm.generate"
WIPED = r"\r +\r"


@pty
def test_progress_is_wiped_then_come_the_answer_and_the_stats(model):
    escape = f"--logit-bias={id_of('<0x1B>')}=1000"
    code, screen = in_terminal(
        GENERATE, "-m", model, "the", "-n", "2", "--seed=7", escape, columns=40
    )
    assert code == 0
    shown = re.fullmatch(
        rf"\rloading (.*)\rreading 2 tokens … *{WIPED}"
        r"\\x1b\\x1b\r\n"
        r"prompt 2 tok, .* · generated 2 tok, .* · peak .* · seed 7 · stop: length\r\n",
        screen,
    )
    assert shown
    assert str(model).startswith(shown[1])
    assert all(len(line) < 40 for line in screen.split("\r")[:3])
    assert "\x1b" not in screen


@pty
def test_quiet_shows_the_answer_alone(model):
    a = "--logit-bias=68=1000"
    code, screen = in_terminal(GENERATE, "-m", model, "ab", "-n", "2", "--quiet", a)
    assert (code, screen) == (0, "AA\r\n")


@pty
def test_an_error_wipes_the_progress_first():
    code, screen = in_terminal(GENERATE, "-m", "no such folder", "ab", "--raw")
    assert code == 2
    assert re.fullmatch(rf"\rloading no such folder …{WIPED}error: .*\r\n", screen)


@pty
def test_ctrl_c_ends_the_line_and_keeps_the_answer_so_far(model):
    words = [GENERATE, "-m", model, "ab", *ENDLESS]
    code, screen = in_terminal(*words, typed=[(b"AAA", b"\x03")])
    assert code == 130
    assert re.fullmatch(r"[^A]*A{3,}(\^C)?A*\r\n", screen)


@pty
def test_ctrl_c_ends_the_line_of_progress_where_the_answer_goes_elsewhere(model):
    words = [GENERATE, "-m", model, "ab", "--no-stream", *ENDLESS]
    code, screen = in_terminal(*words, typed=[(b"reading", b"\x03")], redirection=">/dev/null")
    assert code == 130
    assert screen.endswith("\r\n")
    assert "Traceback" not in screen


@pty
@pytest.mark.parametrize("moment", ["loading", "reading"])
def test_ctrl_c_while_it_loads_or_reads_ends_it(model, tmp_path, moment):
    """A prompt that takes long to read, in a folder that takes long to load: a pipe would, say."""
    words = [GENERATE, "-m", model, "the " * 15000, "--ctx=60000", "-n1", "--raw"]
    code, screen = in_terminal(*words, typed=[(moment.encode(), b"\x03")])
    assert code == 130
    assert screen.endswith("\r\n")
    assert "Traceback" not in screen


@pty
def test_a_second_ctrl_c_does_no_more(model):
    words = [GENERATE, "-m", model, "ab", *ENDLESS]
    code, screen = in_terminal(*words, typed=[(b"AAA", b"\x03\x03")])
    assert code in (130, -signal.SIGINT)  # the latter where it came as Python was leaving
    assert "Traceback" not in screen


@pty
def test_a_terminal_may_be_one_column_wide(model):
    a = "--logit-bias=68=1000"
    code, screen = in_terminal(GENERATE, "-m", model, "ab", "-n2", a, columns=1)
    assert code == 0
    assert "AA\r\n" in screen


@pty
def test_a_prompt_can_be_typed(model):
    words = [GENERATE, "-m", model, "-", "-n", "0", "--echo", "-q"]
    code, screen = in_terminal(*words, typed=[(b"", b"ab\n\x04")])
    assert code == 0
    assert screen.replace("^D\b\b", "").endswith("ab\r\n\r\n")


@pytest.mark.parametrize("where", ["tinyllm.model.load", "tinyllm.generate.read_prompt"])
def test_ctrl_c_before_the_answer_is_silent(model, capsys, monkeypatch, where):
    monkeypatch.setattr(where, lambda *_, **__: signal.raise_signal(signal.SIGINT))
    assert main(["-m", str(model), "ab"]) == 130
    assert capsys.readouterr() == ("", "")


class Screen(io.StringIO):
    def isatty(self):
        return True

    def new(self):
        """What came since the last time."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


def watch(monkeypatch):
    """Let stderr be a terminal, 20 columns wide. (pytest sets it again after fixtures.)"""
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "20")
    return screen


def test_a_status_replaces_the_one_before_and_fits_the_terminal(monkeypatch):
    screen = watch(monkeypatch)
    messages = Messages()
    messages.status("loading a\nvery long name …")
    assert screen.new() == "\rloading a very long"
    messages.status("reading")
    assert screen.new() == "\rreading            "
    messages.say("done")
    assert screen.new() == "\r       \rdone\n"
    messages.clear()
    assert screen.new() == ""


def test_quiet_leaves_the_errors(monkeypatch):
    screen = watch(monkeypatch)
    messages = Messages()
    messages.quiet = True
    messages.status("loading")
    messages.note("odd")
    messages.say("error: bad")
    assert screen.new() == "error: bad\n"


def test_a_closed_stderr_hears_nothing(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    Messages().say("error: bad")
    Messages().status("loading")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("code", [*range(9), *range(11, 32), *range(127, 160)])
def test_a_control_character_is_shown_and_not_obeyed(code):
    assert printable(f"a{chr(code)}b") == f"a\\x{code:02x}b"


def test_other_characters_are_themselves():
    assert printable("a\n\tb é世😀\u0301") == "a\n\tb é世😀\u0301"


def test_colours_are_for_a_terminal_that_wants_them(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen, pipe = Screen(), io.StringIO()
    assert [color.wanted("auto", stream) for stream in (screen, pipe, None)] == [True, False, False]
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert not color.wanted("auto", screen)
    assert color.wanted("always", pipe)
    assert not color.wanted("never", screen)
    assert color.paint("a\n\nb", "1") == "\x1b[1ma\x1b[0m\n\n\x1b[1mb\x1b[0m"
    assert color.paint("a", "1", on=False) == "a"


def test_speed_needs_tokens_and_time():
    assert speed(10, 4.0) == ", 2.5 tok/s"
    assert speed(0, 4.0) == speed(10, 0.0) == speed(-1, 1.0) == ""


def test_memory_is_counted_in_the_systems_unit(monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(
        resource, "getrusage", lambda _: type("Usage", (), {"ru_maxrss": 2_000_000})
    )
    monkeypatch.setattr(sys, "platform", "linux")
    assert peak_memory() == "2.0 GB"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert peak_memory() == "2 MB"
    monkeypatch.setattr(terminal.os, "name", "nt")
    assert peak_memory() == ""
