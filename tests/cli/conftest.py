"""A random Llama folder that the commands can load, made here."""

import numpy as np
import pytest

import tinyllm
from tiny import random_params, tiny_config
from tiny_vocabulary import PIECES, llama2c_bytes
from tinyllm.checkpoints import write_checkpoint
from tinyllm.models.config_json import write_config_json
from tinyllm.models.rope import Rope


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The folder."""
    config = tiny_config(
        vocab_size=len(PIECES), d_model=16, max_seq_len=100, positions=Rope(theta=10000.0),
        bos_id=1, eos_ids=(2,),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("folder") / "model"
    params = random_params(config, dtype=np.float32)
    write_checkpoint(folder, write_config_json(config, "float32"), params)
    (folder / "tokenizer.bin").write_bytes(llama2c_bytes())
    return folder


@pytest.fixture(scope="session")
def loaded(model):
    """The same as the library has it."""
    return tinyllm.load(model)
