"""Tokenizers made out of texts: laws, other libraries' readers and trainer, bad arguments."""

import json
from collections import Counter
from importlib import import_module
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_byte_level import PARTS
from tinyllm.errors import TokenizerError, UsageError
from tinyllm.tokenizers import load_tokenizer, train_byte_level_bpe
from tinyllm.tokenizers.byte_level import ALPHABET
from tinyllm.tokenizers.byte_level_training import END_OF_TEXT, PRE_TOKENIZERS, count_words

TEXT = "the cat, the hat and the 1234 bats; that they'll see<|endoftext|>the  end\n\n世界 世界 é😀"
texts = st.lists(st.sampled_from(PARTS), max_size=25).map("".join) | st.text(max_size=10)


def merges_of(tokenizer):
    model = json.loads(tokenizer.export(tokenizer)["tokenizer.json"])["model"]
    return [tuple(pair) for pair in model["merges"]]


@pytest.fixture(scope="module", params=PRE_TOKENIZERS)
def trained(request):
    return train_byte_level_bpe(
        [TEXT], 280, special_tokens=["<s>", "</s>", END_OF_TEXT], bos="<s>", eos="</s>",
        pre_tokenizer=request.param,
    )  # fmt: skip


def test_special_tokens_come_first_then_bytes_then_merges():
    tokenizer = train_byte_level_bpe([TEXT], 260)
    assert tokenizer.vocab_size == len(tokenizer.table) == 260
    assert tokenizer.special_tokens == {END_OF_TEXT: 0}
    assert tokenizer.bos_id == tokenizer.eos_id == 0
    assert tokenizer.add_bos
    assert not tokenizer.add_eos
    singles = [tokenizer.token_bytes(id_) for id_ in range(1, 257)]
    assert sorted(singles) == [bytes([byte]) for byte in range(256)]
    assert [tokenizer.token_bytes(id_) for id_ in (1, 2, 94, 256)] == [b"!", b'"', b"~", b"\xad"]
    assert [tokenizer.token_bytes(id_) for id_ in (257, 258, 259)] == [b"th", b"the", b"at"]
    assert tokenizer.encode("the hat") == [258, 188 + 1 + 32, 72, 259]


def test_no_merge_is_as_good_as_any():
    tokenizer = train_byte_level_bpe(["ab"], 256, special_tokens=[], bos=None, eos=None)
    assert tokenizer.bos_id is tokenizer.eos_id is None
    assert not tokenizer.add_bos
    assert tokenizer.decode(tokenizer.encode("ab")) == "ab"


@given(texts)
def test_decoding_undoes_encoding_and_no_special_token_comes_out_of_text(trained, text):
    ids = trained.encode(text)
    assert trained.decode(ids) == text
    assert not {0, 1, 2} & set(ids)
    assert all(id_ < 280 for id_ in ids)


