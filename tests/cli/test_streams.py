"""Commands as processes: pipes, files, closed streams, signals, locales."""

import os
import signal
import sys

import pytest

from cli.commands import ENDLESS, environment, redirected, run, start
from tiny_vocabulary import id_of

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of Linux")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="of POSIX")
GENERATE = "tinyllm.generate"
NO_OUTPUT = "error: cannot write the output: No space left on device\n"


def test_the_answer_alone_is_on_stdout_and_nothing_is_written_elsewhere(model, loaded, tmp_path):
    words = ["-m", model, "the é", "--seed=1", "-n", "20"]
    wanted = (loaded.generate("the é", seed=1, max_tokens=20).text + "\n").encode()
    tmp_path.chmod(0o500)
    env = {"HOME": None}
    done = run(GENERATE, *words, env=env, cwd=tmp_path, python=["-W", "error"])
    assert done == (0, wanted, b"")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "cp1252", "TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "1"},
    ],
    ids=["C", "C without UTF-8 mode", "cp1252"],
)
def test_any_character_comes_through_any_locale(model, env):
    words = ["-m", model, "-n", "3", "--echo", f"--logit-bias={id_of('世')}=1000"]
    done = run(GENERATE, *words, stdin="😀é".encode(), env=env)
    assert done == (0, "😀é世世世\n".encode(), b"")


def test_a_reader_who_leaves_ends_it_in_peace(model):
    with start(GENERATE, "-m", model, "ab", *ENDLESS) as process:
        assert process.stdout.read(3) == b"AAA"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_a_signal_ends_it_and_keeps_the_answer_so_far(model, number, code):
    process = start(GENERATE, "-m", model, "ab", *ENDLESS)
    begun = process.stdout.read(3)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert set(begun + out) == {ord("A")}
    assert err == b""
    assert process.returncode == code


CLOSED = {
    "stdout": ([">&-"], 2, b"error: standard output is closed: there is nowhere to write"),
    "stdin": (["<&-"], 2, b"error: there is no prompt, and standard input is closed"),
    "stdin for reading": (["0>/dev/null"], 2, b"error: standard input cannot be read: "),
    "stderr": (["</dev/null 2>&-"], 0, b""),
}


@pytest.mark.parametrize("case", CLOSED)
def test_a_closed_stream_is_one_line_or_none(model, case):
    redirections, code, says = CLOSED[case]
    done, out, err = redirected([GENERATE, "-m", model, "-n", "0", "--stats"], *redirections)
    assert (done, out) == (code, b"" if code else b"\n")
    assert err.startswith(says)
    assert err.count(b"\n") == bool(says)


def test_an_error_that_nobody_hears_keeps_its_code(model):
    for redirection in ("2>&-", "2>/dev/full")[: 1 + os.path.exists("/dev/full")]:
        assert redirected([GENERATE, "-m", "no such folder", "ab"], redirection)[:2] == (2, b"")


@LINUX
@pytest.mark.parametrize("words", [["-m", "{model}", "ab", "-n", "3"], ["--version"]])
def test_a_full_disk_is_one_line(model, words):
    words = [word.format(model=model) for word in words]
    code, _, err = redirected([GENERATE, *words], ">/dev/full")
    assert (code, err.decode()) == (2, NO_OUTPUT)


def test_a_light_start_loads_no_numpy():
    script = (
        "import sys, tinyllm\n"
        "from tinyllm.__main__ import main\n"
        "for words in (['--version'], ['generate', '--help'], ['convert', '--help']):\n"
        "    try: main(words)\n"
        "    except SystemExit as done: assert not done.code\n"
        "assert 'numpy' not in sys.modules"
    )
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
