"""Mixtral and DeepSeek-V2 against transformers: files, logits, gradients, the auxiliary loss."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import tinyllm
from parity.families import VOCAB, random_parameter, random_tokens
from tinyllm.models.balance import Balance
from tinyllm.models.weights import stored_tensors
from tinyllm.params import nest
from tinyllm.training.gradients import gradients_at_once
from tinyllm.training.objective import Objective

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from parity.oracle import (  # noqa: E402
    build,
    float64_throughout,
    greedy64,
    logits64,
    loss_and_grads64,
)

pytestmark = pytest.mark.parity

_SIZES = {
    "vocab_size": VOCAB, "hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 2,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "bos_token_id": None,
    "eos_token_id": None, "tie_word_embeddings": False, "experts_implementation": "eager",
}  # fmt: skip
_DEFAULT = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
_YARN = {
    "rope_parameters": {
        "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "mscale": 0.7,
        "mscale_all_dim": 0.5, "original_max_position_embeddings": 16,
    }
}  # fmt: skip
_MIXTRAL = {
    **_SIZES, **_DEFAULT, "model_type": "mixtral", "num_attention_heads": 6,
    "num_key_value_heads": 2, "num_local_experts": 5, "num_experts_per_tok": 2,
}  # fmt: skip
_DEEPSEEK = {
    **_SIZES, **_DEFAULT, "model_type": "deepseek_v2", "num_hidden_layers": 3,
    "num_attention_heads": 3, "num_key_value_heads": 3, "first_k_dense_replace": 1,
    "kv_lora_rank": 10, "q_lora_rank": 7, "qk_nope_head_dim": 6, "qk_rope_head_dim": 8,
    "v_head_dim": 5, "n_routed_experts": 6, "n_shared_experts": 2, "num_experts_per_tok": 3,
    "moe_intermediate_size": 9, "routed_scaling_factor": 2.5,
}  # fmt: skip
_GROUPS = {"topk_method": "group_limited_greedy", "n_group": 3, "topk_group": 2}
CONFIGS = {
    "mixtral": _MIXTRAL,
    "mixtral_window": {**_MIXTRAL, "sliding_window": 5, "num_experts_per_tok": 1, "head_dim": 8},
    "deepseek": _DEEPSEEK,
    "deepseek_lite": {**_DEEPSEEK, "q_lora_rank": None, "tie_word_embeddings": True},
    "deepseek_groups": {**_DEEPSEEK, **_YARN, **_GROUPS},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A model in a folder that transformers wrote."""

    name: str
    folder: Any
    oracle: Any
    tokens: Any
    logits: Any
    model: Any


@pytest.fixture(scope="module", params=CONFIGS)
def case(request, tmp_path_factory):
    torch.set_num_threads(1)
    folder, keys = tmp_path_factory.mktemp(request.param), dict(CONFIGS[request.param])
    config = transformers.AutoConfig.for_model(keys.pop("model_type"), **keys)
    oracle, rng = build(config), np.random.default_rng(list(request.param.encode()))
    with torch.no_grad():
        for name, parameter in oracle.named_parameters():
            std = 1.0 if name.endswith("gate.weight") else 0.3
            values = random_parameter(name, tuple(parameter.shape), rng, std)
            parameter.copy_(torch.from_numpy(values))
    oracle.save_pretrained(folder)
    tokens = random_tokens()
    return Case(
        name=request.param,
        folder=folder,
        oracle=oracle,
        tokens=tokens,
        logits=logits64(oracle, tokens),
        model=tinyllm.load(folder, dtype="float64"),
    )


def test_float64_logits_are_those_of_transformers(case):
    assert np.abs(case.model.forward(case.tokens) - case.logits).max() <= 1e-10


def test_float32_logits_are_close(case):
    logits = tinyllm.load(case.folder).forward(case.tokens)
    assert np.abs(logits - case.logits).max() <= 1e-4


