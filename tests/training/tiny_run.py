"""A training run that takes no time: a tiny decoder, and tokens with something to learn."""

import numpy as np

import tinyllm_numpy
from tiny import tiny_config
from tinyllm.models.init import init_params
from tinyllm.training.settings import Settings
from tinyllm.training.trainer import Trainer
from tinyllm.training.windows import Windows, WindowsInOrder

CONFIG = tiny_config(n_heads=2, n_kv_heads=1, max_seq_len=8)
TOKENS = np.tile(np.array([1, 4, 2, 8, 5, 7, 3], np.uint16), 40)
SETTINGS = {
    "steps": 6, "batch_size": 3, "seq_len": 5, "lr": 0.01, "warmup": 2, "eval_every": 2,
    "save_every": 2,
}  # fmt: skip


def tiny_trainer(xp=tinyllm_numpy, *, config=CONFIG, tokens=TOKENS, dtype=np.float32, **changes):
    """Make a trainer; `changes` are fields of its settings."""
    settings = Settings(**{**SETTINGS, **changes})
    params = init_params(config, np.random.default_rng(0), dtype)
    windows = Windows(tokens[:-30], settings.seq_len, seed=settings.seed)
    held_out = WindowsInOrder(tokens[-30:], settings.seq_len)
    return Trainer(xp, config, params, windows, settings, validation=held_out)


def host(trainer):
    """Return the parameters in NumPy."""
    return {name: np.asarray(trainer.xp.to_numpy(p)) for name, p in trainer.params.items()}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
