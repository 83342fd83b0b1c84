"""Decoding's kernels beside the portable code: launched one by one, captured, and replayed."""

from collections.abc import Iterator

import numpy as np

import tinyllm
from tinyllm.inference.session import Session
from tinyllm.model import Model
from tools.gpu.machine import Machine
from tools.gpu.results import Row

ALLOWED = {"float32": 1e-4, "bfloat16": 2e-2}  # of the largest score; 16 bits have two digits


def decoding(machine: Machine) -> Iterator[Row]:
    """Read on with the model that ships, and draw: scores, and the device's own sampler.

    The first step launches kernel after kernel, the second captures them, the others replay that:
    each step's scores are compared with those of the whole text at once.
    """
    prompt, steps, drawn = (20, 4, 6) if machine.dry else (112, 8, 40)
    tokens = list(range(1, prompt + steps + 1))
    for storage, allowed in ALLOWED.items():
        here = tinyllm.load(storage=storage)
        params = {name: machine.xp.asarray(x) for name, x in here.params.items()}
        model = Model(here.config, params, xp=machine.xp)
        session = Session(
            machine.xp, model._packed_tree(), model.config, [tokens[:prompt]], max_tokens=steps + 1
        )
        session.prefill()
        covered = session.compiled is not None
        got = np.array([session.step([token])[0] for token in tokens[prompt:]], np.float64)
        whole = machine.xp.to_numpy(model.forward([tokens]))[0, prompt:]
        error = float(np.abs(got - whole).max() / np.abs(whole).max())
        same = _drawn_alike(model, tokens[:prompt], drawn)
        yield {
            "kernel": "decoding", "dtype": storage, "T": prompt + steps, "error": error,
            "compiled": covered, "same tokens": same,
            "right": covered and same and error < allowed,  # a NaN is not below anything
        }  # fmt: skip


def _drawn_alike(model: Model, prompt: list[int], n: int) -> bool:
    """Whether the device draws the likeliest tokens, as the host does of the same kernels' scores.

    Log-probabilities are the host's to report, so where they are asked for, it draws.
    """
    device, host = (
        model.generate(prompt, max_tokens=n, temperature=0.0, ignore_eos=True, logprobs=logprobs)
        for logprobs in (None, 1)
    )
    return device.tokens == host.tokens
