"""What the doctor looks at: Python and its packages, the machine, the models that are there."""

import importlib
import locale
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tinyllm.cli.terminal import is_terminal

OK, ABSENT, PROBLEM = "ok", "–", "problem"
# What the package needs, and the least version, as pyproject.toml says.
NEEDED = {
    "numpy": (2, 1),
    "safetensors": (0, 5),
    "ml_dtypes": (0, 5),
    "tiktoken": (),
    "threadpoolctl": (),
}
_SHOWN = 10  # models of a cache


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at; `status` is OK, ABSENT or PROBLEM."""

    name: str
    status: str
    what: str
    advice: str = ""


def python_findings() -> list[Finding]:
    """Look at Python and at the packages that tinyllm needs."""
    version, wanted = platform.python_version(), sys.version_info >= (3, 11)
    findings = [
        Finding(
            name="python",
            status=OK if wanted else PROBLEM,
            what=f"{version} at {sys.executable}",
            advice="" if wanted else "install Python 3.11 or newer",
        )
    ]
    findings += [_package(name, least) for name, least in NEEDED.items()]
    return [*findings, _blas()]


def _package(name: str, least: tuple[int, ...]) -> Finding:
    """Import a package; being installed does not mean that it works."""
    try:
        importlib.import_module(name)
        version = metadata.version(name)
    except Exception as error:  # whatever a broken package raises
        return Finding(
            name=name, status=PROBLEM, what=reason(error), advice=f"python -m pip install {name}"
        )
    numbers = tuple(int(digits) for digits in re.findall(r"[0-9]+", version)[:2])
    if numbers < least:
        asked = f"{name}>={'.'.join(map(str, least))}"
        return Finding(
            name=name, status=PROBLEM, what=version, advice=f"python -m pip install '{asked}'"
        )
    return Finding(name=name, status=OK, what=version)


def _blas() -> Finding:
    """Look at the library behind NumPy's matrix products, and its threads."""
    try:
        import numpy as np
        from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

        np.ones((2, 2)) @ np.ones((2, 2))
        pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
        built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    except Exception as error:  # a package that is broken was named above
        return Finding(name="blas", status=ABSENT, what=f"unknown: {reason(error)}")
    if not pools:
        return Finding(name="blas", status=OK, what=f"{built}, threads unknown")
    threads = ", ".join(
        f"{pool['internal_api']} {pool.get('version')}, {pool['num_threads']} threads"
        for pool in pools
    )
    return Finding(name="blas", status=OK, what=threads)


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


def cache_findings() -> list[Finding]:
    """Look at the Hugging Face caches, and at the models in them."""
    from tinyllm.checkpoints.hub_cache import caches

    findings = []
    for cache in caches():
        try:
            folders = sorted(cache.glob("models--*")) if cache.is_dir() else None
        except OSError as error:
            findings.append(Finding(name="cache", status=PROBLEM, what=f"{cache}: {reason(error)}"))
            continue
        if folders is None:
            findings.append(Finding(name="cache", status=ABSENT, what=f"{cache} is not there"))
            continue
        findings.append(Finding(name="cache", status=OK, what=f"{cache}: {len(folders)} models"))
        findings += [_model(folder) for folder in folders[:_SHOWN]]
        if len(folders) > _SHOWN:
            more = f"and {len(folders) - _SHOWN} more in {cache}"
            findings.append(Finding(name="model", status=OK, what=more))
    return findings


def _model(folder: Path) -> Finding:
    """Look whether a model in a cache is complete, as `load` would."""
    from tinyllm.checkpoints import find_model
    from tinyllm.errors import TinyllmError

    name = folder.name.removeprefix("models--").replace("--", "/")
    try:
        snapshot = find_model(name)
    except TinyllmError as error:
        return Finding(name="model", status=ABSENT, what=str(error))
    weights = any(snapshot.glob("*.safetensors")) and (snapshot / "config.json").exists()
    return Finding(
        name="model",
        status=OK if weights else ABSENT,
        what=f"{name}{'' if weights else ': no config.json with safetensors beside it'}",
    )


def reason(error: BaseException) -> str:
    """Return what an error says, in one line and with its kind."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__
