"""Write byte-level BPE as tokenizer.json, which transformers and others read."""

from typing import Any

from tinyllm.tokenizers.json_export import json_files, post_processor
from tinyllm.tokenizers.tokenizer import Tokenizer
from tinyllm.tokenizers.word_patterns import GPT2


def byte_level_parts(
    vocab: dict[str, int],
    merges: list[Any],
    pattern: str,
    *,
    ignore_merges: bool,
    add_prefix_space: bool,
) -> dict[str, Any]:
    """Describe the model and what belongs to it; `pattern` is GPT-2's, or one that files have."""
    byte_level = byte_level_step(use_regex=pattern == GPT2, add_prefix_space=add_prefix_space)
    steps = [byte_level] if pattern == GPT2 else [split_step(pattern), byte_level]
    return {
        "pre_tokenizer": in_sequence(*steps),
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": ignore_merges,
            "vocab": vocab,
            "merges": merges,
        },
    }


def byte_level_step(*, use_regex: bool = True, add_prefix_space: bool = False) -> dict[str, Any]:
    """Describe the step that writes bytes as characters, behind GPT-2's pattern if it is to."""
    return {
        "type": "ByteLevel",
        "add_prefix_space": add_prefix_space,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


def split_step(pattern: str) -> dict[str, Any]:
    """Describe the step that cuts a text into what `pattern` matches and what lies between."""
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }


def in_sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    """Describe a pre-tokenizer of one step, or of several."""
    return steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": [*steps]}


def export_ranks(ranks: dict[str, int], pattern: str, tokenizer: Tokenizer) -> dict[str, bytes]:
    """Make tokenizer.json and tokenizer_config.json for a list of ranks.

    tiktoken joins any two neighbours whose bytes together have a rank, so every way to cut a piece
    in two is a merge, in the order of the ranks of what they make; a word that has a rank stays
    whole.
    """
    merges = [
        [piece[:cut], piece[cut:]]
        for piece in sorted(ranks, key=ranks.__getitem__)
        for cut in range(1, len(piece))
        if piece[:cut] in ranks and piece[cut:] in ranks
    ]
    vocab = ranks | tokenizer.special_tokens  # or other readers would number these on without holes
    return json_files(
        tokenizer,
        normalizer=None,
        post_processor=post_processor(tokenizer, pair="<A><B>"),
        **byte_level_parts(vocab, merges, pattern, ignore_merges=True, add_prefix_space=False),
    )
