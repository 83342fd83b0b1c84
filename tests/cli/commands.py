"""Run commands: in this process, in their own, or in a terminal."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time

from conftest import ROOT

ENDLESS = ["--ctx", "60000", "-n", "50000", "--ignore-eos", "--logit-bias", "68=1000"]  # AAA…


def environment(**changes):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("TINYLLM", "PYTHON", "LC_"))}
    env |= {"PYTHONPATH": str(ROOT)} | changes
    return {key: value for key, value in env.items() if value is not None}


def command(words, python=()):
    return [sys.executable, *python, "-m", *map(str, words)]


def start(*words, **options):
    """Start a command as a process that nobody types to."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    options = streams | {"env": environment()} | options
    return subprocess.Popen(command(words), **options)


def run(*words, stdin=b"", env=None, python=(), **options):
    """Run a command as a process to its end: -> exit code, stdout, stderr."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    done = subprocess.run(
        command(words, python), input=stdin, env=environment(**(env or {})), timeout=60,
        **streams | options,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def redirected(words, redirection, before=""):
    """Run a command from a shell that redirects, as in `>&-`: -> exit code, stdout, stderr."""
    done = subprocess.run(
        ["sh", "-c", f'{before} exec "$0" "$@" {redirection}', *command(words)],
        env=environment(), capture_output=True, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def in_terminal(*words, typed=(), columns=80, env=None, redirection=""):
    """Run a command in a terminal: -> exit code, screen.

    `typed` are pairs: wait until the first is on the screen, behind the one before; type the other.
    """
    import pty
    import termios

    pid, fd = pty.fork()
    if pid == 0:
        shell = ["sh", "-c", f'exec "$0" "$@" {redirection}', *command(words)]
        os.execvpe("sh", shell, environment(TERM="dumb", **(env or {})))
    termios.tcsetwinsize(fd, (24, columns))
    screen, done, deadline = b"", 0, time.monotonic() + 20
    typed = list(typed)
    try:
        while time.monotonic() < deadline:
            if typed and (at := screen.find(typed[0][0], done)) >= 0:
                done = at + len(typed[0][0])
                os.write(fd, typed.pop(0)[1])
            if not select.select([fd], [], [], 1)[0]:
                continue
            try:
                chunk = os.read(fd, 65536)
            except OSError:  # Linux's way to say that the other side has ended
                break
            if not chunk:
                break
            screen += chunk
    finally:
        if time.monotonic() >= deadline:
            os.kill(pid, signal.SIGKILL)
        os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), screen.decode(errors="replace")


def refused(main, words, capsys, code=2):
    """Run a command that must refuse, in one line: -> that line."""
    assert main([str(word) for word in words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert len(err.splitlines()) == 1
    return err[len("error: ") : -1]


def variant(model, folder, weights=None, **changes):
    """Copy a model's folder, with other bytes as weights or other keys in its config."""
    shutil.copytree(model, folder)
    if weights is not None:
        (folder / "model.safetensors").write_bytes(weights)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder
