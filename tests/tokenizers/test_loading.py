"""A tokenizer is found in its folder, and a saved one is the same again."""

import json
import random
from importlib import import_module

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
    added_token,
    llama2c_bytes,
    sentencepiece_bytes,
    tokenizer_dict,
    write_json,
)
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import has_tokenizer, load_tokenizer

WITH_PAD = [*PIECES, ("<pad>", 0.0, CONTROL)]
SOURCES = {
    "tokenizer.model": sentencepiece_bytes(),
    "removing spaces": sentencepiece_bytes(WITH_PAD, normalizer={4: 1}),
    "no dummy prefix": sentencepiece_bytes(normalizer={3: 0}),
    "user-defined": sentencepiece_bytes([*PIECES, ("<b>", 0.0, USER_DEFINED)]),
    "unused": sentencepiece_bytes([*PIECES, ("▁then", 9.0, UNUSED)]),
    "no BOS": sentencepiece_bytes([entry for entry in PIECES if entry[0] != "<s>"]),
    "tokenizer.bin": llama2c_bytes(),
    "tokenizer.json": json.dumps(tokenizer_dict()).encode(),
}
ROLES = ("bos_id", "eos_id", "unk_id", "pad_id", "add_bos", "first_table")


@pytest.fixture(scope="module", params=SOURCES)
def saved(request, tmp_path_factory):
    """A tokenizer, and what is loaded again of its saving."""
    folder = tmp_path_factory.mktemp("saved")
    (folder / "source").write_bytes(SOURCES[request.param])
    tokenizer = load_tokenizer(folder / "source")
    tokenizer.save(folder / "new" / "folder")
    return tokenizer, load_tokenizer(folder / "new" / "folder"), folder / "new" / "folder"


parts = st.lists(st.sampled_from([*ALPHABET, "<s>", "<b>", "then"]), max_size=20)


@given(parts.map("".join), st.booleans())
def test_a_saved_tokenizer_loads_with_the_same_behaviour(saved, text, special):
    before, after, _ = saved
    ids = before.encode(text, bos=before.add_bos, allow_special=special)
    assert after.encode(text, bos=after.add_bos, allow_special=special) == ids
    assert after.decode(ids) == before.decode(ids)


def test_a_saved_tokenizer_has_the_same_tokens_and_the_source_verbatim(saved):
    before, after, folder = saved
    for role in (*ROLES, "special_tokens", "table"):
        assert getattr(after, role) == getattr(before, role), role
    for name, content in before.sources.items():
        assert (folder / name).read_bytes() == content
    assert before.sources.items() <= after.sources.items()
    after.save(folder)


def test_other_libraries_read_what_is_saved_and_give_the_same_ids(saved):
    library = pytest.importorskip("tokenizers.models") and import_module("tokenizers")
    tokenizer, _, folder = saved
    if not (folder / "tokenizer.json").exists():
        pytest.skip("tokenizer.json cannot say what this vocabulary does")
    theirs = library.Tokenizer.from_file(str(folder / "tokenizer.json"))
    choices = random.Random(0)
    for _ in range(300):
        text = "".join(choices.choices([*ALPHABET, "  ", "the", "</s>"], k=choices.randrange(30)))
        ids = tokenizer.encode(text, bos=tokenizer.add_bos, allow_special=True)
        assert theirs.encode(text).ids == ids, text
        assert theirs.decode(ids) == tokenizer.decode(ids), text


def test_no_merge_that_is_written_spells_a_special_or_a_byte_token(tmp_path):
    """They are <s + > here, which are pieces of text."""
    (tmp_path / "source").write_bytes(SOURCES["tokenizer.model"])
    load_tokenizer(tmp_path / "source").save(tmp_path)
    merges = json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))["model"]["merges"]
    text = {piece for piece, _, kind in PIECES if kind == NORMAL}
    assert len(merges) > 10
    assert all({left, right, left + right} <= text for left, right in merges)


def test_a_vocabulary_that_tokenizer_json_cannot_describe_has_none(tmp_path):
    for name in ("user-defined", "unused"):
        (tmp_path / "source").write_bytes(SOURCES[name])
        load_tokenizer(tmp_path / "source").save(tmp_path / name)
        assert [file.name for file in (tmp_path / name).iterdir()] == ["tokenizer.model"]


@pytest.mark.parity
def test_transformers_reads_what_is_saved_and_gives_the_same_ids(tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer = load_tokenizer(data("models/stories260K/tokenizer.model"))
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.unk_token_id) == (1, 2, 0)
    choices = random.Random(0)
    words = [content.decode("utf-8", "ignore") for content in tokenizer.table.values()]
    for i in range(600):
        parts, most = (words, 12) if i % 2 else ([*ALPHABET, "  ", "   "], 40)
        text = "".join(choices.choices(parts, k=choices.randrange(most)))
        ids = tokenizer.encode(text, bos=True)
        assert theirs.encode(text) == again.encode(text, bos=True) == ids, text
        assert theirs.decode(ids, skip_special_tokens=True) == tokenizer.decode(ids), text


