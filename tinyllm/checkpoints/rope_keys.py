"""Find what a config says of RoPE, in every spelling that config files use.

Three spellings exist: `rope_theta` alone; with `rope_scaling` beside it, whose kind is under `type`
or `rope_type`; and `rope_parameters`, which holds both. Reading the base or the kind from the wrong
one is the commonest silent mistake of all readers, so: nothing is overlooked, nothing contradicts.
"""

from tinyllm.errors import ConfigError
from tinyllm.key_reader import KeyReader

KINDS = ("default", "linear", "dynamic", "llama3", "yarn")
DEFAULT_THETA = 10000.0  # of files older than the key: the first Llama's


def find_rope(config: KeyReader, *, default: float = DEFAULT_THETA) -> tuple[float, str, KeyReader]:
    """Return the base, the kind of scaling, and the object with the kind's numbers.

    `default` is the base where no place gives one. Raises ConfigError where two places contradict
    each other, or the kind is not known.
    """
    base = _base(config)
    branches = [
        branch
        for key in ("rope_parameters", "rope_scaling")
        if (branch := _branch(config, key)) is not None
    ]
    _refuse_contradictions(config, branches)
    inner = [_base(branch) for branch in branches]
    bases = sorted({found for found in (base, *inner) if found is not None})
    if len(bases) > 1:
        raise ConfigError(
            f"{config.where}: rope_theta is {bases[0]} in one place and {bases[1]} in another"
        )
    keys = branches[0] if branches else KeyReader({}, config.where)
    return bases[0] if bases else default, _kind(keys), keys


def _base(keys: KeyReader) -> float | None:
    return keys.number("rope_theta", 1.001, 1e12, default=None)


def _branch(config: KeyReader, key: str) -> KeyReader | None:
    value = config.get(key)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise config.error(key, "expected an object")
    return KeyReader(value, f"{config.where}: {key}")


def _refuse_contradictions(config: KeyReader, branches: list[KeyReader]) -> None:
    """Two spellings may stand side by side only if they say the same."""
    spoken = [branch.values | {"kind": _kind(branch)} for branch in branches]
    apart = {"type", "rope_type", "rope_theta"}
    named = {key for values in spoken for key in values} - apart
    if any(values.get(key) != spoken[0].get(key) for values in spoken for key in named):
        raise ConfigError(f"{config.where}: rope_scaling and rope_parameters differ")


def _kind(keys: KeyReader) -> str:
    old, new = keys.get("type"), keys.get("rope_type")
    if old is not None and new is not None and old != new:
        raise ConfigError(f"{keys.where}: type and rope_type differ")
    return keys.string("type" if new is None else "rope_type", KINDS, default="default")
