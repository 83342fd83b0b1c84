"""Files on disk <-> arrays: checkpoints in the layouts that Llama-shaped models are given out in.

    folder   = find_model("org/name")          a folder, or a download in the Hugging Face cache
    config   = read_config(folder)             config.json, as a dict
    tensors  = read_weights(folder)            {name: read-only view of the mapped file}
    check_plan(shapes, tensors, "the model")   names, shapes and dtypes, before data is read
    write_checkpoint(folder, config, tensors)  config.json and model.safetensors, or shards

Other layouts are translated to the same thing, a Hugging Face config and tensors under Hugging Face
names with RoPE in the "half" layout: `read_llama2c` (one .bin file) and `read_meta` (params.json
and consolidated.safetensors), each with its `write_`. `read_tensors` and `write_tensors` are for a
single .safetensors file.

Nothing here knows what a model computes, runs code from a file, or uses the network. Every file is
taken for damaged or hostile until it has passed: a wrong one is a CheckpointError (ConfigError for
JSON configs) of one line that says what it is and what to do. What is odd but harmless is a
`warnings.warn`.
"""

from tinyllm.checkpoints.folder import (
    read_config,
    read_generation_config,
    read_weights,
    write_checkpoint,
)
from tinyllm.checkpoints.hub_cache import find_model
from tinyllm.checkpoints.layout import layout_of, require_folder
from tinyllm.checkpoints.llama2c import map_llama2c, read_llama2c, write_llama2c
from tinyllm.checkpoints.meta import map_meta, read_meta, write_meta
from tinyllm.checkpoints.plan import check_plan
from tinyllm.checkpoints.safetensors_file import read_tensors, release, write_tensors

__all__ = [
    "check_plan",
    "find_model",
    "layout_of",
    "map_llama2c",
    "map_meta",
    "read_config",
    "read_generation_config",
    "read_llama2c",
    "read_meta",
    "read_tensors",
    "read_weights",
    "release",
    "require_folder",
    "write_checkpoint",
    "write_llama2c",
    "write_meta",
    "write_tensors",
]
