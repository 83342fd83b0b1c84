"""Make a tokenizer of byte-level BPE out of texts.

The ids are, in this order: the special tokens, the 256 bytes in the order of their characters (see
`byte_level`), and what the merges make. tokenizers' BpeTrainer orders them alike.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tinyllm.errors import UsageError
from tinyllm.shown import shown
from tinyllm.tokenizers.added_tokens import MAX_IDS, AddedToken
from tinyllm.tokenizers.bpe_training import learn_merges
from tinyllm.tokenizers.byte_level import (
    ALPHABET,
    pieces_of_text,
    shown_as,
    spell,
    word_bytes,
    word_encoder,
)
from tinyllm.tokenizers.byte_level_export import (
    byte_level_parts,
    byte_level_step,
    in_sequence,
    split_step,
)
from tinyllm.tokenizers.byte_level_pretokenizers import read_byte_level_pretokenizer
from tinyllm.tokenizers.huggingface import build_tokenizer
from tinyllm.tokenizers.huggingface_model import HuggingFaceModel
from tinyllm.tokenizers.json_export import json_files, post_processor
from tinyllm.tokenizers.literals import Literals
from tinyllm.tokenizers.settings import Settings
from tinyllm.tokenizers.tokenizer import Pretokenize, Tokenizer
from tinyllm.tokenizers.unicode import require_unicode
from tinyllm.tokenizers.word_patterns import BLOOM, FALCON, GPT2, LLAMA3, QWEN2

_BYTES = byte_level_step(use_regex=False)
PRE_TOKENIZERS: dict[str, dict[str, Any]] = {
    "gpt2": byte_level_step(),
    "llama3": in_sequence(split_step(LLAMA3), _BYTES),
    "qwen2": in_sequence(split_step(QWEN2), _BYTES),
    "bloom": in_sequence(split_step(BLOOM), _BYTES),
    "smollm": in_sequence({"type": "Digits", "individual_digits": True}, byte_level_step()),
    "falcon": in_sequence(
        {"type": "Punctuation", "behavior": "Contiguous"},
        byte_level_step(),
        {"type": "Digits", "individual_digits": False},
        split_step(FALCON),
    ),
}
END_OF_TEXT = "<|endoftext|>"
_HERE = Path("tokenizer.json")  # what the parts call themselves, in messages that none should see
_REPORT_EVERY = 100  # merges


def train_byte_level_bpe(
    texts: Iterable[str],
    vocab_size: int,
    *,
    special_tokens: Sequence[str] = (END_OF_TEXT,),
    bos: str | None = END_OF_TEXT,
    eos: str | None = END_OF_TEXT,
    pre_tokenizer: str = "gpt2",
    report: Callable[[str], None] = lambda line: None,
) -> Tokenizer:
    """Learn a vocabulary of `vocab_size` tokens: `special_tokens`, 256 bytes, and merges.

    A special token in a text parts what is on its two sides, and is not learnt from; so does the
    border of two texts. `bos` and `eos` are special tokens, or None; a prompt begins with `bos`.
    `pre_tokenizer`, a key of PRE_TOKENIZERS, says which words the texts are cut into. The same
    words in any order give the same tokenizer. Memory is that of the distinct words. `report` hears
    how far it is. `learn_merges` says which pair is first.

    Raises UsageError where `vocab_size` is less than special tokens and bytes or more than the
    texts give, where there is no text, or where the special tokens cannot be what they are to be;
    TokenizerError for half of a surrogate pair in a text.
    """
    _check_arguments(vocab_size, special_tokens, (bos, eos), pre_tokenizer)
    pretokenize = read_byte_level_pretokenizer(_HERE, PRE_TOKENIZERS[pre_tokenizer])
    words = count_words(texts, special_tokens, pretokenize, report)
    if not words:
        raise UsageError("there is no text to train on")
    vocab, merges = _learn(words, vocab_size, special_tokens, report)
    return _tokenizer(vocab, merges, special_tokens, {"bos": bos, "eos": eos}, pre_tokenizer)


def count_words(
    texts: Iterable[str],
    special_tokens: Sequence[str],
    pretokenize: Pretokenize,
    report: Callable[[str], None] = lambda line: None,
) -> Counter[bytes]:
    """Count the words between special tokens. Raises TokenizerError for what is no Unicode."""
    literals = Literals({token: i for i, token in enumerate(special_tokens)})
    words: Counter[str] = Counter()
    characters = 0
    for text in texts:
        require_unicode(text)
        for part in literals.split(text):
            if isinstance(part, str):
                words.update(pretokenize(part, True))
        characters += len(text)
        report(f"read {characters:,} characters, {len(words):,} distinct words")
    return Counter({word_bytes(word): count for word, count in words.items()})


def _learn(
    words: Counter[bytes],
    vocab_size: int,
    special_tokens: Sequence[str],
    report: Callable[[str], None],
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return ids by piece, and merges; no two make one piece (see `merge_order`)."""
    vocab = {piece: i for i, piece in enumerate([*special_tokens, *sorted(ALPHABET.values())])}
    merges = []
    pairs = learn_merges(words)
    while len(vocab) < vocab_size:
        pair = next(pairs, None)
        if pair is None:
            raise UsageError(
                f"vocab_size is {vocab_size}, but the text gives no more than {len(vocab)} tokens,"
                " then each of its words is one; take that, or more text"
            )
        left, right = map(spell, pair)
        if left + right in special_tokens:
            raise UsageError(
                f"the special token {left + right!r} is what training makes of text, too; give it a"
                " name that no text has, like <|endoftext|>"
            )
        vocab[left + right] = len(vocab)
        merges.append((left, right))
        if len(merges) % _REPORT_EVERY == 0:
            report(f"{len(vocab)} of {vocab_size} tokens, now {left + right!r}")
    return vocab, merges


