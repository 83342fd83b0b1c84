"""BERT and RoBERTa: what their configs say, and the names in their files."""

from dataclasses import replace
from typing import Any

from tinyllm.checkpoints.sizes import HF_NAMES, Sizes, read_sizes
from tinyllm.key_reader import KeyReader
from tinyllm.models.config import StackConfig
from tinyllm.models.encoder_config import EncoderConfig
from tinyllm.models.family import PLAIN, Family, require
from tinyllm.models.positions import Learned
from tinyllm.models.stored import Names

_SIZES = {field: key for field, key in HF_NAMES.items() if field not in ("n_kv_heads", "head_dim")}
_FIELDS = {
    "layout": "post", "norm": "layernorm", "embedding_norm": True,
    "qkv_bias": True, "o_bias": True, "mlp_bias": True,
}  # fmt: skip
_LAYER = {
    "self_attn.q_proj": "attention.self.query",
    "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value",
    "self_attn.o_proj": "attention.output.dense",
    "post_attention_layernorm": "attention.output.LayerNorm",
    "mlp.up_proj": "intermediate.dense",
    "mlp.down_proj": "output.dense",
    "post_feedforward_layernorm": "output.LayerNorm",
}
_ACTS = {"gelu": "gelu", **PLAIN}
_HARMLESS = frozenset(
    {
        "attention_probs_dropout_prob", "classifier_dropout", "directionality",
        "gradient_checkpointing", "hidden_dropout_prob", "pooler_fc_size",
        "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type",
    }
)  # fmt: skip
_WITHOUT_HEAD, _WITH_BOTH = "Model", "ForPreTraining"


def _encoder(
    name: str, masked_head: dict[str, str], *, pad_id: int | None, masked_act: str | None
) -> Family:
    """A row. `pad_id` is the padding where the file does not say. Positions start at row pad_id + 1
    of the position table (RoBERTa). With None there is no default padding, and they start at row 0
    (BERT).

    `masked_act` is the activation in its head, None that of the blocks.
    """
    prefix = name.lower()

    def padding(keys: KeyReader, vocab_size: int) -> int | None:
        return keys.integer("pad_token_id", 0, vocab_size - 1, default=pad_id)

    def offset(pad: int | None) -> int:
        return 0 if pad_id is None or pad is None else pad + 1

    def sizes(keys: KeyReader) -> Sizes:
        read = read_sizes(keys, _SIZES)
        first = offset(padding(keys, read.vocab_size))
        if read.max_seq_len <= first:
            raise keys.error("max_position_embeddings", f"expected more than {first}")
        return replace(read, max_seq_len=read.max_seq_len - first)

    def read(keys: KeyReader, sizes: Sizes) -> dict[str, Any]:
        require(
            keys, position_embedding_type="absolute", is_decoder=False, add_cross_attention=False
        )
        (word,) = keys.get("architectures") or [f"{name}ForMaskedLM"]
        pad = padding(keys, sizes.vocab_size)
        return {
            "positions": Learned(offset=offset(pad)),
            "windows": (None,) * sizes.n_layers,
            "token_types": keys.integer("type_vocab_size", 1, 2**16, default=2),
            "pad_id": pad,
            "masked_act": masked_act or _ACTS[keys.string("hidden_act", tuple(_ACTS), "gelu")],
            "masked_head": word != name + _WITHOUT_HEAD,
            "pooler": word in (name + _WITHOUT_HEAD, name + _WITH_BOTH),
        }

    def write(config: StackConfig) -> dict[str, Any]:
        assert isinstance(config, EncoderConfig)
        head = "ForMaskedLM" if not config.pooler else _WITH_BOTH
        return {
            "architectures": [name + (head if config.masked_head else _WITHOUT_HEAD)],
            "max_position_embeddings": config.max_seq_len + offset(config.pad_id),
            "type_vocab_size": config.token_types,
            "pad_token_id": config.pad_id,
        }

    def names(config: StackConfig) -> Names:
        assert isinstance(config, EncoderConfig)
        unused: tuple[str, ...] = (
            () if config.pooler else ("pooler.dense.weight", "pooler.dense.bias")
        )
        unused += () if config.masked_head else tuple(masked_head.values())
        return Names(
            whole={
                "model.embed_tokens": f"{prefix}.embeddings.word_embeddings",
                "model.embed_positions": f"{prefix}.embeddings.position_embeddings",
                "model.embed_types": f"{prefix}.embeddings.token_type_embeddings",
                "model.embed_norm": f"{prefix}.embeddings.LayerNorm",
                "model.pooler": f"{prefix}.pooler.dense",
                **masked_head,
            },
            layers=f"{prefix}.encoder.layer",
            within=_LAYER,
            prefix=f"{prefix}.",
            leaves={"gamma": "weight", "beta": "bias"},
            buffers=(
                "position_ids", "seq_relationship.weight", "seq_relationship.bias",
                f"{masked_head['lm_head']}.bias", *unused,
            ),
        )  # fmt: skip

    return Family(
        kind=EncoderConfig,
        architecture=f"{name}ForMaskedLM",
        also=(name + _WITHOUT_HEAD, name + _WITH_BOTH),
        sizes=_SIZES,
        read_sizes=sizes,
        eps="layer_norm_eps",
        default_eps=1e-12,
        acts=_ACTS,
        tied=True,
        harmless=_HARMLESS,
        fields=_FIELDS,
        read=read,
        write=write,
        names=names,
    )


# BERT: Devlin et al. 2019 (arXiv:1810.04805). RoBERTa: Liu et al. 2019 (arXiv:1907.11692).
ENCODER_FAMILIES = {
    "bert": _encoder(
        "Bert",
        {
            "masked_head": "cls.predictions",
            "masked_head.dense": "cls.predictions.transform.dense",
            "masked_head.norm": "cls.predictions.transform.LayerNorm",
            "lm_head": "cls.predictions.decoder",
        },
        pad_id=None,
        masked_act=None,
    ),
    "roberta": _encoder(
        "Roberta",
        {
            "masked_head": "lm_head",
            "masked_head.dense": "lm_head.dense",
            "masked_head.norm": "lm_head.layer_norm",
            "lm_head": "lm_head.decoder",
        },
        pad_id=1,
        masked_act="gelu",
    ),
}
