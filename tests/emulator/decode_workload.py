"""Decode with the kernels of a folder: decode_workload.py FOLDER; exit code 0 if all is right.

A step and some draws of a tiny Llama, in every order of threads. It is a process of its own, since
a kernel without one of its barriers may read from anywhere.
"""

import sys
from pathlib import Path

import numpy as np

import tinyllm_numpy
from emulator.backend import EmulatedBackend
from emulator.module import ORDERS
from tiny import random_params, tiny_config, tree_of
from tinyllm.decode_plan import Drawing
from tinyllm.inference.sampling import Sampling, candidates
from tinyllm.inference.session import Session
from tinyllm.models.experts import Experts
from tinyllm.ops.routing import Routing
from tinyllm_cuda import launch

ROUTING = Routing(k=3, renormalise=True)
CONFIG = tiny_config(
    vocab_size=700, d_model=40, d_ff=24, n_heads=2, n_kv_heads=1, head_dim=64, qkv_bias=True,
    experts=Experts(n_experts=37, d_ff=300, first=1, routing=ROUTING),
)  # fmt: skip
PROMPT = np.random.default_rng(0).integers(0, 700, 70).tolist()
UNIFORMS = (np.arange(12) + 0.5) / 12
CUTS = (
    (0, 0.8),
    (40, 0.9),
    (600, 1.0),
    (0, 1.0),
)  # top-k and top-p, of scores that are nearly equal


def is_right(order):
    """Whether scores are those of the portable code, and drawn tokens those of the host."""
    p = tree_of(tinyllm_numpy, random_params(CONFIG, 0, np.float32))
    portable = Session(tinyllm_numpy, p, CONFIG, [PROMPT], max_tokens=8)
    kernels = Session(EmulatedBackend(order), p, CONFIG, [PROMPT], max_tokens=8)
    portable.prefill()
    kernels.prefill()
    expected, got = portable.step([7])[0], kernels.step([7])[0]
    near = np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()
    (step,) = kernels._xp.steps
    for top_k, top_p in CUTS:
        sampling = Sampling(temperature=20.0, top_k=top_k, top_p=top_p)
        how = Drawing(temperature=20.0, top_k=top_k, top_p=top_p, min_p=0.0, vocab_size=700)
        ids, probs = candidates(expected.astype(np.float64), sampling)
        wanted = ids[np.searchsorted(np.cumsum(probs), UNIFORMS, side="right")]
        for u, token in zip(UNIFORMS, wanted):
            step._ids[...] = 0  # no list of an earlier draw
            near &= step.draw(7, 70, [u], how) == [token]
    return near


if __name__ == "__main__":
    launch.KERNELS = Path(sys.argv[1])
    sys.exit(not all(is_right(order) for order in ORDERS))
