"""Read and write config.json, the Hugging Face description of a model."""

from dataclasses import asdict, fields
from typing import Any

from tinyllm.checkpoints.sizes import EPS_RANGE
from tinyllm.errors import ConfigError
from tinyllm.key_reader import REQUIRED, KeyReader
from tinyllm.models.config import StackConfig
from tinyllm.models.families import FAMILIES, OWN
from tinyllm.models.family import HARMLESS, Family, Fields
from tinyllm.models.llama_families import layer_types


def read_config_json(values: dict[str, Any], where: str) -> StackConfig:
    """Understand a config, or raise ConfigError: a key that is not understood is never ignored.

    `where` names the file in messages.
    """
    return understand_config(KeyReader(values, where))


def understand_config(keys: KeyReader) -> StackConfig:
    """Do the same for a reader, which knows afterwards what keys nobody had a use for."""
    refuse_what_is_not_weights(keys)
    name = keys.string("model_type", tuple(FAMILIES))
    family = FAMILIES[name]
    classes = [[name] for name in (family.architecture, *family.also)]
    if keys.get("architectures") not in (None, [], *classes):
        raise keys.error("architectures", f"expected {[family.architecture]} for a {name}")
    sizes = family.read_sizes(keys)
    config = family.kind(
        family=name,
        norm_eps=_read_eps(keys, family),
        tie_embeddings=keys.boolean("tie_word_embeddings", family.tied),
        bos_id=keys.integer("bos_token_id", 0, sizes.vocab_size - 1, default=None),
        eos_ids=read_eos(keys, sizes.vocab_size),
        **asdict(sizes),
        **_read_act(keys, family),
        **family.fields,
        **family.read(keys, sizes),
    )
    _check_layer_types(keys, config)
    keys.refuse_unread(HARMLESS | family.harmless)
    return config


def _read_eps(keys: KeyReader, family: Family) -> Any:
    default = REQUIRED if family.default_eps is None else family.default_eps
    return default if family.eps is None else keys.number(family.eps, *EPS_RANGE, default)


def _read_act(keys: KeyReader, family: Family) -> Fields:
    if family.act is None:
        return {}
    return {
        "mlp": family.acts[keys.string(family.act, tuple(family.acts), next(iter(family.acts)))]
    }


def write_config_json(config: StackConfig, dtype: str) -> dict[str, Any]:
    """Return what config.json says of `config`; `dtype` is that of the weights on disk.

    Raises ConfigError where the files of its family cannot say all of it.
    """
    family = FAMILIES[config.family]
    eos, words = config.eos_ids, family.acts
    written = {
        "architectures": [family.architecture],
        "model_type": config.family,
        **{key: getattr(config, field) for field, key in family.sizes.items()},
        **_written_as(family.act, next((w for w in words if family.acts[w] == config.mlp), None)),
        **_written_as(family.eps, config.norm_eps),
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": config.bos_id,
        "eos_token_id": (eos[0] if len(eos) == 1 else list(eos)) if eos else None,
        "torch_dtype": dtype,
        **family.write(config),
    }
    _check_nothing_is_lost(written, config)
    return written


def _written_as(key: str | None, value: Any) -> dict[str, Any]:
    return {} if key is None else {key: value}


def _check_nothing_is_lost(written: dict[str, Any], config: StackConfig) -> None:
    """Read back what was written: a program that reads less would compute something else."""
    read = read_config_json(written, f"a config of family {config.family!r}")
    names = [field.name for field in fields(config)]
    lost = [name for name in names if getattr(read, name) != getattr(config, name)]
    if lost:
        other = "" if config.family == OWN else f"; one of family {OWN!r} can"
        raise ConfigError(
            f"a file of family {config.family!r} cannot hold this model's {', '.join(lost)}{other}"
        )


def read_eos(keys: KeyReader, vocab_size: int) -> tuple[int, ...]:
    """Return the ids that end a text: the file may hold one, a list, or null."""
    value = keys.get("eos_token_id")
    ids = [] if value is None else value if isinstance(value, list) else [value]
    if not all(type(i) is int and 0 <= i < vocab_size for i in ids):
        raise keys.error("eos_token_id", f"expected ids from 0 to {vocab_size - 1}")
    return tuple(dict.fromkeys(ids))


def refuse_what_is_not_weights(keys: KeyReader) -> None:
    """Raise ConfigError for weights that are quantised, or a model that brings its own code."""
    if keys.get("quantization_config"):
        raise ConfigError(
            f"{keys.where}: the weights are quantised (quantization_config); tinyllm reads "
            f"float64, float32, float16 and bfloat16: get the model's original weights"
        )
    if keys.get("auto_map") and not _is_known_code(keys):
        raise ConfigError(
            f"{keys.where}: the model needs code of its own (auto_map), which tinyllm does not run"
        )


def _is_known_code(keys: KeyReader) -> bool:
    """Whether a family's row computes what the files' own code did, which is then not needed."""
    code, name = keys.get("auto_map"), keys.get("model_type")
    family = FAMILIES.get(name) if isinstance(name, str) else None
    if family is None or not isinstance(code, dict):
        return False
    modules = [str(x).rpartition("--")[2].partition(".")[0] for x in code.values()]
    return all(module in family.code for module in modules)


def _check_layer_types(keys: KeyReader, config: StackConfig) -> None:
    """Some files list what the windows already say."""
    expected = layer_types(config.windows)
    if keys.get("layer_types") not in (None, expected):
        raise keys.error("layer_types", f"expected {expected[0]} in every layer")
