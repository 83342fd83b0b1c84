"""What pruning should find in a Llama of transformers, computed by PyTorch in float64.

The masks are those of Wanda's procedure: hooks hear what each matrix is given, once for each layer,
through the model whose earlier layers are pruned. Gradients are autograd's.
"""

from functools import partial
from typing import Any

import numpy as np

from parity.oracle import float64_throughout, torch


def wanda_masks(model: Any, tokens: Any, sparsity: float) -> dict[str, np.ndarray]:
    """Prune the model, layer after layer; return where it has zeros now: name -> (D, C)."""
    masks = {}
    for i, layer in enumerate(model.model.layers):
        squares: dict[str, Any] = {}
        linears = {n: m for n, m in layer.named_modules() if isinstance(m, torch.nn.Linear)}
        hooks = [
            module.register_forward_hook(partial(_hear, squares, name))
            for name, module in linears.items()
        ]
        with float64_throughout(), torch.no_grad():
            model(torch.as_tensor(tokens), use_cache=False)
        for hook in hooks:
            hook.remove()
        for name, module in linears.items():
            weight = module.weight.data
            order = torch.sort(weight.abs() * squares[name].sqrt(), dim=-1, stable=True).indices
            mask = torch.zeros_like(weight, dtype=torch.bool)
            mask.scatter_(1, order[:, : int(weight.shape[1] * sparsity + 1e-9)], True)
            weight[mask] = 0.0
            masks[f"model.layers.{i}.{name}.weight"] = mask.numpy()
    return masks


def _hear(squares: dict[str, Any], name: str, _: Any, given: tuple[Any, ...], y: Any) -> None:
    squares[name] = given[0].flatten(0, 1).square().sum(0)


def importances(model: Any, tokens: Any) -> dict[str, np.ndarray]:
    """Weigh the groups of each layer: "element1", "element2", "mix", "vector" -> (layers, groups).

    Two parts: "attention", a key/value head with its query heads, and "mlp", a channel.
    """
    total: dict[str, Any] = {}
    fisher: dict[str, Any] = {}
    named = dict(model.named_parameters())
    for text in tokens:
        with float64_throughout():
            logits = model(torch.as_tensor(text[None, :-1]), use_cache=False).logits[0]
            loss = torch.nn.functional.cross_entropy(logits, torch.as_tensor(text[1:]))
            grads = torch.autograd.grad(loss, list(named.values()))
        for name, g in zip(named, grads, strict=True):
            total[name] = total.get(name, 0.0) + g / len(tokens)
            fisher[name] = fisher.get(name, 0.0) + g * g / len(tokens)
    found: dict[str, list[Any]] = {}
    for i in range(model.config.num_hidden_layers):
        for part, sides in {
            "attention": {"q_proj": 0, "k_proj": 0, "v_proj": 0, "o_proj": 1},
            "mlp": {"gate_proj": 0, "up_proj": 0, "down_proj": 1},
        }.items():
            n = model.config.num_key_value_heads if part == "attention" else 0
            sums: dict[str, Any] = {}
            for side, axis in sides.items():
                module = f"model.layers.{i}.{'self_attn' if n else 'mlp'}.{side}.weight"
                w = named[module].detach()
                first, second = w * total[module], w * w * fisher[module]
                for way, x in {
                    "element1": first.abs().sum(1 - axis), "element2": second.sum(1 - axis),
                    "mix": (first - second / 2).abs().sum(1 - axis),
                    "vector": first.sum(1 - axis).abs(),
                }.items():  # fmt: skip
                    groups = x.reshape(n or len(x), -1).sum(1)
                    sums[way] = sums.get(way, 0.0) + groups
            for way, x in sums.items():
                found.setdefault(f"{part}/{way}", []).append(x.numpy())
    return {name: np.array(rows) for name, rows in found.items()}


def linear_map(model: Any, tokens: Any, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Fit a block by least squares: W (D, D) and b (D,) of y = x Wᵀ + b."""
    with float64_throughout(), torch.no_grad():
        states = model(
            torch.as_tensor(tokens), use_cache=False, output_hidden_states=True
        ).hidden_states
    x, y = (states[i].flatten(0, 1) for i in (index, index + 1))
    ones = torch.ones(len(x), 1, dtype=torch.float64)
    solved = torch.linalg.lstsq(torch.cat([x, ones], dim=1), y, driver="gelsd").solution
    return solved[:-1].T.numpy(), solved[-1].numpy()
