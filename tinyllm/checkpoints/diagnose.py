"""What a file really is when it is not the file that was asked for, and what to do about it.

Most broken checkpoints are no attack and no bit rot: they are a Git-LFS pointer, a login page, half
a download, or a good file of another kind. The first bytes tell, and the message says the way out.
"""

import os
import struct

from tinyllm.errors import CheckpointError
from tinyllm.shown import plain

_AS_SAFETENSORS = (
    "save the model again as safetensors where PyTorch is installed: python -c "
    '"from transformers import AutoModelForCausalLM as M; '
    "M.from_pretrained('FOLDER').save_pretrained('NEW_FOLDER')\""
)
PICKLE = (
    "is a PyTorch pickle, which can run any code when it is opened, so tinyllm does not; "
    + _AS_SAFETENSORS
)
GGUF = "is a GGUF file, which is not supported; download the model's Hugging Face folder instead"
NPZ = "is a NumPy archive; tinyllm reads weights from safetensors"
LLAMA2C = "is a llama2.c file; python -m tinyllm.convert makes a Hugging Face folder of it"

_FIRST_BYTES = {
    b"<": "is a web page, not weights (a login or error page under this name); download it again",
    b"PK\x03\x04": PICKLE,
    b"\x80": PICKLE,
    b"GGUF": GGUF,
    b"\x1f\x8b": "is gzip data; decompress it first (gunzip)",
    b"\x93NUMPY": "is a NumPy array; tinyllm reads weights from safetensors",
    b"{": "is a JSON file, not weights; give the model's folder, or its .safetensors file",
}


def refusal(path: str | os.PathLike[str], reason: str) -> CheckpointError:
    """Make the error for one file: `path: reason`, a single line whatever the path holds."""
    return CheckpointError(f"{plain(path)}: {reason}")


def diagnose(head: bytes, size: int) -> str | None:
    """Say what a file is from its first bytes (64 or more) and its size; None if nothing is known.

    >>> diagnose(b"GGUF", 4)
    "is a GGUF file, which is not supported; download the model's Hugging Face folder instead"
    """
    if not head:
        return "is empty; download it again"
    if head.startswith(b"version https://git-lfs"):
        return f"is a Git-LFS pointer of {size} bytes, not the weights; run `git lfs pull` there"
    if len(head) >= 28 and _is_llama2c(struct.unpack("<7i", head[:28]), size):
        return LLAMA2C
    if head.startswith(b"PK\x03\x04") and _first_entry(head).endswith(b".npy"):
        return NPZ
    for first, kind in _FIRST_BYTES.items():
        if head.lstrip(b" \t\r\n").startswith(first):
            return kind
    if not any(head):
        return f"starts with {len(head)} zero bytes: the download is incomplete; download it again"
    return None


def _first_entry(head: bytes) -> bytes:
    """Return the name of the first file in a zip archive."""
    return head[30 : 30 + int.from_bytes(head[26:28], "little")]


def _is_llama2c(header: tuple[int, ...], size: int) -> bool:
    """Whether seven numbers can be dim, hidden, layers, heads, kv heads, vocabulary, length."""
    dim, hidden, n_layers, n_heads, n_kv_heads, vocab, seq_len = header
    return (
        0 < n_kv_heads <= n_heads <= dim < 1 << 17
        and 0 < n_layers < 1 << 10
        and dim % n_heads == 0
        and 0 < hidden < 1 << 20
        and 0 < abs(vocab) < 1 << 22
        and 0 < seq_len < 1 << 22
        and size > 28
    )
