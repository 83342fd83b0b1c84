"""Cores, memory, storage and the terminal."""

import locale
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from tinyllm.cli.findings.finding import ABSENT, OK, PROBLEM, Finding, reason
from tinyllm.cli.terminal import is_terminal


def machine_findings() -> list[Finding]:
    """Look at cores, memory, storage and the terminal."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = f"{platform.system()} {platform.machine()}, {cores} cores"
    return [
        Finding(name="machine", status=OK, what=system),
        *_memory(),
        *_storage(),
        _terminal(),
    ]


def _memory() -> Iterator[Finding]:
    """Physical memory, and what of it is free, where the system tells."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total = page * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        yield Finding(name="memory", status=ABSENT, what="unknown on this system")
        return
    free = _available() or page * os.sysconf("SC_AVPHYS_PAGES")
    yield Finding(name="memory", status=OK, what=f"{free / 1e9:.1f} GB free of {total / 1e9:.1f}")


def _available() -> int:
    """What Linux says could be had, which is more than what nothing uses; 0 elsewhere."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line[:13] == "MemAvailable:")
    except (OSError, ValueError, StopIteration):
        return 0


def _storage() -> Iterator[Finding]:
    """Free space where the home folder is, for that is where models go."""
    try:
        free = shutil.disk_usage(Path.home()).free
    except (OSError, RuntimeError) as error:
        yield Finding(name="storage", status=ABSENT, what=f"unknown: {reason(error)}")
        return
    full = free < 1e9
    yield Finding(
        name="storage",
        status=PROBLEM if full else OK,
        what=f"{free / 1e9:.1f} GB free in the home folder",
        advice="make room: a model needs some gigabytes" if full else "",
    )


def _terminal() -> Finding:
    """The encoding that the terminal would get without tinyllm, and what it can show."""
    encoding = locale.getpreferredencoding(False)
    kind = os.environ.get("TERM", "unset") if is_terminal(sys.stdout) else "none"
    columns = shutil.get_terminal_size().columns
    what = f"{kind}, {columns} columns, locale's encoding {encoding}"
    if encoding.lower().replace("-", "") != "utf8":
        return Finding(
            name="terminal", status=ABSENT, what=what, advice="tinyllm writes UTF-8 all the same"
        )
    return Finding(name="terminal", status=OK, what=what)