def test_every_gradient_is_that_of_autograd(case):
    targets = random_tokens(seed=1)
    targets[0, :3] = -100
    expected_loss, expected = loss_and_grads64(case.oracle, case.tokens, targets)
    loss, grads = case.model.loss_and_grads(case.tokens, targets)
    assert abs(loss - expected_loss) <= 1e-12
    assert grads.keys() == case.model.params.keys()
    stored, expected = stored_tensors(grads, case.model.config), on_disk(expected, case.name)
    assert stored.keys() == expected.keys()
    for name, grad in stored.items():
        error = np.linalg.norm(grad - expected[name])
        assert error <= 1e-9 * np.linalg.norm(expected[name]) + 1e-15, name


def on_disk(fused, name):
    """Take apart what transformers holds in one tensor: the experts of a layer."""
    mixtral, found = name.startswith("mixtral"), {}
    for key, x in fused.items():
        head, fused_part, part = key.partition(".mlp.experts.")
        if mixtral:
            key, head = (k.replace(".mlp", ".block_sparse_moe") for k in (key, head + ".mlp"))
        else:
            head += ".mlp"
        names = ("w1", "w3", "w2") if mixtral else ("gate_proj", "up_proj", "down_proj")
        if not fused_part:
            found[key] = x
        for e in range(len(x) if fused_part else 0):
            parts = [x[e]] if part == "down_proj" else np.split(x[e], 2)
            used = names[2:] if part == "down_proj" else names[:2]
            for side, array in zip(used, parts):
                found[f"{head}.experts.{e}.{side}.weight"] = array
    return found


def test_a_saved_model_is_the_same_to_transformers(case, tmp_path):
    case.model.save(tmp_path)
    read = transformers.AutoConfig.from_pretrained(tmp_path, experts_implementation="eager")
    with float64_throughout():
        again = transformers.AutoModelForCausalLM.from_pretrained(
            tmp_path, config=read, dtype=torch.float64, attn_implementation="eager"
        ).eval()
    assert np.abs(logits64(again, case.tokens) - case.logits).max() <= 1e-12
    assert tinyllm.load(tmp_path, dtype="float64").config == case.model.config


def test_greedy_texts_with_and_without_a_cache_are_those_of_transformers(case):
    prompt, n = case.tokens[0, :5].tolist(), 12
    expected = greedy64(case.oracle, prompt, n)
    for use_cache in (True, False):
        found = case.model.generate(prompt, max_tokens=n, temperature=0.0, use_cache=use_cache)
        assert list(found.tokens) == expected


@pytest.mark.parametrize("case", ["mixtral", "mixtral_window"], indirect=True)
def test_the_auxiliary_loss_and_its_gradient_are_those_of_transformers(case):
    """Of several texts and all layers in one mean, times k, beside the cross-entropy."""
    weight, targets, model = 0.3, random_tokens(seed=1), case.model
    with float64_throughout():
        out = case.oracle(torch.as_tensor(case.tokens), output_router_logits=True, use_cache=False)
        loss = torch.nn.functional.cross_entropy(
            out.logits.flatten(0, 1), torch.as_tensor(targets).flatten()
        )
        names, parameters = zip(*case.oracle.named_parameters(), strict=True)
        expected = torch.autograd.grad(loss + weight * out.aux_loss, parameters)
    found = gradients_at_once(
        model.xp, model.config, nest(model.params), case.tokens, targets,
        objective=Objective(balance=Balance(mixtral=weight)),
    )  # fmt: skip
    aux = found.routed.losses["mixtral"] / found.count
    assert abs(aux - out.aux_loss.item()) <= 1e-6  # it counts in float32
    stored = stored_tensors(found.grads, model.config)
    wanted = {name: g.numpy() for name, g in zip(names, expected, strict=True)}
    for name, grad in on_disk(wanted, case.name).items():
        error = np.linalg.norm(stored[name] / found.count - grad)
        assert error <= 1e-6 * np.linalg.norm(grad) + 1e-15, name
