"""The flags that describe a model yet to be trained, and the config that they make."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyllm.cli.arguments import real, whole
from tinyllm.errors import UsageError
from tinyllm.shown import plain

if TYPE_CHECKING:
    from tinyllm.models.architecture import Config
    from tinyllm.tokenizers import Tokenizer

LLAMAS: dict[str, Any] = {  # pieces that our own family has in any kind, and a llama in this one
    "positions": "rope", "norm": "rmsnorm", "mlp": "swiglu", "layout": "pre", "bias": "no",
    "shared_experts": 0, "expert_groups": None, "groups_kept": None, "expert_capacity": None,
}  # fmt: skip
BIASES = ("qkv_bias", "o_bias", "mlp_bias")
OF_EXPERTS = (
    "experts_per_token", "shared_experts", "expert_groups", "groups_kept", "expert_capacity",
)  # fmt: skip
WITH_EXPERTS = ("llama", "mixtral", "tinyllm")
MARKERS: dict[str, dict[str, Any]] = {  # of a new tokenizer, which knows them by these names
    "fill-mask": {
        "special_tokens": ("<s>", "<pad>", "</s>", "<mask>"), "bos": "<s>", "eos": "</s>",
    },
    "translate": {"special_tokens": ("<pad>", "</s>"), "bos": None, "eos": "</s>"},
    "generate": {"special_tokens": ("<|endoftext|>",)},
}  # fmt: skip
SIZES = (
    "d_model", "layers", "heads", "kv_heads", "d_ff", "context", "experts", "experts_per_token",
)  # fmt: skip
K = 2  # experts for each token, unless told


def add_new_model(parser: argparse.ArgumentParser) -> None:
    """Add what describes a model."""
    group = parser.add_argument_group("model", "a new one by its sizes, or by --config, or --model")
    add = group.add_argument
    add("--model", "-m", metavar="FOLDER|ORG/NAME", help="start from the weights of this model")
    add("--config", metavar="FILE", help="a config.json; --vocab and --tokenizer count more")
    add(
        "--arch",
        help="llama, mistral, qwen3, gpt2, opt, bert, marian, t5, rnn, lstm … (default: llama)",
    )
    add("--d-model", type=whole, metavar="N", help="features of a token (default: 128)")
    add("--layers", type=whole, metavar="N", help="(default: 4)")
    add("--heads", type=whole, metavar="N", help="of queries (default: 4)")
    add("--kv-heads", type=whole, metavar="N", help="of keys and values (default: as --heads)")
    add(
        "--d-ff", type=whole, metavar="N",
        help="of the mlp, or of each expert (default: 8/3 of --d-model, or 4 times it where nothing"
        " gates; of an expert that by --experts-per-token)",
    )  # fmt: skip
    add(
        "--context", "--ctx", type=whole, metavar="N",
        help="the longest text in tokens (default: --seq-len)",
    )  # fmt: skip
    add("--tie", choices=["yes", "no"], help="whether the head is the embedding (default: yes)")
    add("--experts", type=whole, metavar="N", help="in the place of each mlp (default: none)")
    add("--experts-per-token", type=whole, metavar="N", help=f"of these (default: {K})")
    _add_pieces(parser)


def _add_pieces(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "pieces", "a model of our own, which other programs do not know: other pieces"
    )
    add = group.add_argument
    add("--positions", help="rope, sinusoidal, learned, alibi or none (default: rope)")
    add("--norm", help="rmsnorm, layernorm … (default: rmsnorm)")
    add("--mlp", help="swiglu, geglu, relu, gelu, gelu_tanh … (default: swiglu)")
    add("--layout", help="of a block: pre, post, parallel, sandwich … (default: pre)")
    add("--bias", choices=["yes", "no"], help="whether projections have biases (default: no)")
    add(
        "--shared-experts", type=whole, metavar="N",
        help="as wide as so many, which every token passes (default: none)",
    )  # fmt: skip
    add("--expert-groups", type=whole, metavar="N", help="into which experts fall (default: 1)")
    add(
        "--groups-kept", type=whole, metavar="N",
        help="of which experts of a token are taken (default: all)",
    )  # fmt: skip
    add(
        "--expert-capacity", type=real, metavar="C",
        help="drop what an expert is sent in training beyond C even shares (default: nothing)",
    )  # fmt: skip


def new_config(args: argparse.Namespace, tokenizer: "Tokenizer | None", seq_len: int) -> "Config":
    """Make the config of a new model. Raises ConfigError or UsageError for one that cannot be."""
    from tinyllm.errors import ConfigError
    from tinyllm.key_reader import KeyReader
    from tinyllm.models.architecture import understand

    _check_sizes(args)
    where = plain(args.config) if args.config else "the flags of the model"
    values = _read(args) if args.config else _values(args, seq_len)
    if tokenizer is not None:
        values |= {"vocab_size": tokenizer.vocab_size, "eos_token_id": tokenizer.eos_id}
        values |= {"bos_token_id": tokenizer.bos_id} | _padding(args, values, tokenizer)
    elif args.vocab is not None:
        values |= {"vocab_size": args.vocab}
    if args.config:
        return understand(KeyReader(values, where))
    keys = KeyReader(values, where)
    try:
        config = understand(keys)
    except ConfigError as error:
        if keys.missing is None:
            raise
        raise ConfigError(
            f"{error}, and no flag gives it: give a {args.arch}'s config.json with --config"
        ) from error
    _check_fit(args, config)
    return config


def special_tokens(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of a tokenizer's training that say which special tokens a model has."""
    markers = MARKERS[_use(args)]
    if _use(args) == "translate" and args.target is None:
        from tinyllm.training.spans import SENTINELS

        return markers | {"special_tokens": (*markers["special_tokens"], *SENTINELS)}
    return markers