@given(st.lists(texts, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_texts_does_not_matter(some, rng):
    other = [*some, TEXT]
    rng.shuffle(other)
    here, there = (train_byte_level_bpe(given, 270) for given in ([*some, TEXT], other))
    assert here.export(here) == there.export(there)


def test_texts_and_special_tokens_part_words():
    def words(*texts):
        return count_words(texts, ["<|x|>"], lambda text, at_start: text.split("-"))

    assert words("ab-cd", "ab<|x|>cd-<|x|>") == Counter({b"ab": 2, b"cd": 2, b"": 1})
    assert words() == words("<|x|>") == Counter()
    with_it, without = (train_byte_level_bpe([text], 275) for text in (TEXT, TEXT.split("<|")[0]))
    assert merges_of(with_it) != merges_of(without)
    assert not any("|" in left + right for left, right in merges_of(with_it))


def test_saved_and_loaded_it_is_the_same(trained, tmp_path):
    trained.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"tokenizer.json", "tokenizer_config.json"}
    loaded = load_tokenizer(tmp_path)
    for role in ("bos_id", "eos_id", "unk_id", "pad_id", "add_bos", "add_eos", "table"):
        assert getattr(loaded, role) == getattr(trained, role)
    text = "".join(PARTS) + TEXT
    assert loaded.encode(text) == trained.encode(text)
    assert loaded.encode(text, bos=True, eos=True, allow_special=True) == trained.encode(
        text, bos=True, eos=True, allow_special=True
    )
    assert loaded.special_tokens == trained.special_tokens == {"<s>": 0, "</s>": 1, END_OF_TEXT: 2}


def test_tokenizers_reads_it_and_makes_the_same_ids(trained, tmp_path):
    pytest.importorskip("tokenizers.models")  # a folder of tests has the name of the library
    tokenizers = import_module("tokenizers")
    trained.save(tmp_path)
    other = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert other.get_vocab_size() == 280
    for text in ("".join(PARTS), TEXT, *PARTS):
        text = text.replace("<|end", "<end").replace("<|user", "<user")
        with_special = trained.encode(text, bos=True, allow_special=True)
        assert other.encode(text).ids == with_special
        assert other.decode(with_special) == trained.decode(with_special)


@pytest.mark.parity
def test_transformers_reads_it_and_makes_the_same_ids(trained, tmp_path):
    transformers = pytest.importorskip("transformers")
    trained.save(tmp_path)
    other = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert (other.bos_token, other.eos_token, len(other)) == ("<s>", "</s>", 280)
    assert other.encode(TEXT) == trained.encode(TEXT, bos=True, allow_special=True)


def first_tie(words, merges):
    """Apply merges by definition; -> how many were taken before two pairs were equally frequent."""
    split = {word: [*word] for word in words}
    for i, best in enumerate(merges):
        counts = Counter()
        for word, symbols in split.items():
            for pair in pairwise(symbols):
                counts[pair] += words[word]
        if len(counts) > 1 and len({n for _, n in counts.most_common(2)}) == 1:
            return i
        for word, symbols in split.items():
            joined = []
            for symbol in symbols:
                if joined and (joined[-1], symbol) == best:
                    joined[-1] += symbol
                else:
                    joined.append(symbol)
            split[word] = joined
    return len(merges)


@settings(max_examples=15)
@given(
    st.dictionaries(
        st.text("abcdefgé", min_size=2, max_size=9), st.integers(1, 400), min_size=4, max_size=9
    )
)
def test_tokenizers_trainer_merges_the_same_until_pairs_are_equally_frequent(words):
    """Then it takes the pair of the lowest ids, and tinyllm that of the greatest bytes."""
    pytest.importorskip("tokenizers.models")  # a folder of tests has the name of the library
    tokenizers = import_module("tokenizers")
    texts = [" ".join([word] * n) for word, n in words.items()]
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=270, special_tokens=[END_OF_TEXT], show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    theirs.train_from_iterator(texts, trainer)
    model = json.loads(theirs.to_str())["model"]
    expected = [tuple(pair) for pair in model["merges"]]
    counts = count_words(texts, [], train_byte_level_bpe(["a"], 257).pretokenize)
    spelled = {word.decode("latin-1").translate(ALPHABET): n for word, n in counts.items()}
    same = first_tie(spelled, expected)
    tokenizer = train_byte_level_bpe(texts, 257 + len(expected))
    assert merges_of(tokenizer)[:same] == expected[:same]
    if same == len(expected):
        own = json.loads(tokenizer.export(tokenizer)["tokenizer.json"])["model"]["vocab"]
        assert own == model["vocab"]


def test_it_says_how_far_it_is():
    lines = []
    train_byte_level_bpe([TEXT, " ".join(map(str, range(900)))], 257 + 200, report=lines.append)
    assert lines[0] == f"read {len(TEXT):,} characters, 20 distinct words"
    assert [line.split(",")[0] for line in lines[2:]] == [
        "357 of 457 tokens",
        "457 of 457 tokens",
    ]


BAD = {
    "no text": ([], {}, "there is no text to train on"),
    "empty texts": (["", ""], {}, "there is no text to train on"),
    "nothing but special tokens": ([END_OF_TEXT], {}, "there is no text to train on"),
    "a vocabulary below the bytes": (
        [TEXT], {"vocab_size": 256}, "vocab_size is 256, expected 257 to 4194304: 256 bytes and 1",
    ),
    "a negative vocabulary": ([TEXT], {"vocab_size": -1}, "expected 257"),
    "a vocabulary without end": ([TEXT], {"vocab_size": 2**40}, "expected 257"),
    "more tokens than the text has": (
        ["ab ab"], {"vocab_size": 260},
        "vocab_size is 260, but the text gives no more than 259 tokens",
    ),
    "an unknown pre-tokenizer": (
        [TEXT], {"pre_tokenizer": "gpt5"}, "called 'gpt5'; there are gpt2, llama3, qwen2",
    ),
    "an empty special token": ([TEXT], {"special_tokens": [""]}, "special token '' is empty"),
    "a special token of white space": ([TEXT], {"special_tokens": ["\u3000"]}, "is empty"),
    "a special token with a space": ([TEXT], {"special_tokens": ["a b"]}, "white space in it"),
    "a special token that is a byte": ([TEXT], {"special_tokens": ["Ġ"]}, "stands for a byte"),
    "a special token twice": ([TEXT], {"special_tokens": ["<a>", "<a>"]}, "is there twice"),
    "a special token that is a piece": (
        [TEXT], {"special_tokens": ["Ġthe"], "vocab_size": 270}, "'Ġthe' is what training makes",
    ),
    "BOS that is no special token": ([TEXT], {"bos": "<s>"}, "BOS or EOS is '<s>'"),
    "EOS that is no special token": ([TEXT], {"eos": "</s>"}, "BOS or EOS is '</s>'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_refused(case):
    given, options, says = BAD[case]
    if "special_tokens" in options:
        options = {"bos": None, "eos": None} | options
    with pytest.raises(UsageError) as caught:
        train_byte_level_bpe(given, **{"vocab_size": 257} | options)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_half_a_character_is_refused():
    for half in ("\ud800", "\udc80"):
        with pytest.raises(TokenizerError, match="lone surrogate"):
            train_byte_level_bpe(["ab", "a" + half], 257)
