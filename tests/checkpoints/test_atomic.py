"""A file is the old one or the new one, whatever happens in between."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tinyllm.checkpoints.atomic import atomic_write
from tinyllm.errors import CheckpointError


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    (tmp_path / "x").write_bytes(b"old")

    def write_half():
        with atomic_write(tmp_path / "x") as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write_half()
    assert (tmp_path / "x").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_a_finished_write_takes_the_place(tmp_path):
    (tmp_path / "x").write_bytes(b"old")
    with atomic_write(tmp_path / "x") as file:
        file.write(b"new")
        assert (tmp_path / "x").read_bytes() == b"old"
    assert (tmp_path / "x").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["x"]


def test_who_has_the_old_file_open_keeps_its_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"old")
    with open(tmp_path / "x", "rb") as old:
        with atomic_write(tmp_path / "x") as file:
            file.write(b"new")
        assert old.read() == b"old"


def test_the_file_has_the_permissions_that_a_new_file_has(tmp_path):
    (tmp_path / "plain").touch()
    with atomic_write(tmp_path / "x"):
        pass
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("path", ["absent/x", "folder", "a\0b"])
def test_what_the_disk_refuses_is_an_error_of_ours(tmp_path, path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match="cannot be written"), atomic_write(tmp_path / path):
        pass
    assert os.listdir(tmp_path) == ["folder"]


WRITER = """
import sys
from tinyllm.checkpoints.atomic import atomic_write
i = 0
print(flush=True)
while True:
    i += 1
    with atomic_write(sys.argv[1]) as file:
        for _ in range(20):
            file.write(bytes([i % 256]) * 5000)
            file.flush()
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    for i in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path / "x"],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        child.stdout.readline()
        time.sleep(0.05 + 0.013 * i)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        content = (tmp_path / "x").read_bytes()
        assert len(content) == 100_000
        assert len(set(content)) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE")
def test_a_full_disk_is_an_error_of_ours(tmp_path):
    code = """
import resource, signal, sys
from tinyllm.checkpoints.atomic import atomic_write
from tinyllm.errors import CheckpointError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with atomic_write(sys.argv[1]) as file:
        file.write(bytes(5000))
except CheckpointError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "x"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert "x: cannot be written" in result.stdout, result.stderr
    assert os.listdir(tmp_path) == []
