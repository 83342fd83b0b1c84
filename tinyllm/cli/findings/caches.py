"""The Hugging Face caches, and the models in them."""

from pathlib import Path

from tinyllm.cli.findings.finding import ABSENT, OK, PROBLEM, Finding, reason

_SHOWN = 10  # models of a cache


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
