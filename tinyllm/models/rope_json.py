"""Read and write a RoPE's description, in every spelling that config files use.

Three spellings exist: `rope_theta` alone; with `rope_scaling` beside it, whose kind is under `type`
or `rope_type`; and `rope_parameters`, which holds both. Reading the base or the kind from the wrong
one is the commonest silent mistake of all readers, so: nothing is overlooked, nothing contradicts.
"""

from typing import Any

from tinyllm.errors import ConfigError
from tinyllm.models.key_reader import KeyReader
from tinyllm.models.rope import Rope
from tinyllm.ops.rope_scaling import yarn_scale

KINDS = ("default", "linear", "dynamic", "llama3", "yarn")
LARGEST = 1e6  # of a factor: far beyond any that was published, and no power of it overflows
DEFAULT_THETA = 10000.0  # of files older than the key: the first Llama's


def read_rope(config: KeyReader, max_seq_len: int) -> Rope:
    """Read what the config says of RoPE. Raises ConfigError for a kind or a key it does not know.

    `max_seq_len`, in tokens, is the original context of the `dynamic` kind.
    """
    theta = config.number("rope_theta", 1.001, 1e12, default=None)
    old, new = _branch(config, "rope_scaling"), _branch(config, "rope_parameters")
    keys = new or old
    if keys is None:
        return Rope(theta=DEFAULT_THETA if theta is None else theta)
    _refuse_contradictions(config, theta, old, new)
    inner = keys.number("rope_theta", 1.001, 1e12, default=None)
    theta = next((t for t in (inner, theta) if t is not None), DEFAULT_THETA)
    rope = _read_kind(keys, theta, max_seq_len)
    if keys.number("partial_rotary_factor", 0.0, default=1.0) != 1.0:
        raise keys.error("partial_rotary_factor", "tinyllm rotates whole heads in this family")
    keys.refuse_unread()
    return rope


def write_rope(rope: Rope) -> dict[str, Any]:
    """Return the config keys that describe `rope`, readable by old and new readers alike."""
    if rope.kind == "default":
        return {"rope_theta": rope.theta}
    scaling: dict[str, Any] = {"rope_type": rope.kind, "factor": rope.factor}
    if rope.kind == "llama3":
        scaling |= {
            "low_freq_factor": rope.low_freq_factor,
            "high_freq_factor": rope.high_freq_factor,
        }
    if rope.kind == "yarn":
        scaling |= {
            "attention_factor": rope.scale,
            "beta_fast": rope.beta_fast,
            "beta_slow": rope.beta_slow,
            "truncate": rope.truncate,
        }
    if rope.kind in ("llama3", "yarn"):
        scaling["original_max_position_embeddings"] = rope.original_context
    return {"rope_theta": rope.theta, "rope_scaling": scaling}


def _branch(config: KeyReader, key: str) -> KeyReader | None:
    value = config.get(key)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise config.error(key, "expected an object")
    return KeyReader(value, f"{config.where}: {key}")


def _refuse_contradictions(
    config: KeyReader, theta: float | None, old: KeyReader | None, new: KeyReader | None
) -> None:
    """Two spellings may stand side by side only if they say the same."""
    branches = [branch for branch in (old, new) if branch]
    if old and new:
        apart = {"type", "rope_type", "rope_theta"}
        spoken = [branch.values | {"kind": _kind(branch)} for branch in branches]
        named = (spoken[0].keys() | spoken[1].keys()) - apart
        if any(spoken[0].get(key) != spoken[1].get(key) for key in named):
            raise ConfigError(f"{config.where}: rope_scaling and rope_parameters differ")
    inner = [branch.number("rope_theta", 1.001, 1e12, default=None) for branch in branches]
    bases = sorted({base for base in (theta, *inner) if base is not None})
    if len(bases) > 1:
        raise ConfigError(
            f"{config.where}: rope_theta is {bases[0]} in one place and {bases[1]} in another"
        )


def _kind(keys: KeyReader) -> str:
    kinds = {keys.get("type"), keys.get("rope_type")} - {None}
    if len(kinds) > 1:
        raise ConfigError(f"{keys.where}: type and rope_type differ")
    key = "rope_type" if keys.get("rope_type") is not None else "type"
    return keys.string(key, KINDS, default="default")


def _read_kind(keys: KeyReader, theta: float, max_seq_len: int) -> Rope:
    """Read the numbers that belong to the kind, and no others."""
    kind = _kind(keys)
    if kind == "default":
        return Rope(theta=theta)
    factor = keys.number("factor", 1.0, LARGEST)
    if kind == "linear":
        return Rope(theta=theta, kind=kind, factor=factor)
    if kind == "dynamic":
        return Rope(theta=theta, kind=kind, factor=factor, original_context=max_seq_len)
    context = keys.integer("original_max_position_embeddings", 1, 2**31)
    if kind == "llama3":
        low, high = keys.number("low_freq_factor", 1e-6), keys.number("high_freq_factor", 1e-6)
        if low >= high:
            raise keys.error("low_freq_factor", f"expected less than high_freq_factor, {high}")
        return Rope(
            theta=theta,
            kind=kind,
            factor=factor,
            original_context=context,
            low_freq_factor=low,
            high_freq_factor=high,
        )
    fast = keys.number("beta_fast", 1e-6, LARGEST, default=32.0)
    slow = keys.number("beta_slow", 1e-6, LARGEST, default=1.0)
    if fast < slow:
        raise keys.error("beta_fast", f"expected at least beta_slow, {slow}")
    return Rope(
        theta=theta,
        kind=kind,
        factor=factor,
        original_context=context,
        beta_fast=fast,
        beta_slow=slow,
        truncate=keys.boolean("truncate", True),
        scale=_yarn_scale(keys, factor),
    )


def _yarn_scale(keys: KeyReader, factor: float) -> float:
    given = keys.number("attention_factor", 0.0, default=None)
    m, m_all = (keys.number(key, 0.0, default=0.0) for key in ("mscale", "mscale_all_dim"))
    if given is not None:
        return given
    return yarn_scale(factor, m) / yarn_scale(factor, m_all) if m and m_all else yarn_scale(factor)
