"""Attention of one query a text, as decoding has it, beside PyTorch's: bytes a second."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from tinyllm_cuda import decode_kernels
from tinyllm_cuda.decode_splits import choose_splits
from tinyllm_cuda.launch import launch
from tools.gpu.machine import Machine
from tools.gpu.results import Results, Row

Attend = Callable[..., Any]


def decode_attention(machine: Machine, results: Results) -> Iterator[Row]:
    """Time one query a text against long caches: GB/s of keys and values, beside PyTorch's.

    Caches take turns, so that none is left in the GPU's own, which is of 60 MB on an H200.
    One text is for the kernel that decodes, several are for attention with one query each.
    """
    H, K, d, xp = 32, 8, 128, machine.xp
    cases = [(1, 1024), (1, 8192), (1, 65536), (16, 1024), (16, 8192)]
    if machine.dry:
        H, K, d, cases = 2, 1, 16, [(1, 50)]
    for B, S in cases:
        size = 2 * B * K * S * d * 2  # bytes
        sets = 2 if machine.dry else max(2, min(64, -(-256_000_000 // size)))
        q = machine.random((B, H, 1, d), "bfloat16")
        caches = [
            [machine.random((B, K, S, d), "bfloat16", 2 * i + j) for j in (0, 1)]
            for i in range(sets)
        ]
        flash: Attend = lambda *a: xp.attention_forward(*a)[0]
        attend = _kernel(machine, q, *caches[0]) if B == 1 else flash
        contestants: dict[str, Any] = {"ours": partial(_each, attend, q, caches)}
        if machine.torch is not None:
            tq = machine.to_torch(q)
            tensors = [[machine.to_torch(x) for x in kv] for kv in caches]
            sdpa = machine.torch.nn.functional.scaled_dot_product_attention
            grouped = partial(sdpa, enable_gqa=True)
            contestants["torch: default"] = partial(_each, grouped, tq, tensors)
        found = machine.race(contestants)
        rate = {w: sets * size / x["seconds"] / 1e9 for w, x in found.items() if "seconds" in x}
        ceiling, ours = results.ceilings.get("bytes/s"), rate.get("ours")
        theirs = rate.get("torch: default")
        row: Row = {
            "what": "decode_attention.cu" if B == 1 else "attention, T = 1",
            "B": B, "H": H, "K": K, "d": d, "S": S, "GB/s": ours, "torch GB/s": theirs,
            "ours / torch": ours / theirs if ours and theirs else None,
            "of the copy": ours * 1e9 / ceiling if ours and ceiling else None,
            "us": 1e6 * found["ours"].get("seconds", np.nan) / sets,
        }  # fmt: skip
        if B == 1:
            row |= _compared(machine, attend(q, *caches[0]), flash(q, *caches[0]))
        failed = [x["failed"] for x in found.values() if "failed" in x]
        yield row | ({"failed": "; ".join(map(str, failed))} if failed else {})


def _kernel(machine: Machine, q: Any, keys: Any, values: Any) -> Attend:
    """Return the kernel of one token of one text, at the end of caches like these."""
    device, xp = machine.xp.device(), machine.xp
    (_, H, _, d), (K, S) = q.shape, keys.shape[1:3]
    kernel = decode_kernels.attention("bfloat16", d, H // K)
    assert kernel is not None
    resident = device.multiprocessors * decode_kernels.attention_blocks(kernel, device)
    splits = choose_splits(-(-S // decode_kernels.attention_tile(kernel)), K, resident)
    wide, o = xp.reshape(xp.astype(q, np.float32), (H, d)), xp.zeros((H, d), dtype=np.float32)
    state, done = xp.asarray(np.array([0, S - 1, 0], np.int32)), xp.zeros(K, dtype=np.int32)
    parts = xp.zeros(H * splits * (d + 2), dtype=np.float32)

    def attend(_: Any, k: Any, v: Any) -> Any:
        arguments = (wide, k, v, state, parts, done, o, S, S, float(d**-0.5))
        launch(device, kernel, (splits, K), arguments)
        return o

    return attend


def _compared(machine: Machine, ours: Any, flash: Any) -> Row:
    """Compare with attention's other kernel, whose result has 16 bits."""
    a, b = (np.ravel(machine.xp.to_numpy(x)).astype(np.float64) for x in (ours, flash))
    off = float(np.abs(a - b).max() / np.abs(b).max())
    return {"off": off, "right": off < 2e-2}


def _each(attend: Attend, q: Any, caches: list[list[Any]]) -> list[Any]:
    """Let the query read one cache after another."""
    return [attend(q, k, v) for k, v in caches]
