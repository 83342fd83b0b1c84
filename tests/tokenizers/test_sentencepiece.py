"""A SentencePiece vocabulary encodes and decodes as the sentencepiece library does."""

import itertools
import random
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import data
from tiny_vocabulary import (
    ALPHABET,
    CONTROL,
    NORMAL,
    PIECES,
    UNUSED,
    USER_DEFINED,
    id_of,
    sentencepiece_bytes,
)
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import load_tokenizer
from tinyllm.tokenizers.byte_fallback import word_encoder

texts = st.text(ALPHABET, max_size=30) | st.text(max_size=10)


def load(folder, content):
    (folder / "tokenizer.model").write_bytes(content)
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load(tmp_path_factory.mktemp("tiny"), sentencepiece_bytes())


def names(ids, pieces=PIECES):
    return [pieces[i][0] for i in ids]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("the", ["▁the"]),
        (" the", ["▁", "▁the"]),
        ("▁the", ["▁", "▁the"]),
        ("   a", ["▁▁▁▁", "a"]),
        ("aaaaaaa", ["▁", "aaaa", "aa", "a"]),
        ("abc", ["▁a", "bc"]),
        ("nabc", ["▁", "n", "ab", "<0x63>"]),
        ("t\u0301", ["▁t", "<0xCC>", "<0x81>"]),
        ("ééé", ["▁", "éé", "é"]),
        ("\0", ["▁", "<0x00>"]),
        ("<s>", ["▁", "<s", ">"]),
        ("<0x41>", ["▁", "<", *(f"<0x{byte:02X}>" for byte in b"0x41"), ">"]),
    ],
)
def test_pieces_are_those_worked_out_by_hand(tiny, text, pieces):
    assert names(tiny.encode(text)) == pieces


def test_of_equal_scores_the_leftmost_pair_joins(tmp_path):
    same = [(piece, -1.0, NORMAL) for piece in ("er", "rs")]
    pieces = [entry for entry in PIECES if entry[0] not in ("er", "rs")] + same
    tokenizer = load(tmp_path, sentencepiece_bytes(pieces))
    assert names(tokenizer.encode("ers"), pieces) == ["▁", "er", "s"]


def test_no_control_token_comes_out_of_text_unless_it_is_allowed(tiny):
    specials = {"<unk>": 0, "<s>": 1, "</s>": 2}
    assert tiny.special_tokens == specials
    assert tiny.encode("<s>a", allow_special=True) == [1, id_of("▁a")]
    assert tiny.encode("<s></s>", allow_special=True) == [1, 2]
    for literal in specials:
        assert not set(tiny.encode(f"a{literal}{literal} a")) & set(specials.values())


@given(texts)
def test_decoding_undoes_encoding(tiny, text):
    """Except for ▁, which is a space here."""
    ids = tiny.encode(text, bos=True, eos=True)
    assert (ids[0], ids[-1]) == (tiny.bos_id, tiny.eos_id) == (1, 2)
    assert tiny.decode(ids) == text.replace("▁", " ")
    assert not {0, 1, 2} & set(ids[1:-1])


def test_encoding_of_a_sum_is_not_the_sum_of_encodings(tiny):
    assert tiny.encode("aa") + tiny.encode("aa") != tiny.encode("aaaa")