def _read(args: argparse.Namespace) -> dict[str, Any]:
    from tinyllm.errors import ConfigError
    from tinyllm.json_file import read_json

    return read_json(Path(args.config), ConfigError)


def _use(args: argparse.Namespace) -> str:
    """Return what the new model is for; of an unknown kind, which is refused later, "generate"."""
    from tinyllm.models.architecture import ARCHITECTURES

    kind = _read(args).get("model_type") if args.config else args.arch
    return next((a.use for a in ARCHITECTURES.values() if kind in a.model_types), "generate")


def _padding(
    args: argparse.Namespace, values: dict[str, Any], tokenizer: "Tokenizer"
) -> dict[str, Any]:
    """Return what a new model's file says of padding: a roberta's positions begin after it, and a
    target begins with it."""
    use, pad = _use(args), tokenizer.pad_id
    if use == "translate" and pad is not None:
        return {"pad_token_id": pad, "decoder_start_token_id": pad}
    if use != "fill-mask" or args.config:
        return {}
    said: dict[str, Any] = {"pad_token_id": pad}
    if values["model_type"] == "roberta":
        first = 1 if pad is None else pad
        said["max_position_embeddings"] = values["max_position_embeddings"] + first + 1
    return said


def _check_fit(args: argparse.Namespace, config: Any) -> None:
    """Raise UsageError for a size that the kind of model has no choice of."""
    stack = getattr(config, "decoder", config)
    for flag, field in {"d_ff": "d_ff", "kv_heads": "n_kv_heads"}.items():
        given, has = getattr(args, flag), getattr(stack, field, None)
        if given not in (None, has):
            own = "" if has is None else f", which has {has} here"
            name = flag.replace("_", "-")
            raise UsageError(f"--{name} {given} does not fit a {args.arch}{own}")


def _check_sizes(args: argparse.Namespace) -> None:
    """Raise UsageError for a size that no model has, by its flag."""
    for name in SIZES:
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} is {value}, expected at least 1")
    if args.experts and _k(args) > args.experts:
        raise UsageError(
            f"--experts is {args.experts}, and each token passes {_k(args)}: expected at least "
            f"{_k(args)}, or fewer --experts-per-token"
        )


def _check_experts(args: argparse.Namespace, name: str) -> None:
    """Raise UsageError for flags of experts where there are none, and of mlps where there are."""
    if name == "mixtral" and not args.experts:
        raise UsageError("a mixtral is a mixture of experts: give their number with --experts")
    if args.experts:
        if name not in WITH_EXPERTS:
            raise UsageError(f"--experts does not fit a {name}, but {', '.join(WITH_EXPERTS)}")
        if args.mlp not in (None, LLAMAS["mlp"]):
            raise UsageError(f"--mlp {args.mlp} does not fit --experts: each is a {LLAMAS['mlp']}")
        return
    given = [flag for flag in OF_EXPERTS if getattr(args, flag) not in (None, 0)]
    if given:
        flags = " and ".join(f"--{flag}" for flag in given).replace("_", "-")
        raise UsageError(f"{flags} need{'s' if len(given) == 1 else ''} --experts")


