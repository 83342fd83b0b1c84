"""vocab.json and merges.txt: byte-level BPE as repositories had it before tokenizer.json.

The two files say neither how a text is cut into words nor which tokens are special; the class that
tokenizer_config.json names does, or else what is in the vocabulary. They are read as the
tokenizer.json that they stand for.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.files import read_bytes
from tinyllm.json_file import MEBIBYTE, read_json
from tinyllm.tokenizers.added_tokens import AddedToken, read_id
from tinyllm.tokenizers.byte_level_export import byte_level_parts
from tinyllm.tokenizers.huggingface import read_description
from tinyllm.tokenizers.literals import PLAIN, Edges
from tinyllm.tokenizers.settings import Settings
from tinyllm.tokenizers.tokenizer import Tokenizer
from tinyllm.tokenizers.word_patterns import GPT2, QWEN2

_GPT2, _ROBERTA, _QWEN2 = "GPT2Tokenizer", "RobertaTokenizer", "Qwen2Tokenizer"
_LIKE = {  # classes that make the same ids, without the "Fast" that may end their names
    _GPT2: _GPT2,
    "GPTNeoXTokenizer": _GPT2,
    "CodeGenTokenizer": _GPT2,
    _ROBERTA: _ROBERTA,
    "BartTokenizer": _ROBERTA,
    _QWEN2: _QWEN2,
}
_SPECIAL = {
    _GPT2: {"<|endoftext|>"},
    _ROBERTA: {"<s>", "<pad>", "</s>", "<unk>", "<mask>"},
    _QWEN2: {"<|endoftext|>"},
}
_MAX_BYTES = 64 * MEBIBYTE


def vocab_merges_tokenizer(
    path: Path, content: bytes, settings: Settings, sources: dict[str, bytes]
) -> Tokenizer:
    """Build the tokenizer of a vocab.json at `path` and the merges.txt beside it.

    Raises TokenizerError where the files are damaged, or it is not known how they split a text.
    """
    vocab = read_json(path, TokenizerError, _MAX_BYTES)
    beside = {"merges.txt": read_bytes(path.parent / "merges.txt", TokenizerError, _MAX_BYTES)}
    old = path.parent / "added_tokens.json"
    if old.exists() and not settings.added:
        beside[old.name] = read_bytes(old, TokenizerError, _MAX_BYTES)
        settings = replace(settings, added=_read_added(old, settings))
    merges = _read_lines(path.parent / "merges.txt", beside["merges.txt"])
    file = _describe(path, vocab, merges, settings)
    exported = (json.dumps(file, ensure_ascii=False, indent=1) + "\n").encode()
    return read_description(path, file, settings, sources | beside, {"tokenizer.json": exported})


def _read_lines(path: Path, content: bytes) -> list[str]:
    """Read merges.txt: a pair on each line, behind one that may say a version."""
    try:
        lines = content.decode("utf-8").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as cause:
        raise TokenizerError(f"{path}: is not UTF-8 at byte {cause.start}") from cause
    return [line for line in lines if line and not line.startswith("#version")]


def _read_added(path: Path, settings: Settings) -> tuple[AddedToken, ...]:
    """Read added_tokens.json, tokens and their ids, which tokenizer_config.json came to replace."""
    special = set(settings.roles.values())
    return tuple(
        AddedToken(
            content=name,
            id=read_id(path, name, id_),
            special=name in special,
            normalized=name not in special,
        )
        for name, id_ in read_json(path, TokenizerError, MEBIBYTE).items()
        if name
    )


def _class(path: Path, vocab: dict[str, Any], settings: Settings) -> str:
    """Tell whose rules hold; without a class, RoBERTa's five tokens or GPT-2's one tell."""
    name = settings.entries.get("tokenizer_class")
    if name is None:
        for kind in (_ROBERTA, _GPT2):
            if vocab.keys() >= _SPECIAL[kind]:
                return kind
    like = _LIKE.get(str(name).removesuffix("Fast"))
    if like is None:
        raise TokenizerError(
            f"{path}: does not say how a text is split; tokenizer_config.json names the"
            f" tokenizer_class {str(name)[:60]!r}, and known are {', '.join(_LIKE)}"
        )
    return like


def _describe(
    path: Path, vocab: dict[str, Any], merges: list[str], settings: Settings
) -> dict[str, Any]:
    """Write the tokenizer.json that the files stand for."""
    kind = _class(path, vocab, settings)
    prefix = settings.entries.get("add_prefix_space")
    if not isinstance(prefix, bool | None):
        raise TokenizerError(f"{path}: add_prefix_space is {str(prefix)[:40]!r}; expected a bool")
    special = _SPECIAL[kind] | {name for name in settings.roles.values() if name}
    added = {
        name: AddedToken(
            content=name,
            id=vocab[name],
            special=True,
            normalized=False,
            edges=Edges(lstrip=True) if name == "<mask>" else PLAIN,
        )
        for name in vocab
        if name in special
    }
    added |= {token.content: token for token in settings.added}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_entry(token) for token in added.values()],
        "normalizer": {"type": "NFC"} if kind == _QWEN2 else None,
        "post_processor": _post_processor(kind, vocab, settings),
        **byte_level_parts(
            vocab,
            merges,
            QWEN2 if kind == _QWEN2 else GPT2,
            ignore_merges=False,
            add_prefix_space=bool(prefix),
        ),
    }


def _entry(token: AddedToken) -> dict[str, Any]:
    entry = asdict(token)
    return entry | entry.pop("edges")._asdict()


def _post_processor(kind: str, vocab: dict[str, Any], settings: Settings) -> dict[str, Any] | None:
    """Say what stands around a text: RoBERTa's <s> and </s>, or BOS where it is asked for."""
    if kind == _ROBERTA:
        return {
            "type": "RobertaProcessing",
            "cls": ["<s>", vocab["<s>"]],
            "sep": ["</s>", vocab["</s>"]],
            "trim_offsets": True,
            "add_prefix_space": False,
        }
    bos = settings.roles.get("bos", "<|endoftext|>" if kind == _GPT2 else None)
    if not settings.add_bos or bos is None:
        return None
    text = [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    ids = vocab | {token.content: token.id for token in settings.added}
    return {
        "type": "TemplateProcessing",
        "single": text,
        "pair": [*text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {bos: {"id": bos, "ids": [ids.get(bos)], "tokens": [bos]}},
    }
