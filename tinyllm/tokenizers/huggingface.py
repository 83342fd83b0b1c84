"""Read Hugging Face's tokenizer.json where its model is BPE with byte fallback.

The pair that joins first is the one that stands first in `merges`; of equal pairs the leftmost.
Facts: huggingface/tokenizers, src/models/bpe and src/tokenizer/serialization.rs. The parts
`truncation` and `padding` say how batches are made, not what ids a text has, and are passed over.
"""

from pathlib import Path
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.json_file import read_json
from tinyllm.tokenizers.added_tokens import AddedToken, combine, read_added_token, read_id
from tinyllm.tokenizers.assembly import assemble
from tinyllm.tokenizers.byte_fallback import BYTE_PIECES, byte_ids, piece_bytes, word_encoder
from tinyllm.tokenizers.decoders import decoders
from tinyllm.tokenizers.normalizers import read_normalizer
from tinyllm.tokenizers.pretokenizers import read_pretokenizer
from tinyllm.tokenizers.settings import Settings
from tinyllm.tokenizers.tokenizer import Tokenizer

# What changes nothing when it has one of these values; other values are not supported.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "dropout": (None, 0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "ignore_merges": (None, False),
}
# `fuse_unk` is free: with byte fallback no character is unknown.
_KNOWN = {"type", "byte_fallback", "vocab", "merges", "unk_token", "fuse_unk", *_NEUTRAL}


def read_tokenizer_json(path: Path, settings: Settings, sources: dict[str, bytes]) -> Tokenizer:
    """Build the tokenizer that the file `path` describes; `sources` is what its `save` writes.

    Raises TokenizerError where the file is damaged, contradicts `settings`, or asks for what
    tinyllm does not do.
    """
    file = read_json(path, TokenizerError)
    model = _check_model(path, file.get("model"))
    own = _read_vocab(path, model.get("vocab"))
    ranks = _read_merges(path, model.get("merges"), own)
    added = _read_added_tokens(path, file.get("added_tokens"))
    first = _first_token(path, file.get("post_processor"))
    roles = _roles(path, model, added, first) | settings.roles
    ids, by_content = combine(path, own, [*added, *settings.added], roles)
    text = {p: i for p, i in own.items() if p not in by_content and p not in BYTE_PIECES}
    return assemble(
        path,
        ids=ids,
        added=by_content,
        user_defined={},
        piece_bytes=piece_bytes,
        roles=roles,
        add_bos=first is not None and first == roles.get("bos"),
        settings=settings,
        normalize=read_normalizer(path, file.get("normalizer")),
        pretokenize=read_pretokenizer(path, file.get("pre_tokenizer")),
        # What only looks like a token that is no text must not come out of merges either.
        encode_word=word_encoder(
            text,
            byte_ids(path, own),
            lambda left, right: ranks.get((left, right)) if left + right in text else None,
        ),
        drops_space=_drops_space(path, file.get("decoder")),
        sources=sources,
        export=lambda tokenizer: {},
    )


def _check_model(path: Path, model: Any) -> dict[str, Any]:
    """Refuse by name what is not BPE with byte fallback."""
    if not isinstance(model, dict):
        raise TokenizerError(f"{path}: has no 'model' object")
    kind = model.get("type")
    if kind != "BPE" or model.get("byte_fallback") is not True:
        name = "BPE without byte_fallback" if kind == "BPE" else f"type {str(kind)[:40]!r}"
        raise TokenizerError(
            f"{path}: a model of {name} is not supported; BPE with byte_fallback is"
        )
    for key in model:
        if key not in _KNOWN or (key in _NEUTRAL and model[key] not in _NEUTRAL[key]):
            raise TokenizerError(f"{path}: {key!r} = {str(model[key])[:40]} is not supported")
    return model


def _read_vocab(path: Path, vocab: Any) -> dict[str, int]:
    """Check the pieces and their ids; ids may leave holes."""
    if not isinstance(vocab, dict):
        raise TokenizerError(f"{path}: the model's 'vocab' is no object of pieces and ids")
    owner: dict[int, str] = {}
    for piece, id_ in vocab.items():
        if not piece:
            raise TokenizerError(f"{path}: the piece with the id {str(id_)[:40]} is empty")
        if owner.setdefault(read_id(path, piece, id_), piece) != piece:
            raise TokenizerError(f"{path}: {owner[id_]!r} and {piece!r} have the same id {id_}")
    return vocab


def _read_merges(path: Path, merges: Any, vocab: dict[str, int]) -> dict[tuple[str, str], int]:
    """Number the pairs, written as "a b" or as ["a", "b"], in their order."""
    if not isinstance(merges, list):
        raise TokenizerError(f"{path}: the model's 'merges' is no list")
    ranks: dict[tuple[str, str], int] = {}
    for i, entry in enumerate(merges):
        pair = entry.split(" ") if isinstance(entry, str) else entry
        match pair:
            case [str(left), str(right)]:
                unknown = [p for p in (left, right, left + right) if p not in vocab]
            case _:
                raise TokenizerError(
                    f"{path}: merge {i} is {str(entry)[:80]!r}; expected two pieces"
                )
        if unknown:
            raise TokenizerError(
                f"{path}: merge {i} needs the piece {unknown[0]!r}, which is not in the vocabulary"
            )
        if left in BYTE_PIECES or right in BYTE_PIECES:
            raise TokenizerError(f"{path}: merge {i} joins a byte piece, which is not supported")
        if ranks.setdefault((left, right), i) != i:
            raise TokenizerError(f"{path}: merges {ranks[left, right]} and {i} are the same")
    return ranks


def _read_added_tokens(path: Path, entries: Any) -> list[AddedToken]:
    if not isinstance(entries, list | None):
        raise TokenizerError(f"{path}: 'added_tokens' is no list")
    return [
        read_added_token(path, entry, entry.get("id") if isinstance(entry, dict) else None)
        for entry in entries or []
    ]


def _roles(
    path: Path, model: dict[str, Any], added: list[AddedToken], first: str | None
) -> dict[str, str | None]:
    """Tell BOS, EOS and the others by what the file says of them, or by their usual names."""
    unknown = model.get("unk_token")
    if not isinstance(unknown, str | None):
        raise TokenizerError(f"{path}: unk_token is {str(unknown)[:40]!r}; expected a token's text")
    special = {token.content for token in added if token.special}
    usual = {"bos": "<s>", "eos": "</s>", "pad": "<pad>"}
    found: dict[str, str | None] = {role: p for role, p in usual.items() if p in special}
    return found | {"unk": unknown} | ({"bos": first} if first else {})


def _first_token(path: Path, spec: Any) -> str | None:
    """The token that a post_processor puts before a text: BOS, or None for nothing."""
    if spec is None:
        return None
    match spec:
        case {"type": "TemplateProcessing", "single": [{"Sequence": _}, *_]}:
            return None
        case {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": str(token)}}, {"Sequence": _}, *_],
        }:
            return token
    raise TokenizerError(f"{path}: the post_processor {str(spec)[:120]} is not supported")


def _drops_space(path: Path, spec: Any) -> bool:
    """Whether the decoder takes a space away at the start of a text."""
    if isinstance(spec, dict) and spec.get("type") == "Sequence":
        for drops_space in (False, True):
            if spec.get("decoders") == decoders(drops_space):
                return drops_space
    raise TokenizerError(f"{path}: the decoder {str(spec)[:120]} is not supported")
