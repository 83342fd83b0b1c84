"""A step of training in bfloat16 beside PyTorch, eager and compiled, under autocast."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinyllm.models.cost import count_parameters
from tinyllm.models.init import init_params
from tinyllm.training.settings import Settings
from tinyllm.training.trainer import Trainer
from tools.bench import SHAPES, llama
from tools.bench_training import OneBatch
from tools.gpu.machine import Machine, said
from tools.gpu.results import Results, Row


def training(machine: Machine, results: Results) -> Iterator[Row]:
    """Time a step of a model of 110 million parameters on 8 texts of 1,024 tokens."""
    name, B, T = ("tiny", 2, 16) if machine.dry else ("110M", 8, 1024)
    config = llama(name)
    data = OneBatch(config.vocab_size, B, T)
    settings = Settings(steps=10**6, batch_size=B, seq_len=T, precision="bfloat16")
    params = init_params(config, np.random.default_rng(0))
    trainer = Trainer(machine.xp, config, params, data, settings)
    losses = [trainer.advance().loss for _ in range(2)]
    seconds = machine.seconds(trainer.advance)
    flops = 6 * count_parameters(config) * B * T
    ceiling = results.ceilings.get("bfloat16 FLOP/s")
    yield {
        "who": "ours", "tok/s": B * T / seconds, "TFLOP/s": flops / seconds / 1e12,
        "of the product": flops / seconds / ceiling if ceiling else None,
        "loss": losses[0], "right": bool(losses[1] < losses[0]),
    }  # fmt: skip
    if machine.torch is None:
        return
    step = _their_step(machine, name, data)
    for who in ("eager", "compiled"):
        if who == "compiled":
            if machine.dry or results.left() < 120:
                return
            step = _their_step(machine, name, data, compiled=True)
        try:
            loss = step()
            step()
            taken = machine.seconds(step)
        except Exception as error:  # of the compiler
            yield {"who": f"PyTorch, {who}", "failed": said(error)}
            continue
        yield {"who": f"PyTorch, {who}", "tok/s": B * T / taken, "TFLOP/s": flops / taken / 1e12,
               "loss": loss, "ours / this": taken / seconds}  # fmt: skip


def _their_step(machine: Machine, name: str, data: OneBatch, *, compiled: bool = False) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch, (D, F, L, H, K, V, tied) = machine.torch, SHAPES[name]
    config = LlamaConfig(
        hidden_size=D, intermediate_size=F, num_hidden_layers=L, num_attention_heads=H,
        num_key_value_heads=K, vocab_size=V, tie_word_embeddings=tied, max_position_embeddings=2048,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).to(machine.place)
    tokens, targets = (torch.from_numpy(x).to(machine.place) for x in (data.tokens, data.targets))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1,
        fused=machine.place == "cuda",
    )  # fmt: skip
    run = torch.compile(model) if compiled else model

    def step() -> float:
        with torch.autocast(machine.place, dtype=torch.bfloat16):
            logits = run(tokens, use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1).float(), targets.flatten()
            )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(loss.item())

    return step
