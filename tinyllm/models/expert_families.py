"""The families whose feed-forward layers are mixtures of experts: Mixtral and DeepSeek-V2."""

from functools import partial
from typing import Any

from tinyllm.checkpoints.rope_keys import find_rope
from tinyllm.checkpoints.sizes import HF_NAMES, LARGEST, Sizes, read_sizes
from tinyllm.key_reader import KeyReader
from tinyllm.models.config import DecoderConfig
from tinyllm.models.experts import Experts
from tinyllm.models.family import Family, require
from tinyllm.models.latent import Latent
from tinyllm.models.own_records import MOST_EXPERTS
from tinyllm.models.rope_json import read_rope, write_rope
from tinyllm.models.stored import Names
from tinyllm.ops.routing import Routing

GREEDY, GROUPED = "greedy", "group_limited_greedy"

# Mixtral: Jiang et al. 2024 (arXiv:2401.04088).


def _read_mixtral(keys: KeyReader, sizes: Sizes) -> dict[str, Any]:
    """Mistral's decoder with experts, whose weights sum to 1 for each token."""
    n_experts = keys.integer("num_local_experts", 1, MOST_EXPERTS)
    routing = Routing(k=keys.integer("num_experts_per_tok", 1, n_experts), renormalise=True)
    return {
        "windows": (keys.integer("sliding_window", 1, 2**31, default=None),) * sizes.n_layers,
        "positions": read_rope(keys, sizes, theta=1e6),
        "experts": Experts(n_experts=n_experts, d_ff=sizes.d_ff, routing=routing),
    }


def _write_mixtral(config: DecoderConfig) -> dict[str, Any]:
    experts = {} if config.experts is None else {
        "num_local_experts": config.experts.n_experts,
        "num_experts_per_tok": config.experts.routing.k,
    }  # fmt: skip
    return write_rope(config.positions) | {"sliding_window": config.windows[0], **experts}


def _mixtral_names(config: DecoderConfig) -> Names:
    within = {"mlp.gate": "block_sparse_moe.gate"}
    sides = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}
    for e in range(config.experts.n_experts if config.experts else 0):
        for side, name in sides.items():
            within[f"mlp.experts.{e}.{side}"] = f"block_sparse_moe.experts.{e}.{name}"
    return Names(within=within)


# DeepSeek-V2: DeepSeek-AI 2024 (arXiv:2405.04434).

_DEEPSEEK_SIZES = HF_NAMES | {"head_dim": "qk_rope_head_dim"}


def _read_deepseek(keys: KeyReader, sizes: Sizes) -> dict[str, Any]:
    """Latent attention; many narrow experts, not renormalised, beside one that is shared."""
    nope_dim = keys.integer("qk_nope_head_dim", 1, LARGEST)
    require(
        keys, num_key_value_heads=sizes.n_heads, head_dim=sizes.head_dim,
        qk_head_dim=nope_dim + sizes.head_dim, attention_bias=False, mlp_bias=False,
        norm_topk_prob=False, moe_layer_freq=1, scoring_func="softmax",
    )  # fmt: skip
    rank = keys.integer("q_lora_rank", 1, LARGEST, default=None)
    width = keys.integer("moe_intermediate_size", 1, LARGEST)
    latent = Latent(
        q_rank=rank if "q_lora_rank" in keys.values else 1536,  # as transformers takes it to be
        kv_rank=keys.integer("kv_lora_rank", 1, LARGEST),
        nope_dim=nope_dim,
        v_dim=keys.integer("v_head_dim", 1, LARGEST),
        mscale=find_rope(keys)[2].number("mscale_all_dim", 0.0, 1e6, default=0.0),
    )
    n_experts = keys.integer("n_routed_experts", 1, MOST_EXPERTS)
    experts = Experts(
        n_experts=n_experts,
        d_ff=width,
        shared_d_ff=width * keys.integer("n_shared_experts", 1, MOST_EXPERTS),
        first=keys.integer("first_k_dense_replace", 0, sizes.n_layers, default=0),
        routing=_read_routing(keys, n_experts),
    )
    windows = (None,) * sizes.n_layers
    positions = read_rope(keys, sizes)
    return {"windows": windows, "positions": positions, "latent": latent, "experts": experts}


def _read_routing(keys: KeyReader, n_experts: int) -> Routing:
    """Groups count in one of the two methods only."""
    method = keys.string("topk_method", (GREEDY, GROUPED), default=GREEDY)
    given = [keys.integer(key, 1, n_experts, default=None) for key in ("n_group", "topk_group")]
    groups, kept = given if method == GROUPED else (1, 1)
    if groups is None or n_experts % groups:
        raise keys.error("n_group", f"expected a divisor of {n_experts} experts")
    if kept is None or kept > groups:
        raise keys.error("topk_group", f"expected at most {groups} groups")
    return Routing(
        k=keys.integer("num_experts_per_tok", 1, kept * (n_experts // groups)),
        renormalise=False,
        scale=keys.number("routed_scaling_factor", 1e-6, 1e6, default=1.0),
        groups=groups,
        groups_kept=kept,
    )


def _write_deepseek(config: DecoderConfig) -> dict[str, Any]:
    latent, experts, written = config.latent, config.experts, write_rope(config.positions)
    if latent is None or experts is None:
        return written  # to read it back says what is missing
    routing = experts.routing
    if "rope_scaling" in written:
        written["rope_scaling"]["mscale_all_dim"] = latent.mscale
    return written | {
        "q_lora_rank": latent.q_rank,
        "kv_lora_rank": latent.kv_rank,
        "qk_nope_head_dim": latent.nope_dim,
        "v_head_dim": latent.v_dim,
        "n_routed_experts": experts.n_experts,
        "moe_intermediate_size": experts.d_ff,
        "n_shared_experts": experts.shared_d_ff // experts.d_ff,
        "first_k_dense_replace": experts.first,
        "num_experts_per_tok": routing.k,
        "routed_scaling_factor": routing.scale,
        "norm_topk_prob": routing.renormalise,
        "topk_method": GREEDY if routing.groups == 1 else GROUPED,
        "n_group": routing.groups,
        "topk_group": routing.groups_kept,
    }


EXPERT_FAMILIES = {
    "mixtral": Family(
        architecture="MixtralForCausalLM",
        harmless=frozenset(
            {"output_router_logits", "router_aux_loss_coef", "router_jitter_noise"}
        ),
        read=_read_mixtral,
        write=_write_mixtral,
        names=_mixtral_names,
    ),
    "deepseek_v2": Family(
        architecture="DeepseekV2ForCausalLM",
        sizes=_DEEPSEEK_SIZES,
        read_sizes=partial(read_sizes, names=_DEEPSEEK_SIZES),
        harmless=frozenset(
            {"aux_loss_alpha", "ep_size", "output_router_logits", "seq_aux"}
        ),
        code=("configuration_deepseek", "modeling_deepseek"),
        read=_read_deepseek,
        write=_write_deepseek,
    ),
}  # fmt: skip
