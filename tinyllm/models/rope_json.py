"""Read and write the numbers of a RoPE's scaling: those of its kind, and no others."""

from dataclasses import replace
from typing import Any

from tinyllm.checkpoints.rope_keys import DEFAULT_THETA, find_rope
from tinyllm.checkpoints.sizes import Sizes, check_pairs
from tinyllm.key_reader import KeyReader
from tinyllm.models.rope import Rope, rotated
from tinyllm.ops.rope_scaling import yarn_scale

PARTIAL = "partial_rotary_factor"
LARGEST = 1e6  # of a factor: far beyond any that was published, and no power of it overflows


def read_rope(
    config: KeyReader, sizes: Sizes, *, partial: bool = False, theta: float = DEFAULT_THETA
) -> Rope:
    """Read what the config says of RoPE. Raises ConfigError for a kind or a key it does not know.

    `partial` says whether the family can turn a part of each head, `partial_rotary_factor` of it;
    `theta` is the family's base where the file gives none.

    The model's `max_seq_len` is the original context of the `dynamic` kind, and of the `yarn` kind
    where the file gives none.
    """
    base, kind, keys = find_rope(config, default=theta)
    rope = _read_kind(keys, kind, base, sizes.max_seq_len)
    fractions = [branch.number(PARTIAL, 0.0, 1.0, default=None) for branch in (keys, config)]
    told = {fraction for fraction in fractions if fraction is not None}
    if told - {1.0} and not partial:
        where = keys if fractions[0] is not None else config
        raise where.error(PARTIAL, "tinyllm rotates whole heads in this family")
    if len(told) > 1:
        raise config.error(PARTIAL, f"and {fractions[0]} in another place")
    rope = replace(rope, fraction=told.pop()) if told else rope
    check_pairs(rotated(rope, sizes.head_dim), config.where)
    keys.refuse_unread()
    return rope


def write_rope(rope: object) -> dict[str, Any]:
    """Return the config keys that describe a RoPE, readable by old and new readers alike.

    Other positions have no such keys: to read them back as if they were RoPE is an error.
    """
    if not isinstance(rope, Rope):
        return {}
    partial = {} if rope.fraction == 1.0 else {PARTIAL: rope.fraction}
    if rope.kind == "default":
        return {"rope_theta": rope.theta, **partial}
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
    return {"rope_theta": rope.theta, "rope_scaling": scaling, **partial}


def _read_kind(keys: KeyReader, kind: str, theta: float, max_seq_len: int) -> Rope:
    """Read the numbers that belong to the kind, and no others."""
    if kind == "default":
        return Rope(theta=theta)
    rope = Rope(theta=theta, kind=kind, factor=keys.number("factor", 1.0, LARGEST))
    match kind:
        case "dynamic":
            return replace(rope, original_context=max_seq_len)
        case "llama3":
            return _read_llama3(keys, rope)
        case "yarn":
            return _read_yarn(keys, rope, max_seq_len)
    return rope


def _read_llama3(keys: KeyReader, rope: Rope) -> Rope:
    low, high = keys.number("low_freq_factor", 1e-6), keys.number("high_freq_factor", 1e-6)
    if low >= high:
        raise keys.error("low_freq_factor", f"expected less than high_freq_factor, {high}")
    context = keys.integer("original_max_position_embeddings", 1, 2**31)
    return replace(rope, original_context=context, low_freq_factor=low, high_freq_factor=high)


def _read_yarn(keys: KeyReader, rope: Rope, max_seq_len: int) -> Rope:
    fast = keys.number("beta_fast", 1e-6, LARGEST, default=32.0)
    slow = keys.number("beta_slow", 1e-6, LARGEST, default=1.0)
    if fast < slow:
        raise keys.error("beta_fast", f"expected at least beta_slow, {slow}")
    return replace(
        rope,
        original_context=keys.integer(
            "original_max_position_embeddings", 1, 2**31, default=max_seq_len
        ),
        beta_fast=fast,
        beta_slow=slow,
        truncate=keys.boolean("truncate", True),
        scale=_yarn_scale(keys, rope.factor),
    )


def _yarn_scale(keys: KeyReader, factor: float) -> float:
    given = keys.number("attention_factor", 0.0, default=None)
    m, m_all = (keys.number(key, 0.0, default=0.0) for key in ("mscale", "mscale_all_dim"))
    if given is not None:
        return given
    return yarn_scale(factor, m) / yarn_scale(factor, m_all) if m and m_all else yarn_scale(factor)