def test_a_folders_tokenizer_json_comes_first_then_the_model_then_the_binary(tmp_path):
    (tmp_path / "tok7.bin").write_bytes(llama2c_bytes([*PIECES, ("A", 0.0, 1)]))
    assert load_tokenizer(tmp_path).vocab_size == len(PIECES) + 1
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_bytes(WITH_PAD))
    assert load_tokenizer(str(tmp_path)).pad_id == len(PIECES)
    write_json(tmp_path / "tokenizer.json", tokenizer_dict())
    assert load_tokenizer(tmp_path).vocab_size == len(PIECES)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model", "vocab.txt", "tok512.bin"])
def test_a_folder_has_a_tokenizer_where_a_file_has_its_name(tmp_path, name):
    assert not has_tokenizer(tmp_path)
    (tmp_path / name).touch()
    assert has_tokenizer(str(tmp_path))


def test_a_folder_without_a_tokenizer_says_what_was_looked_for(tmp_path):
    with pytest.raises(TokenizerError, match=r"looked for tokenizer.json, tokenizer.model, "):
        load_tokenizer(tmp_path)
    for name in ("tok1.bin", "tok2.bin"):
        (tmp_path / name).write_bytes(llama2c_bytes())
    with pytest.raises(TokenizerError, match=r"it has tok1.bin, tok2.bin"):
        load_tokenizer(tmp_path)


def test_tokenizer_config_has_the_last_word(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_bytes())
    config = {
        "add_bos_token": False,
        "bos_token": None,
        "eos_token": {"content": "<end>"},
        "pad_token": "</s>",
        "added_tokens_decoder": {
            "1": added_token("<s>", None),
            "400": added_token("<end>", None),
            "401": added_token("[A]", None, special=False),
        },
        "chat_template": "{{ anything }}",
    }
    write_json(tmp_path / "tokenizer_config.json", config)
    tokenizer = load_tokenizer(tmp_path)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (None, 400, 2)
    assert not tokenizer.add_bos
    assert tokenizer.encode("[A]<end>", allow_special=True, eos=True) == [401, 400, 400]
    assert 400 not in tokenizer.encode("<end>")
    tokenizer.save(tmp_path / "again")
    again = load_tokenizer(tmp_path / "again")
    assert again.table == tokenizer.table
    assert again.encode("a[A]<end>", allow_special=True) == tokenizer.encode(
        "a[A]<end>", allow_special=True
    )


def test_a_role_named_by_the_config_is_no_text(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_bytes())
    write_json(tmp_path / "tokenizer_config.json", {"eos_token": "er"})
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.special_tokens["er"] == tokenizer.eos_id
    assert tokenizer.eos_id not in tokenizer.encode("her er")


BAD_CONFIGS = {
    "a flag that is none": ({"add_bos_token": "yes"}, "add_bos_token is 'yes'"),
    "a token that is a number": ({"eos_token": 2}, "eos_token is '2'; expected the token's text"),
    "a token without a text": ({"eos_token": {"content": 2}}, "eos_token is .*content"),
    "a token not in the vocabulary": ({"eos_token": "[E]"}, r"the eos token '\[E\]' is not in"),
    "BOS without a token": ({"add_bos_token": True, "bos_token": None}, "no token is BOS"),
    "added tokens in a list": ({"added_tokens_decoder": []}, "added_tokens_decoder is no object"),
    "an id that is no number": (
        {"added_tokens_decoder": {"x": added_token("[A]", None)}},
        r"the id of '\[A\]' is x",
    ),
    "an id that is too long": (
        {"added_tokens_decoder": {"9" * 5000: added_token("[A]", None)}},
        r"the id of '\[A\]' is 9999",
    ),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_a_bad_tokenizer_config_is_refused_in_one_line(tmp_path, case):
    config, reason = BAD_CONFIGS[case]
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_bytes())
    write_json(tmp_path / "tokenizer_config.json", config)
    with pytest.raises(TokenizerError, match=reason):
        load_tokenizer(tmp_path)


OTHER_FILES = {
    "ranks of tokens": (b"IQ== 0\nIg== 1\n", "is a list of ranks that is damaged or unknown"),
    "a list of words": (b"[PAD]\n[unused0]\n", "begins with b'\\[PAD\\]"),
    "an LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "begins with b'version"),
    "HTML": (b"<!DOCTYPE html>", "begins with b'<!DOCTYPE"),
    "GGUF": (b"GGUF\x03\0\0\0", "begins with b'GGUF"),
    "nothing": (b"", "begins with b''"),
    "zeros": (bytes(100), "is no tokenizer that tinyllm reads"),
}


@pytest.mark.parametrize("case", OTHER_FILES)
def test_other_files_are_refused_by_what_they_are(tmp_path, case):
    content, reason = OTHER_FILES[case]
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(TokenizerError, match=reason):
        load_tokenizer(tmp_path)


def test_a_path_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(TokenizerError, match="no such file"):
        load_tokenizer(tmp_path / "nothing")


def test_saving_does_not_mix_two_tokenizers(tmp_path):
    write_json(tmp_path / "tokenizer.json", tokenizer_dict())
    (tmp_path / "source").write_bytes(SOURCES["user-defined"])
    with pytest.raises(TokenizerError, match=r"has another tokenizer's tokenizer.json"):
        load_tokenizer(tmp_path / "source").save(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "source").write_bytes(SOURCES["tokenizer.model"])
    with pytest.raises(TokenizerError, match="cannot be saved"):
        load_tokenizer(tmp_path / "source").save(tmp_path / "source" / "folder")