VARIANTS = {
    "as Llama has it": ({}, {}),
    "no dummy prefix": ({}, {3: 0}),
    "extra spaces removed": ({}, {4: 1}),
    "both": ({}, {3: 0, 4: 1}),
    "spaces not escaped": ({}, {5: 0}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_spaces_are_treated_as_in_the_library(tmp_path, variant):
    compare(tmp_path, sentencepiece_bytes(PIECES, *VARIANTS[variant]))


def test_a_vocabulary_that_puts_no_space_in_front_takes_none_away(tmp_path):
    """Unless it removes extra ones, as the library has it."""
    for name, text in [("no dummy prefix", " the"), ("both", "the")]:
        content = sentencepiece_bytes(PIECES, *VARIANTS[name])
        assert load(tmp_path, content).decode([id_of("▁the")]) == text


def test_user_defined_pieces_stand_for_themselves_as_in_the_library(tmp_path):
    user = [(piece, 0.0, USER_DEFINED) for piece in ("<b>", "<b><b>", "ea", "世▁")]
    tokenizer = compare(tmp_path, sentencepiece_bytes(PIECES + user), "<b>")
    assert tokenizer.encode("a<b>a")[1] == len(PIECES)
    assert "<b>" not in tokenizer.special_tokens


def test_unused_pieces_come_apart_again_as_in_the_library(tmp_path):
    unused = {"▁the", "aaaa", "▁▁", "he", "b"}
    pieces = [(p, s, UNUSED if p in unused else kind) for p, s, kind in PIECES]
    tokenizer = compare(tmp_path, sentencepiece_bytes(pieces))
    assert names(tokenizer.encode("the")) == ["▁t", "h", "e"]


def test_unused_pieces_come_apart_as_worked_out_by_hand(tmp_path):
    pieces = [(p, s, UNUSED if p in ("▁the", "aaaa") else kind) for p, s, kind in PIECES]
    tokenizer = load(tmp_path, sentencepiece_bytes(pieces))
    assert names(tokenizer.encode("theaaaaa")) == ["▁t", "he", "aa", "aa", "a"]


def compare(folder, content, *literals):
    """Give a tokenizer that encodes random texts as the sentencepiece library does."""
    tokenizer = load(folder, content)
    library = pytest.importorskip("sentencepiece")
    processor = library.SentencePieceProcessor(model_proto=content)
    choices = random.Random(0)
    for _ in range(300):
        text = "".join(
            choices.choices([*ALPHABET, "  ", "the", *literals], k=choices.randrange(30))
        )
        assert tokenizer.encode(text) == processor.encode(text), text
    return tokenizer


def test_joining_word_by_word_is_joining_all_at_once():
    """The shortcut is for vocabularies in which no piece has a ▁ behind another character."""
    pieces = ["▁a", "▁▁", "ab", "▁ab", "ba", "▁▁▁"]
    ids = {piece: i for i, piece in enumerate([*pieces, "▁", "a", "b"])}
    ranks = {piece: i for i, piece in enumerate(pieces)}
    rank = lambda left, right: ranks.get(left + right)
    by_words = word_encoder(ids, list(range(100, 356)), rank)
    at_once = word_encoder(ids | {"a▁never": 99}, list(range(100, 356)), rank)
    assert by_words.__name__ != at_once.__name__
    for n in range(9):
        for text in map("".join, itertools.product("▁ab", repeat=n)):
            assert by_words(text) == at_once(text), text


MODELS = {
    "llama2": "tokenizers/llama2/tokenizer.model",
    "mistral-v3": "tokenizers/mistral/mistral_instruct_tokenizer_240323.model.v3",
    "stories260K": "models/stories260K/tokenizer.model",
}


@pytest.fixture(scope="module", params=MODELS)
def real(request):
    path = data(MODELS[request.param])
    library = pytest.importorskip("sentencepiece")
    processor = library.SentencePieceProcessor(model_file=str(path))
    tokenizer = load_tokenizer(path)
    assert tokenizer.vocab_size == processor.vocab_size()
    return tokenizer, processor


def assert_same(real, batch):
    tokenizer, processor = real
    for text, expected in zip(batch, processor.encode(batch), strict=True):
        ids = tokenizer.encode(text)
        assert ids == expected, text
        if not text.lstrip(" ").startswith("▁"):  # the library may drop more spaces than one
            assert tokenizer.decode(ids) == processor.decode(ids), text


@pytest.mark.untraced
def test_every_character_has_the_librarys_ids(real):
    """In lines of 200, each between a letter and a space; private and unassigned ones left out.

    Every fifth of them for the smallest vocabulary, which has the fewest; fewer for the others.
    """
    every = map(chr, range(0x110000))
    characters = [c for c in every if unicodedata.category(c) not in ("Cn", "Co", "Cs")]
    chosen = characters[:: 5 if real[0].vocab_size < 1000 else 25]
    seamed = [character + "a "[i % 2] for i, character in enumerate(chosen)]
    assert_same(real, ["".join(seamed[i : i + 200]) for i in range(0, len(seamed), 200)])


@pytest.mark.untraced
def test_random_texts_have_the_librarys_ids(real):
    _, processor = real
    choices = random.Random(1)
    pieces = [processor.id_to_piece(i) for i in range(processor.vocab_size())]
    sources = [pieces, ALPHABET, [" ", "  ", "a", "<s>", "[INST]", "[REFERENCE_DOC_1]", "<0x41>"]]
    lengths = [15, 30, 60]
    batch = [
        "".join(choices.choices(sources[i % 3], k=choices.randrange(lengths[i % 3])))
        for i in range(1500)
    ]
    assert_same(real, batch + [text.replace("▁", " ") for text in batch])


@pytest.fixture(scope="module")
def llama2():
    return load_tokenizer(data(MODELS["llama2"]))


def test_the_published_vectors_of_llama2_come_out(llama2):
    """46 texts of llama.cpp's tests, and the empty text."""
    stem = "tokenizers/vectors/ggml-vocab-llama-spm.gguf"
    content = data(f"{stem}.inp").read_bytes().decode()
    expected = data(f"{stem}.out").read_text().split("\n")
    cases = list(zip(content.split("\n__ggml_vocab_test__\n"), expected, strict=True))
    assert len(cases) == 47
    for text, ids in cases:
        assert llama2.encode(text) == [int(i) for i in ids.split()], text


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize("text", ["a", " ", "\n", "\u0301", " a a", "▁", "😀"])
def test_a_hundred_thousand_characters_take_seconds_and_not_minutes(llama2, text):
    """Half a second on an idle machine; a quadratic method would take minutes."""
    text = (text * 100_000)[:100_000]
    start = time.process_time()
    ids = llama2.encode(text)
    assert time.process_time() - start < 8
    assert llama2.decode(ids) == text.replace("▁", " ")


def test_a_role_belongs_to_a_control_piece_only(tmp_path):
    pieces = [(p, s, NORMAL if p == "</s>" else kind) for p, s, kind in PIECES]
    pieces += [("<pad>", 0.0, CONTROL)]
    tokenizer = load(tmp_path, sentencepiece_bytes(pieces))
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id) == (1, None, 0)
    assert tokenizer.pad_id == len(PIECES)
    with pytest.raises(TokenizerError, match="no EOS token"):
        tokenizer.encode("a", eos=True)


def test_a_vocabulary_without_bos_does_not_add_it(tmp_path):
    tokenizer = load(tmp_path, sentencepiece_bytes([e for e in PIECES if e[0] != "<s>"]))
    assert (tokenizer.bos_id, tokenizer.add_bos) == (None, False)
    with pytest.raises(TokenizerError, match="no BOS token"):
        tokenizer.encode("a", bos=True)