def _tokenizer(
    vocab: dict[str, int],
    merges: list[tuple[str, str]],
    special_tokens: Sequence[str],
    roles: dict[str, str | None],
    pre_tokenizer: str,
) -> Tokenizer:
    """Put together what `load_tokenizer` would read of the files that it saves."""
    parts = byte_level_parts(vocab, merges, GPT2, ignore_merges=False, add_prefix_space=False)
    parts |= {"pre_tokenizer": PRE_TOKENIZERS[pre_tokenizer]}
    piece_bytes = shown_as(vocab)
    pairs = {pair: rank for rank, pair in enumerate(merges)}
    return build_tokenizer(
        _HERE,
        HuggingFaceModel(
            ids=vocab,
            unknown=None,
            piece_bytes=piece_bytes,
            first_bytes=piece_bytes,
            pretokenize=read_byte_level_pretokenizer(_HERE, parts["pre_tokenizer"]),
            encoder=lambda added: word_encoder(
                pieces_of_text(_HERE, vocab, added), pairs, whole_words=False
            ),
        ),
        added=[
            AddedToken(content=token, id=vocab[token], special=True, normalized=False)
            for token in special_tokens
        ],
        frame=(roles["bos"], None),
        normalize=lambda text: text,
        settings=Settings(roles=roles),
        sources={},
        export=lambda tokenizer: json_files(
            tokenizer,
            normalizer=None,
            post_processor=post_processor(tokenizer, pair="<A><B>"),
            **parts,
        ),
    )


def _check_arguments(
    vocab_size: int,
    special_tokens: Sequence[str],
    roles: Sequence[str | None],
    pre_tokenizer: str,
) -> None:
    """Refuse what could only fail later, or give a tokenizer that other programs read otherwise."""
    if pre_tokenizer not in PRE_TOKENIZERS:
        raise UsageError(
            f"no pre-tokenizer is called {shown(pre_tokenizer)}; there are"
            f" {', '.join(PRE_TOKENIZERS)}"
        )
    for i, token in enumerate(special_tokens):
        if not token.strip() or token in ALPHABET.values() or token in special_tokens[:i]:
            raise UsageError(
                f"the special token {shown(token)} is empty, stands for a byte, or is there twice;"
                " give each a name that no text has, like <|endoftext|>"
            )
        if any(map(str.isspace, token)):
            raise UsageError(f"the special token {shown(token)} has white space in it")
    for role in roles:
        if role is not None and role not in special_tokens:
            raise UsageError(f"BOS or EOS is {shown(role)}, which is none of the special tokens")
    least = len(special_tokens) + len(ALPHABET)
    if not least <= vocab_size <= MAX_IDS:
        raise UsageError(
            f"vocab_size is {vocab_size}, expected {least} to {MAX_IDS}: 256 bytes and"
            f" {len(special_tokens)} special tokens come first"
        )
