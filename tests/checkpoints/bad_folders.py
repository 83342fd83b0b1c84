"""Folders that hold no weights that can be read, by name, each with what its refusal says."""

import io

import numpy as np

INDEX = "model.safetensors.index.json"
A, B = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"

SHARD_NAMES = {
    "parent": "../x.safetensors", "absolute": "/etc/x.safetensors",
    "out and in": "sub/../../x.safetensors", "folder": "sub/x.safetensors",
    "backslash": "..\\x.safetensors", "drive": "C:\\x.safetensors",
    "share": "\\\\srv\\x.safetensors",
    "drive without slash": "C:x.safetensors", "zero byte": "a\0.safetensors", "empty": "",
    "dot": ".",
    "dots": "..", "line break at the end": f"{A}\n", "line break within": "a\nb.safetensors",
    "5000 characters": "x" * 5000 + ".safetensors", "null": None, "number": 1, "float": 1.5,
    "true": True, "list": [A], "dict": {A: A}, "home": "~/x.safetensors",
    "home file": "~.safetensors",
    "URL": "file:///x.safetensors", "pickle": "pytorch_model.bin",
    "other suffix": "x.safetensors.bin",
    "two dot leader": "\u2025.safetensors", "leading dash": "-x.safetensors",
    "hidden": ".safetensors", "letter with accent": "é.safetensors", "quote": "'.safetensors",
    "device CON": "CON.safetensors", "device nul": "nul.safetensors",
    "device": "com1.x.safetensors",
}  # fmt: skip

STRUCTURES = {
    "not JSON": ("nonsense", "is not the JSON expected"),
    "list": ("[]", "expected an object"),
    "no weight_map": ("{}", "no weight_map"),
    "weight_map list": ('{"weight_map": []}', "no weight_map"),
    "weight_map null": ('{"weight_map": null}', "no weight_map"),
    "tensor twice": ('{"weight_map": {"a": "x", "a": "x"}}', "twice"),
    "a page": ("<html>", "is not the JSON expected"),
    "over 16 MiB": (" " * (2**24 + 1), "larger than"),
}

_archive = io.BytesIO()
np.savez(_archive, weights=np.ones(3))
NPZ = _archive.getvalue()

FOREIGN = {
    "pytorch_model.bin": (b"PK\x03\x04", "'pytorch_model.bin' is a PyTorch pickle"),
    "consolidated.00.pth": (b"?", "save_pretrained"),
    "x.pt": (b"", "'x.pt' is empty"),
    "x.ckpt": (b"?", "PyTorch pickle"),
    "model.Q4.gguf": (b"GGUF", "Hugging Face folder"),
    "weights.npz": (b"PK\x05\x06", "NumPy archive"),
    "renamed.pt": (NPZ, "'renamed.pt' is a NumPy archive"),
    "stories.bin": (
        np.array([64, 172, 5, 8, 4, 512, 512, 1], "<i4").tobytes(),
        "tinyllm.convert",
    ),
    "params.json": (b"{}", "python -m tinyllm.convert"),
    "adapter_config.json": (b"{}", "without its base model"),
    "x.safetensors": (b"", "but 'x.safetensors'"),
}
