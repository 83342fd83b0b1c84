"""tokenizer.json's BPE models: the vocabulary, and the merges in the order in which pairs join.

The pair that joins first is the one that stands first in `merges`; of equal pairs the leftmost.
Facts: huggingface/tokenizers, src/models/bpe.
"""

from pathlib import Path
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.huggingface_model import check_keys

# `fuse_unk` is free: where every character can be written in bytes, none is unknown.
READ = {"vocab", "merges", "byte_fallback", "unk_token", "fuse_unk"}
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "dropout": (None, 0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "ignore_merges": (None, False),
}


def check_bpe(path: Path, model: dict[str, Any], read: set[str] = READ) -> None:
    """Refuse by name what changes how pieces join. Raises TokenizerError."""
    check_keys(path, model, read, _NEUTRAL)


def read_merges(path: Path, merges: Any, vocab: dict[str, int]) -> dict[tuple[str, str], int]:
    """Number the pairs, written as "a b" or as ["a", "b"], in their order.

    Raises TokenizerError for what is no pair of pieces, and for a pair that is there twice.
    """
    if not isinstance(merges, list):
        raise TokenizerError(f"{path}: the model's 'merges' is no list")
    ranks: dict[tuple[str, str], int] = {}
    for i, entry in enumerate(merges):
        pair = entry.split(" ") if isinstance(entry, str) else entry
        match pair:
            case [str(left), str(right)]:
                pass
            case _:
                raise TokenizerError(
                    f"{path}: merge {i} is {str(entry)[:80]!r}; expected two pieces"
                )
        if not (left in vocab and right in vocab and left + right in vocab):
            unknown = next(p for p in (left, right, left + right) if p not in vocab)
            raise TokenizerError(
                f"{path}: merge {i} needs the piece {unknown!r}, which is not in the vocabulary"
            )
        if ranks.setdefault((left, right), i) != i:
            raise TokenizerError(f"{path}: merges {ranks[left, right]} and {i} are the same")
    return ranks
