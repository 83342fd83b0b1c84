"""A tokenizer: the steps between a text and its ids, whatever kind of model splits the words.

encode: literals -> normalize -> pretokenize -> encode_word
decode: the bytes of each id, as UTF-8
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tinyllm.checkpoints.atomic import atomic_write
from tinyllm.errors import CheckpointError, TokenizerError, UsageError
from tinyllm.tokenizers.literals import Literals
from tinyllm.tokenizers.stream import DecoderStream
from tinyllm.tokenizers.unicode import require_unicode

Normalize: TypeAlias = Callable[[str], str]
Pretokenize: TypeAlias = Callable[[str, bool], Iterable[str]]  # (text, is it the start?) -> words
EncodeWord: TypeAlias = Callable[[str], list[int]]

_READ_FROM_A_FOLDER = {
    *("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.txt", "source.spm", "vocab.json"),
    "tokenizer_config.json",
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class Tokenizer:
    """The vocabulary of one model, and how text becomes its ids.

    Special tokens (BOS, EOS, a chat's markers) are not text: `encode` makes them out of the text
    only with `allow_special`, and `decode` does not show them.

    Encoding is not a homomorphism: encode(a) + encode(b) may differ from encode(a + b), because
    pieces join across the seam.
    """

    normalize: Normalize
    pretokenize: Pretokenize
    encode_word: EncodeWord
    table: dict[int, bytes]  # what each id stands for in a text; nothing for special tokens
    special_tokens: dict[str, int]
    literals: Literals  # added tokens that are text, found before and after normalization
    normalized_literals: Literals
    special_literals: Literals  # `literals` and the special tokens
    bos_id: int | None
    eos_id: int | None
    unk_id: int | None
    pad_id: int | None
    add_bos: bool  # whether a prompt begins with BOS by default
    add_eos: bool  # and whether a text for an encoder ends with EOS (BERT, RoBERTa, T5)
    first_table: dict[int, bytes]  # what ids stand for with no text before them, where they differ
    sources: dict[str, bytes]  # the files that the tokenizer came from: name -> content
    export: "Callable[[Tokenizer], dict[str, bytes]]"  # files to save beside them, for others

    @property
    def vocab_size(self) -> int:
        """The largest id + 1."""
        return max(self.table) + 1

    def encode(
        self, text: str, bos: bool = False, eos: bool = False, allow_special: bool = False
    ) -> list[int]:
        """Split `text` into token ids.

        Raises TokenizerError for half of a surrogate pair, which is no character, and where BOS or
        EOS is wanted of a vocabulary that has none.
        """
        if not isinstance(text, str):
            raise UsageError(f"the text is of type {type(text).__name__}, expected str")
        require_unicode(text)
        ids = [self._wanted("BOS", self.bos_id)] if bos else []
        literals = self.special_literals if allow_special else self.literals
        for i, part in enumerate(literals.split(text)):
            if isinstance(part, int):
                ids.append(part)
            else:
                ids.extend(self._encode_part(part, at_start=i == 0))
        return [*ids, self._wanted("EOS", self.eos_id)] if eos else ids

    def _encode_part(self, text: str, at_start: bool) -> list[int]:
        """Encode the text between literals; each part is normalized on its own."""
        ids = []
        for i, part in enumerate(self.normalized_literals.split(self.normalize(text))):
            if isinstance(part, int):
                ids.append(part)
            else:
                for word in self.pretokenize(part, at_start and i == 0):
                    ids.extend(self.encode_word(word))
        return ids

    def _wanted(self, name: str, token: int | None) -> int:
        if token is None:
            raise TokenizerError(f"this vocabulary has no {name} token")
        return token

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of text that an id stands for; a special token stands for none.

        Raises TokenizerError for an id without a meaning.
        """
        content = self.table.get(token)
        if content is None:
            raise TokenizerError(
                f"token id {token!r} is not in the vocabulary of {len(self.table)} tokens, whose"
                f" largest id is {self.vocab_size - 1}"
            )
        return content

    def stream(self, at_start: bool = True) -> DecoderStream:
        """Decode ids one at a time; `at_start=False` where they continue a text."""
        return DecoderStream(self.token_bytes, self.first_table if at_start else {})

    def decode(self, ids: Iterable[int]) -> str:
        """Join the text of all ids, as the start of a text. Raises as `token_bytes` does."""
        stream = self.stream()
        return "".join([stream.push(token) for token in ids]) + stream.flush()

    def save(self, folder: Path | str) -> None:
        """Write the files that the tokenizer came from, and a tokenizer.json if one can say it all.

        `load_tokenizer(folder)` gives this tokenizer again. Raises TokenizerError as `files_for`
        does, and where the folder cannot be written.
        """
        files = self.files_for(folder)
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                with atomic_write(Path(folder) / name) as file:
                    file.write(content)
        except (OSError, CheckpointError) as cause:
            raise TokenizerError(f"{folder}: the tokenizer cannot be saved: {cause}") from cause

    def files_for(self, folder: Path | str) -> dict[str, bytes]:
        """Return what `save` would write into a folder: name -> content.

        Raises TokenizerError where another tokenizer's file there would stay and be read instead.
        """
        files = {**self.export(self), **self.sources}
        for name in sorted(_READ_FROM_A_FOLDER - files.keys()):
            if (Path(folder) / name).exists():
                raise TokenizerError(f"{folder}: has another tokenizer's {name}; remove it first")
        return files


def check_rows(tokenizer: Tokenizer, rows: int) -> None:
    """Raise CheckpointError where a tokenizer has more ids than an embedding has rows."""
    if tokenizer.vocab_size > rows:
        raise CheckpointError(
            f"the tokenizer has ids up to {tokenizer.vocab_size - 1}, but config and embedding "
            f"have {rows} rows: the two are not of one model"
        )
