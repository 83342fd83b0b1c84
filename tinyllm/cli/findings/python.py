"""Python, the packages that tinyllm needs, and the library behind NumPy's matrix products."""

import importlib
import platform
import re
import sys
from importlib import metadata

from tinyllm.cli.findings.finding import ABSENT, OK, PROBLEM, Finding, reason

# What the package needs, and the least version, as pyproject.toml says.
NEEDED = {
    "numpy": (2, 1),
    "safetensors": (0, 5),
    "ml_dtypes": (0, 5),
    "tiktoken": (),
    "threadpoolctl": (),
}


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
        from threadpoolctl import threadpool_info

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
