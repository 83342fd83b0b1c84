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
    with start(GENERATE, "-m", model, "ab", *ENDLESS, "-q") as process:
        assert process.stdout.read(3) == b"AAA"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_a_signal_ends_it_and_keeps_the_answer_so_far(model, number, code):
    process = start(GENERATE, "-m", model, "ab", *ENDLESS, "-q")
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


def test_a_pipe_can_be_the_prompts_file(model, loaded):
    words = [GENERATE, "-m", model, "--seed=1", "-n", "5", "-f", "/dev/stdin"]
    wanted = (loaded.generate("the in", seed=1, max_tokens=5).text + "\n").encode()
    assert run(*words, stdin=b"the in") == (0, wanted, b"")


def test_a_pipe_that_is_not_utf8_or_has_no_end_is_one_line(model):
    code, _, err = run(GENERATE, "-m", model, "-f", "/dev/stdin", stdin=b"ab\xff")
    assert (code, err) == (2, b"error: /dev/stdin: is not UTF-8 at byte 2\n")


@LINUX
def test_a_device_without_an_end_is_one_line(model, capsys, monkeypatch):
    from tinyllm.cli import text_input
    from tinyllm.generate import main

    monkeypatch.setattr(text_input, "LONGEST", 1000)
    assert main(["-m", str(model), "-f", "/dev/zero"]) == 2
    assert "/dev/zero: gives more than 1000 bytes" in capsys.readouterr().err


def test_ctrl_c_while_it_is_imported_ends_it_without_a_traceback():
    """Python itself shows one in the moments before it runs a line of ours."""
    script = (
        "import os, runpy, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'tinyllm.cli.command': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)\n"
    )
    import subprocess

    for module in ("tinyllm.generate", "tinyllm"):
        done = subprocess.run(
            [sys.executable, "-c", script, module, "--version"],
            env=environment(), capture_output=True, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_converts_leaves_nothing(model, tmp_path, number):
    """The signal comes when the weights are written and the rest is not."""
    script = (
        "import os, sys, tinyllm.tokenizers\n"
        "from tinyllm.convert import main\n"
        f"def kill(*_): assert os.listdir({str(tmp_path)!r}); os.kill(os.getpid(), {int(number)})\n"
        "tinyllm.tokenizers.Tokenizer.save = kill\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", script, str(model), str(tmp_path / "out")],
        env=environment(), capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == (-signal.SIGTERM if number == signal.SIGTERM else 130)
    assert (done.stdout, done.stderr) == (b"", b"")
    assert os.listdir(tmp_path) == []


def test_signals_are_as_before_after_a_command(model, capsys):
    from tinyllm.generate import main

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert main(["-m", str(model), "ab", "-n1"]) == 0
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_command_runs_in_any_thread(model, capsys):
    from threading import Thread

    from tinyllm.generate import main

    codes = []
    thread = Thread(target=lambda: codes.append(main(["-m", str(model), "ab", "-n1"])))
    thread.start()
    thread.join()
    assert codes == [0]


def test_ctrl_c_that_is_ignored_stays_ignored(model):
    """As in the background of a shell's script."""
    words = [GENERATE, "-m", model, "ab", "-n3", "--logit-bias=68=1000"]
    code, out, err = redirected(words, "</dev/null", before="trap '' INT; kill -INT $$;")
    assert (code, out, err) == (0, b"AAA\n", b"")
