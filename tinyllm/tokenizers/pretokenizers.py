"""tokenizer.json's pre-tokenizers: cut a text into the words that the model then splits."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tinyllm.errors import TokenizerError
from tinyllm.tokenizers.bert import bert_words
from tinyllm.tokenizers.metaspace import metaspace_pretokenizer, read_metaspace
from tinyllm.tokenizers.tokenizer import Pretokenize
from tinyllm.tokenizers.unicode import WHITE_SPACE

_BETWEEN_SPACES = re.compile(f"[^{WHITE_SPACE}]+")


def read_pretokenizer(path: Path, spec: dict[str, Any] | None) -> Pretokenize:
    """Return the function that a `pre_tokenizer` entry describes; None: the text is one word.

    Raises TokenizerError that names what is unknown.
    """
    match spec:
        case None:
            return lambda text, at_start: (text,)
        case {"type": "Metaspace"}:
            return metaspace_pretokenizer(read_metaspace(path, spec))
        case {"type": "BertPreTokenizer"}:
            return bert_words
        case {"type": "WhitespaceSplit"}:
            return lambda text, at_start: _BETWEEN_SPACES.findall(text)
        case {"type": "Sequence", "pretokenizers": [*specs]}:
            return _in_sequence([read_pretokenizer(path, inner) for inner in specs])
    raise TokenizerError(f"{path}: the pre_tokenizer {str(spec)[:120]} is not supported")


def _in_sequence(steps: list[Pretokenize]) -> Pretokenize:
    """Cut with one step what the step before it left whole."""

    def pretokenize(text: str, at_start: bool) -> Iterable[str]:
        words = [text]
        for step in steps:
            cut: list[str] = []
            for i, word in enumerate(words):
                cut.extend(step(word, at_start and i == 0))
            # Behind white space that was dropped no word is at the start.
            at_start = at_start and bool(cut) and words[0].startswith(cut[0])
            words = cut
        return words

    return pretokenize
