"""A llama2.c file, converted and loaded, gives the logits that llama2.c itself computes.

llama2c.npz holds the logits of run.c, compiled with gcc -O2, at every eighth of 64 tokens drawn at
random. Its own sums in another order (-Ofast) move them by 8e-5 on the first model, 2e-5 on the
second; the largest logit is 19.
"""

from pathlib import Path

import numpy as np
import pytest

import tinyllm
from conftest import data
from tinyllm.convert import main as convert

FILES = {"llama2xs": "llama2xs/model.bin", "stories260K": "stories260K/stories260K.bin"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FILES)
def test_logits_are_those_of_llama2c(tmp_path, name, dtype):
    assert convert([str(data("models") / FILES[name]), str(tmp_path / "hf"), "--quiet"]) == 0
    golden = np.load(Path(__file__).parent / "llama2c.npz")
    tokens, expected = golden[f"{name}.tokens"], golden[f"{name}.logits"]
    logits = tinyllm.load(tmp_path / "hf", dtype=dtype).forward(tokens[None].tolist())[0, 7::8]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-4)
    assert (logits.argmax(axis=-1) == expected.argmax(axis=-1)).all()
