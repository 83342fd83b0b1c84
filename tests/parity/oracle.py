"""transformers as an oracle: the models of the table, computed in float64 throughout."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np
import pytest

from parity.families import CONFIGS, random_parameter

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@contextlib.contextmanager
def float64_throughout() -> Iterator[None]:
    """Keep transformers from narrowing to float32 inside RMSNorm, RoPE's tables and softmax.

    Unpatched, a float64 model is off by 1e-7 to 3e-5, which hides real bugs. Models must also be
    built in here: RoPE's frequencies are made with them.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with (
            mock.patch.object(torch, "float32", torch.float64),
            mock.patch.object(torch, "float", torch.float64),
            mock.patch.object(torch.Tensor, "float", torch.Tensor.double),
        ):
            yield
    finally:
        torch.set_default_dtype(before)


def random_model(name: str, *, std: float = 0.15, dtype: type = np.float64) -> Any:
    """Build a model of the table in float64, its parameters rounded to `dtype`.

    A larger `std` sharpens attention and makes for livelier texts.

    With RoPE of the dynamic kind it remembers the longest text it has seen, and scores shorter ones
    by that: build one model for each length.
    """
    config = dict(CONFIGS[name])
    config = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
    model = build(config)
    rng = np.random.default_rng(list(name.encode()))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            values = random_parameter(key, tuple(parameter.shape), rng, std)
            parameter.copy_(torch.from_numpy(values.astype(dtype).astype(np.float64)))
    return model


def build(config: Any, state: dict[str, Any] | None = None) -> Any:
    """Build the model of a config in float64, with these parameters."""
    with float64_throughout():
        # With eager attention transformers adds Falcon's ALiBi twice.
        config._attn_implementation = "sdpa" if getattr(config, "alibi", False) else "eager"
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float64).eval()
        if state is not None:
            model.load_state_dict(state)
    return model


def logits64(model: Any, tokens: Any) -> np.ndarray:
    """Score tokens (B, T) in float64 throughout: -> logits (B, T, V)."""
    with float64_throughout(), torch.no_grad():
        return model(torch.as_tensor(tokens), use_cache=False).logits.numpy()


def loss_and_grads64(model: Any, tokens: Any, targets: Any) -> tuple[float, dict[str, np.ndarray]]:
    """Differentiate the mean cross-entropy of the targets that are not -100, in float64."""
    with float64_throughout():
        logits = model(torch.as_tensor(tokens), use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), torch.as_tensor(targets).flatten()
        )
        names, parameters = zip(*model.named_parameters(), strict=True)
        grads = torch.autograd.grad(loss, parameters)
    return loss.item(), {name: g.numpy() for name, g in zip(names, grads, strict=True)}


def greedy64(model: Any, prompt: Sequence[int], n: int, **options: Any) -> list[int]:
    """Continue a prompt by `n` tokens, the likeliest each time."""
    text = generate64(model, prompt, n, do_sample=False, **options).sequences
    return text[0, len(prompt) :].tolist()


def generate64(model: Any, prompt: Sequence[int], n: int, **options: Any) -> Any:
    """Continue a prompt by `n` tokens; the result has all that transformers knows about them."""
    tokens = torch.as_tensor([list(prompt)])
    with float64_throughout():
        return model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=n,
            pad_token_id=0,
            return_dict_in_generate=True,
            **options,
        )


@contextlib.contextmanager
def no_complaints() -> Iterator[None]:
    """Fail where transformers logs a warning."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append  # type: ignore[assignment]
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    assert not records, [record.getMessage() for record in records]
