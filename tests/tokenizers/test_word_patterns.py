"""Each family cuts a text as the tokenizers library and tiktoken do."""

import random
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_byte_level import ADDED, END, FAMILIES, PARTS, USER, byte_level_dict
from tiny_vocabulary import write_json
from tinyllm.tokenizers import load_tokenizer, word_patterns
from tinyllm.tokenizers.word_patterns import (
    BLOOM,
    DIGITS,
    EACH_DIGIT,
    FALCON,
    GPT2,
    LLAMA3,
    PUNCTUATION,
    QWEN2,
    split_by,
)

WORDS = {
    GPT2: [
        "I|'ll| go| x|2|  | é|!!| 12345| \n|\n|I|'|S",
        "a|  | b|\t\t\u3000",
        "a|\x1c|b| \x1c\u0301😀",
    ],
    LLAMA3: ["I|'LL| go|!!\n\n|123|45|  | x|\n \n| |\ty|  ", "'ſ|'x| …\r\n|\u0301a"],
    QWEN2: ["1|2|3| |4|a", "it|'s| 　\n"],
    BLOOM: [" a1!b".replace("!", "|!|"), " a|(| b|, )| x-y|  | z|。|c"],
    FALCON: ["123|456|78a ", "²|123|b12"],
    EACH_DIGIT: ["a|1|2|²|b|½|\U0001d7ce|c"],
    DIGITS: ["a|12²|b|½\U0001d7ce|c"],
    PUNCTUATION: [
        "a|!$^|b|…|é|\U00011049|x|\u166e",
        "x|\u166d",
        "€\u2e52|!",
    ],
}


NAMES = ["gpt2", "llama3", "qwen2", "bloom", "falcon", "each digit", "digits", "punctuation"]


@pytest.mark.parametrize("pattern", WORDS, ids=NAMES)
def test_a_text_is_cut_at_the_bars(pattern):
    for words in WORDS[pattern]:
        assert split_by(pattern)(words.replace("|", "")) == words.split("|")


@given(st.sampled_from([*WORDS]), st.lists(st.sampled_from(PARTS), max_size=20).map("".join))
def test_words_are_the_text_again_and_a_far_character_changes_none_of_the_others(pattern, text):
    words = split_by(pattern)(text)
    assert "".join(words) == text
    assert all(words)
    behind = split_by(pattern)(text + "\n😀")  # then the first plane's patterns have stand-ins
    assert "".join(behind) == text + "\n😀"
    if not text.isascii():
        basic = word_patterns._compiled(pattern, 0x10000)
        stood_in = word_patterns._BEYOND.sub(word_patterns._stand_in, text)
        assert [len(word) for word in words] == [len(w) for w in basic.split(stood_in) if w]


@pytest.mark.parametrize("name", FAMILIES)
def test_ids_are_those_of_the_tokenizers_library(tmp_path, name):
    library = pytest.importorskip("tokenizers.models") and import_module("tokenizers")
    normalizer = {"type": "NFC"} if name == "qwen2" else None
    parts = {"pre_tokenizer": FAMILIES[name], "normalizer": normalizer, "added_tokens": ADDED}
    path = write_json(tmp_path / "tokenizer.json", byte_level_dict(**parts))
    tokenizer, theirs = load_tokenizer(path), library.Tokenizer.from_file(str(path))
    choices = random.Random(0)
    for _ in range(500):
        text = "".join(choices.choices(PARTS, k=choices.randrange(25)))
        ids = tokenizer.encode(text, allow_special=True)
        assert ids == theirs.encode(text).ids, text
        assert tokenizer.decode(ids) == theirs.decode(ids), text
        assert not {END, USER} & set(tokenizer.encode(text))


@pytest.mark.parametrize("pattern", [GPT2, LLAMA3, QWEN2], ids=NAMES[:3])
def test_words_are_those_of_tiktoken(pattern):
    """It has its own engine of regular expressions; where words end shows in how bytes pair up."""
    tiktoken = pytest.importorskip("tiktoken")
    pairs = [bytes([first, second]) for first in range(256) for second in range(256)]
    ranks = {token: i for i, token in enumerate([*(pair[:1] for pair in pairs[::256]), *pairs])}
    theirs, of_word = (
        tiktoken.Encoding("x", pat_str=pat_str, mergeable_ranks=ranks, special_tokens={})
        for pat_str in (pattern, r"[\s\S]+")
    )
    choices = random.Random(0)
    for _ in range(500):
        text = "".join(choices.choices(PARTS, k=choices.randrange(25)))
        ids = [id_ for word in split_by(pattern)(text) for id_ in of_word.encode_ordinary(word)]
        assert theirs.encode_ordinary(text) == ids, text
