"""tinyllm.adaptation.peft: adapters in files, and PEFT itself where it is installed."""

import json

import numpy as np
import pytest

import tinyllm
import tinyllm_numpy
from adaptation.test_lora import drawn
from tiny import random_params, tiny_config
from tinyllm.adaptation.lora import Lora, adapted_modules, init_adapters, merged
from tinyllm.adaptation.peft import CONFIG, WEIGHTS, names_in_peft, read_adapter, write_adapter
from tinyllm.checkpoints import read_tensors, write_tensors
from tinyllm.errors import CheckpointError, ConfigError, UsageError
from tinyllm.models.examples import example_config

LLAMA = tiny_config()
LORA = Lora(rank=3, alpha=6.0, targets=("q_proj", "down_proj"))


def test_what_is_written_is_read(tmp_path):
    adapters = drawn(LLAMA, LORA)
    write_adapter(tmp_path, adapters, LLAMA, LORA, base="some/llama")
    found, lora = read_adapter(tmp_path, LLAMA)
    assert (lora.rank, lora.alpha) == (3, 6.0)
    assert adapted_modules(LLAMA, lora) == adapted_modules(LLAMA, LORA)
    assert set(found) == set(adapters)
    assert all((found[name] == x).all() for name, x in adapters.items())
    said = json.loads((tmp_path / CONFIG).read_text())
    assert said["target_modules"] == ["down_proj", "q_proj"]
    assert said["base_model_name_or_path"] == "some/llama"
    name = "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight"
    assert read_tensors(tmp_path / WEIGHTS)[name].shape == (6, 3)


def test_other_families_have_their_own_names():
    config = example_config("gpt2")
    names = names_in_peft(config, Lora(rank=1, alpha=1.0, targets=("o_proj", "up_proj")))
    assert names["model.layers.0.self_attn.o_proj"] == "transformer.h.0.attn.c_proj"
    assert names["model.layers.0.mlp.up_proj"] == "transformer.h.0.mlp.c_fc"
    with pytest.raises(
        UsageError, match=r"q_proj\.weight, .* in one, and PEFT has no adapters for"
    ):
        names_in_peft(config, Lora(rank=1, alpha=1.0))


CHANGES = {
    "kind": ({"peft_type": "IA3"}, "peft_type is 'IA3', expected 'LORA'"),
    "rslora": ({"use_rslora": True}, "use_rslora is True, which is not known here"),
    "patterns": ({"rank_pattern": {"q_proj": 9}}, "rank_pattern is"),
    "bias": ({"bias": "all"}, "bias is 'all'"),
    "rank": ({"r": "3"}, "expected r, lora_alpha"),
    "targets": ({"target_modules": "all-linear"}, "target_modules as a list"),
    "no such": ({"target_modules": ["q_proj", "embed_tokens"]}, "are not all linear maps"),
    "nothing": ({"target_modules": []}, "are not all linear maps"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_other_adapters_are_refused(tmp_path, case):
    change, line = CHANGES[case]
    write_adapter(tmp_path, drawn(LLAMA, LORA), LLAMA, LORA, base=None)
    said = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps(said | change))
    with pytest.raises(ConfigError, match=line):
        read_adapter(tmp_path, LLAMA)


@pytest.mark.parametrize(
    ("key", "value"),
    [("init_lora_weights", x) for x in ("pissa", "pissa_niter_4", "olora", "corda", "loftq")]
    + [("alora_invocation_tokens", [1, 2])],
)
def test_adapters_beside_another_base_or_of_some_tokens_are_refused(tmp_path, key, value):
    write_adapter(tmp_path, drawn(LLAMA, LORA), LLAMA, LORA, base=None)
    said = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps(said | {key: value}))
    with pytest.raises(ConfigError, match=f"{key} is .*, which is not known here"):
        read_adapter(tmp_path, LLAMA)


@pytest.mark.parametrize(("name", "task"), [("gpt2", "CAUSAL_LM"), ("bert", None)])
def test_the_task_is_the_models(tmp_path, name, task):
    config = example_config(name)
    lora = Lora(rank=1, alpha=1.0, targets=("o_proj",))
    adapters = init_adapters(config, lora, np.random.default_rng(0), np.float32)
    write_adapter(tmp_path, adapters, config, lora, base=None)
    assert json.loads((tmp_path / CONFIG).read_text())["task_type"] == task


def test_tensors_that_do_not_fit_are_refused(tmp_path):
    write_adapter(tmp_path, drawn(LLAMA, LORA), LLAMA, LORA, base=None)
    tensors = {name: np.array(x) for name, x in read_tensors(tmp_path / WEIGHTS).items()}
    first = next(iter(tensors))
    write_tensors(tmp_path / WEIGHTS, {k: x for k, x in tensors.items() if k != first})
    with pytest.raises(CheckpointError, match=r"lora_A|lora_B"):
        read_adapter(tmp_path, LLAMA)
    with pytest.raises(CheckpointError):
        read_adapter(tmp_path, tiny_config(d_model=8))


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_peft_reads_what_is_written_and_we_read_what_it_writes(tmp_path, family):
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    import torch

    config = tiny_config(d_model=16) if family == "llama" else example_config("gpt2")
    targets = ("q_proj", "down_proj") if family == "llama" else ("o_proj", "up_proj")
    lora = Lora(rank=3, alpha=6.0, targets=targets)
    base, adapters = random_params(config, dtype=np.float32), drawn(config, lora)
    adapters = {name: x.astype(np.float32) for name, x in adapters.items()}
    tinyllm.Model(config, base, xp=tinyllm_numpy).save(tmp_path / "base")
    write_adapter(tmp_path / "adapter", adapters, config, lora, base=str(tmp_path / "base"))
    tokens = np.random.default_rng(0).integers(0, config.vocab_size, (2, 6))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    theirs = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapter").eval()
    with torch.no_grad():
        wanted = theirs(torch.tensor(tokens)).logits.numpy()
    plain = merged(tinyllm_numpy, base, adapters, lora)
    ours = tinyllm.Model(config, plain, xp=tinyllm_numpy).forward(tokens)
    np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-4)
    assert np.abs(ours - tinyllm.Model(config, base, xp=tinyllm_numpy).forward(tokens)).max() > 0.1
    theirs.save_pretrained(tmp_path / "again")
    found, _ = read_adapter(tmp_path / "again", config)
    assert all((found[name] == x).all() for name, x in adapters.items())


def test_a_new_adapter_is_as_peft_draws_it():
    adapters = init_adapters(LLAMA, LORA, np.random.default_rng(0), np.float32)
    for name, x in adapters.items():
        if "lora_B" in name:
            assert not x.any()
        else:
            assert np.abs(x).max() <= 1 / np.sqrt(x.shape[1])
            assert x.dtype == np.float32
