"""Bytes come from regular files of a bounded size only."""

import os
from pathlib import Path

import pytest

from tinyllm.errors import CheckpointError, ConfigError, TokenizerError
from tinyllm.files import read_bytes
from tinyllm.json_file import read_json


def test_a_file_is_read_whole_up_to_the_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bytes(path, CheckpointError, 5) == b"12345"
    with pytest.raises(CheckpointError, match=r"file: is larger than 4 bytes"):
        read_bytes(path, CheckpointError, 4)


def test_what_is_no_regular_file_is_refused_with_the_callers_error(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for name, reason in [
        ("folder", "is a folder"),
        ("link", "a link to nothing"),
        ("x", "no such"),
    ]:
        with pytest.raises(TokenizerError, match=f"{name}: .*{reason}"):
            read_bytes(tmp_path / name, TokenizerError, 10)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_does_not_hang_the_reader(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TokenizerError, match="is not a regular file"):
        read_bytes(tmp_path / "pipe", TokenizerError, 10)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no /dev/zero")
def test_a_device_without_an_end_is_refused():
    with pytest.raises(TokenizerError, match="is not a regular file"):
        read_bytes(Path("/dev/zero"), TokenizerError, 10)


def test_a_failing_disk_is_one_line(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"")

    def fail(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(TokenizerError, match=r"cannot be read: .*Permission denied"):
        read_bytes(path, TokenizerError, 10)


@pytest.mark.parametrize("content", [None, b"{}", b"x", b"[]", b"\xff"])
def test_a_name_with_a_line_break_is_still_one_line(tmp_path, content):
    path = tmp_path / "a\nb\x1b[31m"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_json(path, ConfigError, 1)
    assert str(caught.value).isprintable()


def test_a_name_that_no_file_can_have_is_refused(tmp_path):
    for name in ["a\0b", "a" * 5000]:
        with pytest.raises(TokenizerError):
            read_bytes(tmp_path / name, TokenizerError, 10)
