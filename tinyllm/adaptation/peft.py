"""Adapters as PEFT writes them: adapter_config.json and adapter_model.safetensors.

    base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight     (r, C)
    base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight     (D, r)

The modules have the names of the family's own files. Where such a file keeps several of our
matrices in one, their adapters are no adapter of that one, and cannot be written.
"""

import json
from pathlib import Path
from typing import Any

from tinyllm.adaptation.lora import A, B, Lora, adapted_modules
from tinyllm.backend import Params
from tinyllm.checkpoints import check_plan, read_tensors, write_tensors
from tinyllm.checkpoints.atomic import atomic_write
from tinyllm.errors import CheckpointError, ConfigError, UsageError
from tinyllm.json_file import read_json
from tinyllm.models.architecture import Config, architecture
from tinyllm.models.config import DecoderConfig
from tinyllm.models.seq2seq_config import Seq2SeqConfig
from tinyllm.models.stored import Stored, stored_plan
from tinyllm.shown import plain

PREFIX = "base_model.model."
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TASKS = {DecoderConfig: "CAUSAL_LM", Seq2SeqConfig: "SEQ_2_SEQ_LM"}  # PEFT has none of masks
# What changes the arithmetic, with the values that mean that it does not.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "use_rslora": (False, None), "use_dora": (False, None), "bias": ("none", None),
    "rank_pattern": ({}, None), "alpha_pattern": ({}, None), "modules_to_save": (None, []),
    "lora_bias": (False, None), "layers_to_transform": (None,), "exclude_modules": (None, []),
    "alora_invocation_tokens": (None,),
    "init_lora_weights": (True, False, None, "gaussian"),  # others may change the base's matrices
}  # fmt: skip


def names_in_peft(config: Config, lora: Lora) -> dict[str, str]:
    """Return the module in the family's files for each adapted one.

    Raises UsageError where a file has several in one matrix.
    """
    wanted = {f"{module}.weight": module for module in adapted_modules(config, lora)}
    names: dict[str, str] = {}
    for in_file, stored in _plan(config).items():
        for name in stored.names:
            if name in wanted:
                if len(stored.names) > 1:
                    raise UsageError(
                        f"{in_file} holds {', '.join(stored.names)} in one, and PEFT has no "
                        f"adapters for parts: give targets that stand alone"
                    )
                names[wanted[name]] = in_file.removesuffix(".weight")
    return names


def write_adapter(
    folder: Path, adapters: Params, config: Config, lora: Lora, *, base: str | None
) -> None:
    """Write adapters, in NumPy, for PEFT: `base` is what the config calls the model beside them."""
    names = names_in_peft(config, lora)
    tensors = {
        f"{PREFIX}{names[module]}.{end}": adapters[f"{module}.{end}"]
        for module in names
        for end in (A, B)
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{plain(folder)}: cannot be made: {error}") from error
    said = {
        "peft_type": "LORA", "task_type": TASKS.get(type(config)), "base_model_name_or_path": base,
        "r": lora.rank, "lora_alpha": lora.alpha, "lora_dropout": 0.0, "bias": "none",
        "target_modules": _targets(config, list(names.values())),
        "fan_in_fan_out": any(stored.transposed for stored in _plan(config).values()),
        "use_rslora": False, "use_dora": False,
        "init_lora_weights": True, "inference_mode": True, "modules_to_save": None,
    }  # fmt: skip
    write_tensors(folder / WEIGHTS, tensors, {"format": "pt"})
    with atomic_write(folder / CONFIG) as file:
        file.write((json.dumps(said, indent=2) + "\n").encode())


def _plan(config: Config) -> dict[str, Stored]:
    kind = architecture(config)
    return stored_plan(list(kind.param_shapes(config)), kind.names(config))


def _targets(config: Config, names: list[str]) -> list[str]:
    """Return the ends of names that mean these modules and no others, or the names themselves."""
    short = {name.rpartition(".")[2] for name in names}
    meant = [n.removesuffix(".weight") for n in _plan(config) if n.endswith(".weight")]
    meant = [name for name in meant if name.rpartition(".")[2] in short]
    return sorted(short if set(meant) == set(names) else names)


def read_adapter(folder: Path, config: Config) -> tuple[Params, Lora]:
    """Read adapters that we or PEFT have written, for a model of this config.

    Raises ConfigError for a kind of adapter that is not known here, CheckpointError for tensors
    that do not fit.
    """
    where, values = plain(folder / CONFIG), read_json(folder / CONFIG, ConfigError)
    if values.get("peft_type") != "LORA":
        raise ConfigError(f"{where}: peft_type is {values.get('peft_type')!r}, expected 'LORA'")
    for key, neutral in NEUTRAL.items():
        if values.get(key) not in neutral:
            raise ConfigError(f"{where}: {key} is {values[key]!r}, which is not known here")
    rank, alpha, targets = (values.get(key) for key in ("r", "lora_alpha", "target_modules"))
    names: list[Any] = targets if isinstance(targets, list) else [None]
    if type(rank) is not int or not isinstance(alpha, int | float) or None in map(_text, names):
        raise ConfigError(f"{where}: expected r, lora_alpha, and target_modules as a list of names")
    modules = _modules(config, names, where)
    lora = Lora(rank=rank, alpha=float(alpha), targets=tuple(modules))
    shapes, tensors = architecture(config).param_shapes(config), read_tensors(folder / WEIGHTS)
    plan, params = {}, {}
    for module, in_file in names_in_peft(config, lora).items():
        D, C = shapes[f"{module}.weight"]
        for end, shape in ((A, (rank, C)), (B, (D, rank))):
            plan[f"{PREFIX}{in_file}.{end}"] = shape
            params[f"{module}.{end}"] = f"{PREFIX}{in_file}.{end}"
    check_plan(plan, tensors, plain(folder / WEIGHTS))
    return {name: tensors[in_file] for name, in_file in params.items()}, lora


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _modules(config: Config, targets: list[str], where: str) -> list[str]:
    """Return our names of the modules that a file's names mean."""
    ours = set(adapted_modules(config, Lora(rank=1, alpha=1.0)))
    found = []
    for in_file, stored in _plan(config).items():
        module = in_file.removesuffix(".weight")
        if any(module == t or module.endswith(f".{t}") for t in targets):
            found += [n.removesuffix(".weight") for n in stored.names]
    if not found or not set(found) <= ours:
        raise ConfigError(f"{where}: target_modules {targets} are not all linear maps of blocks")
    return found
