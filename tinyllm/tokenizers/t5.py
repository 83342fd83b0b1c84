"""What T5's folders say beside their SentencePiece file: the sentinels that stand for gaps.

Facts: transformers, models/t5/tokenization_t5.py. <extra_id_0> is the last of all ids.
"""

from pathlib import Path

from tinyllm.errors import TokenizerError
from tinyllm.shown import shown
from tinyllm.tokenizers.added_tokens import AddedToken
from tinyllm.tokenizers.settings import Settings

_MOST = 10_000
# Their classes add an offset to the ids of the file, each another one.
_RENUMBERING = (
    *("Barthez", "BigBirdPegasus", "Camembert", "MBart", "MBart50", "NLLB", "Nllb"),
    *("Pegasus", "PLBart", "XGLM", "XLMRoberta"),
)


def extra_ids(path: Path, n_pieces: int, settings: Settings) -> list[AddedToken]:
    """Return the sentinels that are not among the `n_pieces` of the file at `path`.

    Raises TokenizerError where `settings` wants ids that are not the file's own.
    """
    name = (
        str(settings.entries.get("tokenizer_class")).removesuffix("Fast").removesuffix("Tokenizer")
    )
    if name in _RENUMBERING:
        raise TokenizerError(
            f"{path}: {name}Tokenizer numbers the pieces of this file otherwise; only its"
            " tokenizer.json is read"
        )
    if any(token.content == "<extra_id_0>" for token in settings.added):
        return []
    n = settings.entries.get("extra_ids", 100 if name == "T5" else 0)
    if type(n) is not int or not 0 <= n <= _MOST:
        raise TokenizerError(
            f"{path}: extra_ids is {shown(n)}; expected an integer from 0 to {_MOST}"
        )
    return [
        AddedToken(
            content=f"<extra_id_{n - 1 - i}>", id=n_pieces + i, special=True, normalized=False
        )
        for i in range(n)
    ]
