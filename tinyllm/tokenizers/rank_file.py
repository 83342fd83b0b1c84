"""Files of ranks, as tiktoken and Llama 3 have them: a token in base64 and its rank on each line.

Such a file says neither how a text is cut into words nor which tokens are special. Both are known
of the files that OpenAI and Meta published, which are told by their SHA-256; others are refused.
"""

import base64
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.added_tokens import AddedToken
from tinyllm.tokenizers.byte_level import (
    piece_bytes,
    pieces_of_text,
    rank_encoder,
    remember_short_words,
    shown_as,
    spell,
)
from tinyllm.tokenizers.byte_level_export import export_ranks
from tinyllm.tokenizers.huggingface import build_tokenizer
from tinyllm.tokenizers.huggingface_model import HuggingFaceModel
from tinyllm.tokenizers.settings import Settings
from tinyllm.tokenizers.tokenizer import EncodeWord, Tokenizer
from tinyllm.tokenizers.word_patterns import GPT2, LLAMA3, split_by


@dataclass(frozen=True, kw_only=True, slots=True)
class RankFile:
    """What is known of a published file."""

    name: str
    pattern: str
    special: dict[str, int]
    first: str | None  # the token that stands before a text


def _llama3_special() -> dict[str, int]:
    """The 256 tokens behind the ranks (meta-llama/llama3, llama/tokenizer.py)."""
    names = {0: "begin_of_text", 1: "end_of_text", 6: "start_header_id", 7: "end_header_id"}
    names[9] = "eot_id"
    others = (i for i in range(256) if i not in names)
    names |= {i: f"reserved_special_token_{number}" for number, i in enumerate(others)}
    return {f"<|{names[i]}|>": 128_000 + i for i in range(256)}


_R50K = {"<|endoftext|>": 50256}
_CL100K = {
    "<|endoftext|>": 100257,
    "<|fim_prefix|>": 100258,
    "<|fim_middle|>": 100259,
    "<|fim_suffix|>": 100260,
    "<|endofprompt|>": 100276,
}
KNOWN = {
    "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930": RankFile(
        name="r50k_base", pattern=GPT2, special=_R50K, first=None
    ),
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7": RankFile(
        name="cl100k_base", pattern=LLAMA3, special=_CL100K, first=None
    ),
    "82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55": RankFile(
        name="Llama 3", pattern=LLAMA3, special=_llama3_special(), first="<|begin_of_text|>"
    ),
}


def rank_tokenizer(
    path: Path, content: bytes, settings: Settings, sources: dict[str, bytes]
) -> Tokenizer:
    """Build the tokenizer of the published ranks in `content`, the bytes of `path`.

    Llama 3.1 and later give other names to some of Llama 3's special tokens; tokenizer_config.json
    beside the file says which. Raises TokenizerError where the file is not one of `KNOWN`.
    """
    content = content.replace(b"\r\n", b"\n")
    known = KNOWN.get(sha256(content).hexdigest())
    if known is None:
        raise TokenizerError(
            f"{path}: is a list of ranks that is damaged or unknown; such a list does not say how a"
            f" text is split, and only {', '.join(file.name for file in KNOWN.values())} are known."
            " Use the model's tokenizer.json"
        )
    lines = (line.split() for line in content.splitlines())
    own = {spell(base64.b64decode(token)): int(rank) for token, rank in lines}
    renamed = {token.id for token in settings.added}
    shown = shown_as(own)
    split = split_by(known.pattern)

    def encoder(added: dict[str, AddedToken]) -> EncodeWord:
        text = pieces_of_text(path, own, added)
        return remember_short_words(
            rank_encoder({piece_bytes(piece): rank for piece, rank in text.items()})
        )

    return build_tokenizer(
        path,
        HuggingFaceModel(
            ids=own,
            unknown=None,
            piece_bytes=shown,
            first_bytes=shown,
            pretokenize=lambda text, at_start: split(text),
            encoder=encoder,
        ),
        added=[
            AddedToken(content=name, id=id_, special=True, normalized=False)
            for name, id_ in known.special.items()
            if id_ not in renamed
        ],
        frame=(known.first, None),
        normalize=lambda text: text,
        settings=settings,
        sources=sources,
        export=lambda tokenizer: export_ranks(own, known.pattern, tokenizer),
    )
