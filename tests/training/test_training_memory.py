"""tinyllm.training.memory: what is said before the first step is near what it then takes."""

import numpy as np
import pytest

import tinyllm_numpy
from emulator import cupy_stand_in
from tiny import tiny_config
from tiny_recurrent import random_recurrent_params, tiny_recurrent
from tinyllm.errors import UsageError
from tinyllm.models.init import init_params
from tinyllm.training.memory import check_training_memory, training_memory
from tinyllm.training.settings import Settings
from tinyllm.training.trainer import Trainer
from tinyllm.training.windows import Windows

CONFIG = tiny_config(
    n_heads=4, n_kv_heads=2, head_dim=16, d_model=64, d_ff=192, vocab_size=500, max_seq_len=128
)
PARAMS = init_params(CONFIG, np.random.default_rng(0))
WEIGHTS = sum(p.nbytes for p in PARAMS.values())
TOKENS = np.random.default_rng(0).integers(0, CONFIG.vocab_size, 3000)


@pytest.mark.parametrize(
    "options",
    [{}, {"optimizer": "sgd"}, {"precision": "bfloat16"}, {"average": "ema", "accum": 2},
     {"batch_size": 2}],
    ids=str,
)  # fmt: skip
def test_it_is_near_what_is_taken(options):
    settings = Settings(**{"batch_size": 16, "seq_len": 128, **options})
    said = training_memory(tinyllm_numpy, CONFIG, PARAMS, settings)

    def steps():
        data = Windows(TOKENS, settings.seq_len)
        trainer = Trainer(tinyllm_numpy, CONFIG, PARAMS, data, settings)
        trainer.advance()
        trainer.advance()

    steps()  # what is imported at the first is the program's
    taken = WEIGHTS + tinyllm_numpy.peak_memory(steps)
    # On a busy machine one worker may be done before the other begins.
    in_turns = said.total - (said.activations + said.gradients) / 2
    assert 0.75 * taken < said.total
    assert in_turns < 1.3 * taken


def test_a_teacher_whose_states_are_kept_takes_its_own_beside():
    settings = Settings(batch_size=4, seq_len=16)
    alone = training_memory(tinyllm_numpy, CONFIG, PARAMS, settings)
    taught = training_memory(tinyllm_numpy, CONFIG, PARAMS, settings, teacher=(CONFIG, PARAMS))
    assert taught.activations == 2 * alone.activations
    assert taught.weights == alone.weights


def test_a_gpu_takes_one_half_after_another_and_long_pieces():
    settings = Settings(batch_size=16, seq_len=128)
    gpu, cpu = (
        training_memory(xp, CONFIG, PARAMS, settings)
        for xp in (cupy_stand_in.load(), tinyllm_numpy)
    )
    assert gpu.activations == cpu.activations  # 8 texts at once; twice 4
    assert (gpu.gradients, cpu.gradients) == (2 * WEIGHTS, 4 * WEIGHTS)


def test_more_than_there_is_is_refused_with_what_it_is_for(monkeypatch):
    settings = Settings(batch_size=4, seq_len=16)
    needed = training_memory(tinyllm_numpy, CONFIG, PARAMS, settings).total
    for free in (None, needed - WEIGHTS):  # the weights are there
        monkeypatch.setattr(tinyllm_numpy, "free_memory", lambda free=free: free)
        assert check_training_memory(tinyllm_numpy, CONFIG, PARAMS, settings).total == needed
    monkeypatch.setattr(tinyllm_numpy, "free_memory", lambda: needed - WEIGHTS - 1)
    said = r"takes about \S+ MB \(weights .*, moments .*, gradients .*, activations .*--force"
    with pytest.raises(UsageError, match=said):
        check_training_memory(tinyllm_numpy, CONFIG, PARAMS, settings)
    xp = cupy_stand_in.load()
    less = training_memory(xp, CONFIG, PARAMS, settings).total - 1
    monkeypatch.setattr(xp, "free_memory", lambda: less)
    with pytest.raises(UsageError, match="a smaller --batch-size with more --accum"):
        check_training_memory(xp, CONFIG, PARAMS, settings)


def test_a_recurrent_model_has_an_estimate_too():
    config = tiny_recurrent()
    params = random_recurrent_params(config, dtype=np.float32)
    said = training_memory(tinyllm_numpy, config, params, Settings(batch_size=2, seq_len=9))
    assert said.activations > 0
