"""BERT's vocab.txt: one piece a line, the line's number is its id; the rest is known or configured.

Facts: google-research/bert, tokenization.py, and transformers' BertTokenizer, whose settings these
are in tokenizer_config.json.
"""

from functools import partial
from pathlib import Path
from typing import Any, TypedDict

from tinyllm.errors import TokenizerError
from tinyllm.shown import shown
from tinyllm.tokenizers.added_tokens import MAX_IDS, AddedToken
from tinyllm.tokenizers.bert import bert_normalizer, bert_words
from tinyllm.tokenizers.huggingface import build_tokenizer
from tinyllm.tokenizers.huggingface_model import HuggingFaceModel
from tinyllm.tokenizers.json_export import json_files, post_processor, role_names
from tinyllm.tokenizers.settings import Settings, token_name
from tinyllm.tokenizers.tokenizer import Tokenizer
from tinyllm.tokenizers.unicode import WHITE_SPACE
from tinyllm.tokenizers.wordpiece import first_piece_bytes, piece_bytes, wordpiece_encoder

_PREFIX, _LONGEST_WORD = "##", 100


class _Flags(TypedDict):
    """The arguments of `bert_normalizer`."""

    clean_text: bool
    handle_chinese_chars: bool
    strip_accents: bool | None
    lowercase: bool


def bert_tokenizer(
    path: Path, content: bytes, settings: Settings, sources: dict[str, bytes]
) -> Tokenizer:
    """Build the tokenizer of a vocab.txt, `content`.

    It lowers letters unless do_lower_case is false in `settings`. BOS and EOS are [CLS] and [SEP].
    Raises TokenizerError where the file is no such list, or contradicts `settings`.
    """
    own = _read_pieces(path, content)
    flags = _read_flags(path, settings.entries)
    special = _special_tokens(path, own, settings)
    unknown = special.get("unk")
    if unknown not in own:
        raise TokenizerError(
            f"{path}: has no unknown token; expected [UNK], or what tokenizer_config.json names"
        )
    model = HuggingFaceModel(
        ids=own,
        unknown=unknown,
        piece_bytes=piece_bytes(_PREFIX, cleanup=True),
        first_bytes=first_piece_bytes(cleanup=True),
        pretokenize=bert_words,
        encoder=wordpiece_encoder(own, _PREFIX, own[unknown], _LONGEST_WORD),
    )
    return build_tokenizer(
        path,
        model,
        added=[
            AddedToken(content=name, id=own[name], special=True, normalized=False)
            for name in special.values()
        ],
        frame=(special.get("cls"), special.get("sep")),
        normalize=bert_normalizer(**flags),
        settings=settings,
        sources=sources,
        export=partial(_export, own, flags),
    )


def _special_tokens(path: Path, own: dict[str, int], settings: Settings) -> dict[str, str]:
    """The tokens that are no text, by their roles, as far as they are in the vocabulary."""
    names = {
        role: token_name(path, key, settings.entries.get(key, f"[{role.upper()}]"))
        for role in ("unk", "pad", "cls", "sep", "mask")
        if (key := f"{role}_token")
    }
    return {role: name for role, name in names.items() if name is not None and name in own}


def _read_pieces(path: Path, content: bytes) -> dict[str, int]:
    """Number the lines; white space at their ends is none of theirs."""
    try:
        lines = content.decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as cause:
        raise TokenizerError(f"{path}: is not UTF-8 at byte {cause.start}") from cause
    if len(lines) > MAX_IDS:
        raise TokenizerError(f"{path}: has {len(lines)} pieces; {MAX_IDS} is the most")
    ids: dict[str, int] = {}
    for i, line in enumerate(lines):
        piece = line.rstrip(WHITE_SPACE)
        if not piece:
            raise TokenizerError(f"{path}: line {i + 1} is empty; expected a piece")
        if ids.setdefault(piece, i) != i:
            raise TokenizerError(f"{path}: lines {ids[piece] + 1} and {i + 1} are both {piece!r}")
    return ids


def _read_flags(path: Path, entries: dict[str, Any]) -> _Flags:
    """Read what tokenizer_config.json says of the normalizer, under transformers' names."""

    def flag(key: str, default: bool) -> bool:
        value = entries.get(key, default)
        if type(value) is not bool:
            raise TokenizerError(f"{path}: {key} is {shown(value)}; expected a boolean")
        return value

    if not flag("do_basic_tokenize", True):
        raise TokenizerError(f"{path}: do_basic_tokenize = false is not supported")
    unsaid = entries.get("strip_accents") is None
    return _Flags(
        clean_text=True,
        handle_chinese_chars=flag("tokenize_chinese_chars", True),
        strip_accents=None if unsaid else flag("strip_accents", True),
        lowercase=flag("do_lower_case", True),
    )


def _export(own: dict[str, int], flags: _Flags, tokenizer: Tokenizer) -> dict[str, bytes]:
    return json_files(
        tokenizer,
        normalizer={"type": "BertNormalizer", **flags},
        pre_tokenizer={"type": "BertPreTokenizer"},
        post_processor=post_processor(tokenizer, pair="<A>B>"),
        decoder={"type": "WordPiece", "prefix": _PREFIX, "cleanup": True},
        model={
            "type": "WordPiece",
            "unk_token": role_names(tokenizer)["unk"],
            "continuing_subword_prefix": _PREFIX,
            "max_input_chars_per_word": _LONGEST_WORD,
            "vocab": own,
        },
    )
