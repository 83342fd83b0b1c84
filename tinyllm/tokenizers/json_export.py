"""Write a tokenizer as tokenizer.json and tokenizer_config.json: what all kinds of model share."""

import json
from typing import Any

from tinyllm.tokenizers.settings import ROLES
from tinyllm.tokenizers.tokenizer import Tokenizer


def json_files(tokenizer: Tokenizer, **parts: Any) -> dict[str, bytes]:
    """Make both files; `parts` are normalizer, pre_tokenizer, post_processor, decoder and model."""
    return {
        "tokenizer.json": _dump(
            {
                "version": "1.0",
                "truncation": None,
                "padding": None,
                "added_tokens": _added_tokens(tokenizer),
                **parts,
            }
        ),
        "tokenizer_config.json": _dump(_tokenizer_config(tokenizer)),
    }


def _dump(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def _added_tokens(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    return [
        {
            "id": id_,
            "content": content,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for content, id_ in sorted(tokenizer.special_tokens.items(), key=lambda item: item[1])
    ]


def _tokenizer_config(tokenizer: Tokenizer) -> dict[str, Any]:
    """Name the roles; the class is the one that takes tokenizer.json at its word."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": tokenizer.add_bos,
        "add_eos_token": tokenizer.add_eos,
        "clean_up_tokenization_spaces": False,
        **{f"{role}_token": name for role, name in role_names(tokenizer).items()},
    }


def role_names(tokenizer: Tokenizer) -> dict[str, str | None]:
    """Return the tokens that are BOS, EOS and the others, or None."""
    names = {id_: content for content, id_ in tokenizer.special_tokens.items()}
    ids = (tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.pad_id)
    return {r: None if i is None else names.get(i) for r, i in zip(ROLES, ids, strict=True)}


def post_processor(tokenizer: Tokenizer, *, pair: str) -> dict[str, Any] | None:
    """Say which tokens stand around a text by default, and around a pair: "<A><B>" or "<A>B>".

    None where there are none. In "<A>B>" the second text has no BOS of its own, as in BERT.
    """
    names = role_names(tokenizer)
    ends = {
        "<": (names["bos"], tokenizer.bos_id) if tokenizer.add_bos else None,
        ">": (names["eos"], tokenizer.eos_id) if tokenizer.add_eos else None,
    }

    def template(pattern: str) -> list[dict[str, Any]]:
        steps = []
        for i, letter in enumerate(pattern):
            type_id = sum(map(str.isalpha, pattern[:i])) - (letter == ">")  # of the text it is at
            if letter.isalpha():
                steps.append({"Sequence": {"id": letter, "type_id": type_id}})
            elif end := ends[letter]:
                steps.append({"SpecialToken": {"id": end[0], "type_id": type_id}})
        return steps

    tokens = dict(filter(None, ends.values()))
    if not tokens:
        return None
    return {
        "type": "TemplateProcessing",
        "single": template("<A>"),
        "pair": template(pair),
        "special_tokens": {
            name: {"id": name, "ids": [id_], "tokens": [name]} for name, id_ in tokens.items()
        },
    }
