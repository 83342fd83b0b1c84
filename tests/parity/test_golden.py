"""Whole models against logits that transformers computed in float64, kept in files: no torch here.

tools/make_golden.py made the files.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import tinyllm
from parity.families import CONFIGS, GOLDEN, OF_LLAMAS_NAMES, as_transformers_4
from tinyllm.models.config_json import read_config_json
from tinyllm.models.weights import check_params, load_params

FOLDER = Path(__file__).resolve().parents[1] / "golden"


@pytest.fixture(params=GOLDEN)
def golden(request):
    with np.load(FOLDER / f"{request.param}.npz") as file:
        return dict(file)


def test_float64_logits_are_those_of_transformers(xp, golden):
    logits = run(xp, golden, "float64")
    assert logits.dtype == np.float64
    assert np.abs(logits - golden["logits"]).max() <= 1e-10


def test_float32_logits_are_close_to_those_of_transformers(xp, golden):
    logits = run(xp, golden, "float32")
    assert logits.dtype == np.float32
    assert np.abs(logits - golden["logits"]).max() <= 1e-4


@pytest.mark.parametrize("golden", [x for x in GOLDEN if x in OF_LLAMAS_NAMES], indirect=True)
@pytest.mark.parametrize("kind_key", ["type", "rope_type"])
def test_the_spelling_of_transformers_4_means_the_same(golden, kind_key):
    config = json.loads(str(golden["config"]))
    old = as_transformers_4(config, kind_key)
    assert "rope_theta" in old
    assert read_config_json(old, "old") == read_config_json(config, "new")


def test_the_files_are_of_the_table_and_small():
    assert {path.stem for path in FOLDER.glob("*.npz")} == set(GOLDEN) <= CONFIGS.keys()
    assert sum(path.stat().st_size for path in FOLDER.glob("*.npz")) < 650_000


def run(xp, golden, dtype):
    start = "params/"
    tensors = {key.removeprefix(start): x for key, x in golden.items() if key.startswith(start)}
    config = read_config_json(json.loads(str(golden["config"])), "golden")
    config = check_params(tensors, config, where="golden")
    params = load_params(xp, tensors, config, dtype=dtype)
    return xp.to_numpy(tinyllm.Model(config, params, xp=xp).forward(golden["tokens"]))
