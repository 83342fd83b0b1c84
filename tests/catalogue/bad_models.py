"""Every kind of bad model folder, by name: the error that it must end in, and how it is made."""

import json

import numpy as np

from bad_json import BAD as BAD_JSON
from checkpoints.bad_folders import FOREIGN, INDEX, SHARD_NAMES, STRUCTURES, A
from checkpoints.bad_safetensors import BAD as BAD_SAFETENSORS
from models.bad_configs import LLAMA, REFUSED
from tiny_vocabulary import llama2c_bytes
from tinyllm.checkpoints import read_tensors, write_tensors
from tinyllm.errors import CheckpointError, ConfigError, TokenizerError

WEIGHTS = "model.safetensors"
NOT_TOKENIZERS = {
    "nothing": b"",
    "zeros": bytes(100),
    "random bytes": bytes(range(256)),
    "a Git-LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
    "a web page": b"<!DOCTYPE html><title>Sign in</title>",
    "a pickle": b"\x80\x02}q\x00.",
    "damaged ranks": b"IQ== 0\n!!== 1\n",
    "ranks with a gap": b"IQ== 0\nIg== 2\n",
}
JSON_FILES = {
    "config.json": ConfigError,
    "generation_config.json": ConfigError,
    "tokenizer_config.json": TokenizerError,
    "tokenizer.json": TokenizerError,
}
MISFITS = {
    "a tensor is missing": lambda t: t.pop("model.norm.weight"),
    "a tensor has another name": lambda t: t.update({"x.weight": t.pop("model.norm.weight")}),
    "a tensor is too many": lambda t: t.update({"vision.weight": np.ones(3, "f4")}),
    "a tensor has another shape": lambda t: t.update({"model.norm.weight": np.ones(3, "f4")}),
    "a tensor is transposed": lambda t: t.update(
        {"model.layers.0.mlp.up_proj.weight": t["model.layers.0.mlp.up_proj.weight"].T}
    ),
    "a tensor holds integers": lambda t: t.update({"model.norm.weight": np.ones(16, "i4")}),
}
CONFIGS = {case: changes for case, (changes, _) in REFUSED.items()} | {
    "a vast head_dim": {"head_dim": 2**40},
    "a vast context, no layers": {"max_position_embeddings": 2**31, "num_hidden_layers": 0},
    "weights of 8 bits": {"quantization_config": {"quant_method": "fp8"}, "torch_dtype": "float8"},
}


def put(name, content):
    """Write one file; weights go, where another file is to be looked at instead."""

    def spoil(folder):
        if name != WEIGHTS and (name == INDEX or name in FOREIGN):
            (folder / WEIGHTS).unlink()
        if name == "tokenizer_config.json":  # it is read beside a tokenizer
            (folder / "tokenizer.bin").write_bytes(llama2c_bytes())
        (folder / name).write_bytes(content)

    return spoil


def change_weights(change):
    def spoil(folder):
        tensors = {name: x.copy() for name, x in read_tensors(folder / WEIGHTS).items()}
        change(tensors)
        write_tensors(folder / WEIGHTS, tensors)

    return spoil


def config_bytes(changes):
    values = LLAMA | changes
    return json.dumps({key: value for key, value in values.items() if value is not ...}).encode()


def index_bytes(shard):
    return json.dumps({"weight_map": {"a": A, "b": shard}}).encode()


CASES = {
    **{f"{WEIGHTS}, {case}": (CheckpointError, put(WEIGHTS, content))
       for case, (content, _) in BAD_SAFETENSORS.items()},
    **{f"a shard's name, {case}": (CheckpointError, put(INDEX, index_bytes(shard)))
       for case, shard in SHARD_NAMES.items()},
    **{f"{INDEX}, {case}": (CheckpointError, put(INDEX, text.encode()))
       for case, (text, _) in STRUCTURES.items()},
    **{f"{INDEX}, {case}": (CheckpointError, put(INDEX, content))
       for case, (content, _) in BAD_JSON.items()},
    **{f"a folder with {name!r}": (CheckpointError, put(name, content))
       for name, (content, _) in FOREIGN.items()},
    **{f"{name}, {case}": (kind, put(name, content))
       for name, kind in JSON_FILES.items() for case, (content, _) in BAD_JSON.items()},
    **{f"config.json, {case}": (ConfigError, put("config.json", config_bytes(changes)))
       for case, changes in CONFIGS.items()},
    **{f"tokenizer.model, {case}": (TokenizerError, put("tokenizer.model", content))
       for case, content in NOT_TOKENIZERS.items()},
    **{case: (CheckpointError, change_weights(change)) for case, change in MISFITS.items()},
}  # fmt: skip