def _values(args: argparse.Namespace, seq_len: int) -> dict[str, Any]:
    """Return a config.json of the flags."""
    from tinyllm.models.families import FAMILIES, OWN
    from tinyllm.models.seq2seq_families import SEQ2SEQ_FAMILIES

    pieces = {piece: given for piece in LLAMAS if (given := getattr(args, piece)) is not None}
    other = any(LLAMAS[piece] != given for piece, given in pieces.items())
    name = args.arch
    if name == "llama" and (other or args.experts):
        name = OWN if other else "mixtral"
    if pieces and name not in (OWN, "llama", "mixtral"):
        flags = ", ".join(f"--{piece}" for piece in pieces).replace("_", "-")
        raise UsageError(f"{flags} does not fit a {name}, which has no choice; --arch {OWN} has")
    _check_experts(args, name)
    common = {"num_hidden_layers": args.layers, "tie_word_embeddings": args.tie == "yes"}
    if name in SEQ2SEQ_FAMILIES:
        sizes, spelled = _sizes(args, "relu", seq_len), SEQ2SEQ_FAMILIES[name].sizes
        spelt = {key: sizes[field] for field, keys in spelled.items() for key in keys}
        tied = {"tie_word_embeddings": args.tie == "yes"}
        return {"model_type": name, **tied, **spelt, **SEQ2SEQ_FAMILIES[name].new}
    if name not in FAMILIES:
        sizes = {"embedding_size": args.d_model, "hidden_size": args.d_model}
        return {"model_type": name, **sizes, **common}
    family = FAMILIES[name]
    mlp = args.mlp or family.fields.get("mlp", next(iter(family.acts.values())))
    sizes = _sizes(args, mlp, seq_len)
    spelt = {family.sizes[field]: size for field, size in sizes.items() if field in family.sizes}
    values = {"model_type": name, **common, **spelt}
    if family.eps is not None:
        values[family.eps] = 1e-5
    if name == "mistral":
        values["sliding_window"] = None  # where the file says nothing, there is one
    if name == "mixtral":
        values |= {"num_local_experts": args.experts, "num_experts_per_tok": _k(args)}
    return values | (_own(args, values) if name == OWN else {})


def _sizes(args: argparse.Namespace, mlp: str, seq_len: int) -> dict[str, int]:
    """Return the sizes by the names of the config's fields."""
    if args.heads > 0 and args.d_model % args.heads:
        raise UsageError(f"--d-model is {args.d_model}, expected a multiple of {args.heads} heads")
    d_ff = (8 * args.d_model // 3 if "glu" in mlp else 4 * args.d_model) // max(1, _k(args))
    return {
        "d_model": args.d_model,
        "d_ff": args.d_ff or -(-d_ff // 8) * 8,
        "n_layers": args.layers,
        "n_heads": args.heads,
        "n_kv_heads": args.kv_heads or args.heads,
        "head_dim": args.d_model // max(1, args.heads),
        "max_seq_len": args.context or seq_len,
    }


def _k(args: argparse.Namespace) -> int:
    """Return how many experts, or mlps, a token passes."""
    if not args.experts:
        return 1
    return K if args.experts_per_token is None else args.experts_per_token


def _own(args: argparse.Namespace, values: dict[str, Any]) -> dict[str, Any]:
    """Return what a file of our own family says beyond sizes."""
    given = {piece: getattr(args, piece) for piece in LLAMAS}
    said = {piece: LLAMAS[piece] if x is None else x for piece, x in given.items()}
    said |= dict.fromkeys(BIASES, said.pop("bias") == "yes")
    shared, groups, kept, capacity = (said.pop(name) for name in OF_EXPERTS[1:])
    if args.experts:
        said["experts"] = {
            "n_experts": args.experts, "k": _k(args), "d_ff": values["intermediate_size"],
            "shared_d_ff": shared * values["intermediate_size"], "groups": groups,
            "groups_kept": kept, "capacity": capacity,
        }  # fmt: skip
    return said
