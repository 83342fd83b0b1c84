"""A small vocabulary of byte-level BPE made here, so that tests need no files."""

from tiny_vocabulary import added_token
from tinyllm.tokenizers.byte_level import ALPHABET
from tinyllm.tokenizers.word_patterns import BLOOM, FALCON, LLAMA3, QWEN2

MERGES = [
    "Ġ t", "h e", "Ġt he", "i n", "Ġ a", "a a", "aa aa", "Ġ Ġ", "ĠĠ ĠĠ", "Ċ Ċ", "1 2", "12 3",
    "' s", "l l", "' ll", "! !", "Ã ©", "Ã© Ã©", "ä ¸", "ä¸ ĸ", "ð Ł", "ðŁ ĺ", "Ġ 1", "Ġa a", "Ì ģ",
    ". .", "b c", "a bc", ", .", "Å ¿", "' Å¿", "( (", "s t", "Ġ (",
]  # fmt: skip
PIECES = [*ALPHABET.values(), *(pair.replace(" ", "") for pair in MERGES)]
VOCAB = {piece: i for i, piece in enumerate(PIECES)}
END, USER = len(PIECES), len(PIECES) + 1  # the ids of two special tokens
ADDED = [added_token("<|end|>", END), added_token("<|user|>", USER)]


def byte_level(use_regex=True, add_prefix_space=False):
    return {
        "type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": True,
        "use_regex": use_regex,
    }  # fmt: skip


def split(regex):
    return {
        "type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False,
    }  # fmt: skip


def digits(each):
    return {"type": "Digits", "individual_digits": each}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


FAMILIES = {
    "gpt2": byte_level(),
    "gpt2 with a space in front": byte_level(add_prefix_space=True),
    "llama3": sequence(split(LLAMA3), byte_level(use_regex=False)),
    "qwen2": sequence(split(QWEN2), byte_level(use_regex=False)),
    "smollm": sequence(digits(True), byte_level()),
    "digits": sequence(digits(False), byte_level()),
    "bloom": sequence(split(BLOOM), byte_level(use_regex=False)),
    "falcon": sequence(
        {"type": "Punctuation", "behavior": "Contiguous"},
        byte_level(),
        digits(False),
        split(FALCON),
    ),
}
# For texts: pieces, what is none, and what the families cut in ways of their own.
PARTS = [
    *"theaibcns12.,!?()'$|\n\r\t é世ſ²½½٣\u0301\u00a0\u3000\u2028\x1c\x85",
    *"😀Ⓐ\u0600\U0001e942\U0001d7ce\U00011049贾",
    "the", " the", "123", "  ", "aaaa", "'ll", "'S", "<|end|>", "<|user|>", "abc", "\r\n", "...",
]  # fmt: skip


def byte_level_dict(model=None, **parts):
    """A tokenizer.json as GPT-2's repository has it; arguments replace its parts."""
    own = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
        "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "vocab": VOCAB,
        "merges": MERGES,
    }  # fmt: skip
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": ADDED,
        "normalizer": None, "pre_tokenizer": byte_level(), "post_processor": None,
        "decoder": byte_level(),
    } | parts | {"model": own | (model or {})}  # fmt: skip
