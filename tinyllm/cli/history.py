"""A conversation in a file: one JSON object a line, {"role": …, "content": …}."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tinyllm.errors import UsageError
from tinyllm.files import read_bytes
from tinyllm.shown import plain

_LONGEST = 64 * 2**20  # bytes


@contextmanager
def kept_from_others(path: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a conversation's file for the `with` block: of two chats the last to write would win.

    Raises UsageError where another chat has it, or nothing can be written beside it.
    """
    from tinyllm.training.lock import locked

    file = Path(path)
    if not file.name or (file.exists() and not file.is_file()):  # to read it says what is wrong
        yield
        return
    busy = "is talking there; wait for its end, or give another --history"
    with locked(file.with_name(f"{file.name}.lock"), say, of=path, busy=busy):
        yield


def read_history(path: str) -> tuple[str | None, list[dict[str, str]]]:
    """Return the system message, if there is one, and the messages; nothing where no file is.

    Raises UsageError where the file is not such a conversation.
    """
    file = Path(path)
    if not file.exists() or (file.is_file() and not file.stat().st_size):
        return None, []
    try:
        text = read_bytes(file, UsageError, _LONGEST).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{plain(path)}: is not UTF-8 at byte {error.start}") from error
    messages = [
        _message(line, f"{plain(path)}: line {number}")
        for number, line in enumerate(text.removesuffix("\n").split("\n"), 1)
    ]
    system = (
        messages.pop(0)["content"] if messages[:1] and messages[0]["role"] == "system" else None
    )
    roles = [message["role"] for message in messages]
    if roles != ["user", "assistant"] * (len(roles) // 2):
        raise UsageError(f"{plain(path)}: the messages must be by user and assistant in turns")
    return system, messages


def write_history(path: str, system: str | None, messages: list[Any]) -> None:
    """Write a conversation; the file is the old or the new one, never half of it.

    Raises CheckpointError where it cannot be written.
    """
    from tinyllm.checkpoints.atomic import atomic_write

    own = [] if system is None else [{"role": "system", "content": system}]
    with atomic_write(path) as file:
        for message in [*own, *messages]:
            file.write(json.dumps(message, ensure_ascii=False).encode() + b"\n")


def _message(line: str, where: str) -> dict[str, str]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    match message:
        case {"role": "system" | "user" | "assistant" as role, "content": str(content), **rest}:
            if not rest and _is_text(content):
                return {"role": role, "content": content}
    raise UsageError(f'{where} is no message: {{"role": "user", "content": "…"}}, say')


def _is_text(content: str) -> bool:
    """Whether there is no half of a surrogate pair in it."""
    return not any("\ud800" <= character <= "\udfff" for character in content)
