"""A bad model is one line in bounded time and memory, by the library and by the commands.

What that line says of each case is tested beside the code that writes it.
"""

import hashlib
import shutil
import time
import tracemalloc

import numpy as np
import pytest

import tinyllm
from catalogue.bad_models import CASES
from tiny import random_params, tiny_config
from tinyllm.checkpoints import write_checkpoint
from tinyllm.convert import main as convert
from tinyllm.generate import main as generate
from tinyllm.models.config_json import write_config_json
from tinyllm.models.rope import Rope

pytestmark = [pytest.mark.untraced, pytest.mark.filterwarnings("ignore:fields")]
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    config = tiny_config(d_model=16, positions=Rope(theta=10000.0))
    folder = tmp_path_factory.mktemp("good") / "model"
    params = random_params(config, dtype=np.float32)
    write_checkpoint(folder, write_config_json(config, "float32"), params)
    return folder


def contents(folder):
    return {
        str(path): hashlib.sha256(path.read_bytes()).digest() if path.is_file() else "folder"
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("case", CASES)
def test_a_bad_model_is_one_line_in_bounded_time_and_memory(good, tmp_path, capsys, case):
    kind, spoil = CASES[case]
    folder = tmp_path / "bad"
    shutil.copytree(good, folder)
    spoil(folder)
    before = contents(tmp_path)
    tracemalloc.start()
    try:
        start = time.process_time()
        with pytest.raises(tinyllm.errors.TinyllmError) as caught:
            tinyllm.load(folder)
        assert time.process_time() - start < 1
        assert tracemalloc.get_traced_memory()[1] < 2 * MEBIBYTE + 3 * sizes(folder)
    finally:
        tracemalloc.stop()
    line = str(caught.value)
    assert type(caught.value) is kind
    assert line.isprintable()
    assert line.startswith(str(folder))
    assert len(line) < 1500
    assert generate(["-m", str(folder), "the"]) == 2
    assert capsys.readouterr() == ("", f"error: {line}\n")
    assert convert([str(folder), str(tmp_path / "new")]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err[:7]) == ("", 1, "error: ")
    assert contents(tmp_path) == before


def sizes(folder):
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def test_the_model_before_it_is_spoiled_is_good(good):
    assert tinyllm.load(good).forward([[1, 2]]).shape == (1, 2, 11)
