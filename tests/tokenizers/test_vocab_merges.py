"""vocab.json and merges.txt are read as the class of tokenizer that they belong to reads them."""

import random
from importlib import import_module

import pytest

from conftest import data
from tiny_byte_level import MERGES, PARTS, VOCAB
from tiny_vocabulary import added_token, write_json
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import load_tokenizer

GPT2 = VOCAB | {"<|endoftext|>": 300}
ROBERTA = {"<s>": 600, "<pad>": 601, "</s>": 602, "<unk>": 603, "<mask>": 700} | VOCAB
TEXTS = [*PARTS, "<s>", " <mask>", "<|endoftext|>"]


def write(folder, vocab, config=None, merges=MERGES, **files):
    write_json(folder / "vocab.json", vocab)
    lines = "#version: 0.2\n" + "\n".join(merges) + "\n"
    (folder / "merges.txt").write_text(lines, encoding="utf-8", newline="")
    if config is not None:
        write_json(folder / "tokenizer_config.json", config)
    for name, content in files.items():
        write_json(folder / f"{name}.json", content)
    return folder


def test_without_a_config_gpt2_is_told_by_its_token(tmp_path):
    tokenizer = load_tokenizer(write(tmp_path, GPT2))
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.add_bos) == (300, 300, False)
    assert tokenizer.encode(" the<|endoftext|>", allow_special=True) == [VOCAB["Ġthe"], 300]
    assert 300 not in tokenizer.encode("<|endoftext|>")
    assert load_tokenizer(tmp_path / "vocab.json").encode(" the") == [VOCAB["Ġthe"]]


def test_without_a_config_roberta_is_told_by_its_five_tokens(tmp_path):
    tokenizer = load_tokenizer(write(tmp_path, ROBERTA))
    roles = (tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.pad_id)
    assert roles == (600, 602, 603, 601)
    assert tokenizer.add_bos
    assert tokenizer.add_eos
    the = VOCAB["Ġthe"]
    ids = tokenizer.encode(" the  <mask> the", bos=True, eos=True, allow_special=True)
    assert ids == [600, the, 700, the, 602]  # the mask takes the space before it


def test_opt_is_a_gpt2_that_begins_with_its_bos(tmp_path):
    vocab = {"</s>": 800, "<pad>": 801} | VOCAB
    config = {
        "tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, "add_prefix_space": False,
        "bos_token": {"content": "</s>"}, "eos_token": "</s>", "unk_token": "</s>",
        "pad_token": "<pad>",
    }  # fmt: skip
    tokenizer = load_tokenizer(write(tmp_path, vocab, config))
    assert (tokenizer.bos_id, tokenizer.pad_id, tokenizer.add_bos) == (800, 801, True)
    assert set(tokenizer.special_tokens) == {"</s>", "<pad>"}


def test_qwen2_takes_its_added_tokens_from_the_config(tmp_path):
    config = {
        "tokenizer_class": "Qwen2Tokenizer", "add_bos_token": False, "bos_token": None,
        "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None,
        "added_tokens_decoder": {
            "500": added_token("<|endoftext|>", None), "501": added_token("<|im_end|>", None),
            "502": added_token("<tool>", None, special=False),
        },
    }  # fmt: skip
    tokenizer = load_tokenizer(write(tmp_path, VOCAB, config))
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (None, 501, 500)
    assert tokenizer.encode("12<tool>e\u0301") == [VOCAB["1"], VOCAB["2"], 502, VOCAB["Ã©"]]


def test_old_added_tokens_have_a_file_of_their_own(tmp_path):
    config = {"tokenizer_class": "CodeGenTokenizer", "eos_token": "<|end|>", "add_bos_token": True}
    config |= {"bos_token": "<|end|>"}
    added = {"<|end|>": 900, "[tab]": 901}
    tokenizer = load_tokenizer(write(tmp_path, VOCAB, config, added_tokens=added))
    assert tokenizer.special_tokens == {"<|end|>": 900}
    assert tokenizer.encode("a[tab]") == [VOCAB["a"], 901]
    tokenizer.save(tmp_path / "saved")
    assert load_tokenizer(tmp_path / "saved").encode("a[tab]") == [VOCAB["a"], 901]


CONFIGS = {
    "gpt2": (GPT2, None),
    "gpt2 with a space": (GPT2, {"add_prefix_space": True, "add_bos_token": True}),
    "roberta": (ROBERTA, {"tokenizer_class": "RobertaTokenizerFast"}),
    "qwen2": (GPT2, {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|endoftext|>"}),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_what_is_saved_is_the_same_again_for_other_libraries_too(tmp_path, case):
    tokenizer = load_tokenizer(write(tmp_path, *CONFIGS[case]))
    tokenizer.save(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    assert again.sources.keys() == tokenizer.sources.keys() | {"tokenizer.json"}
    for role in ("table", "special_tokens", "bos_id", "eos_id", "unk_id", "add_bos", "add_eos"):
        assert getattr(again, role) == getattr(tokenizer, role), role
    library = pytest.importorskip("tokenizers.models") and import_module("tokenizers")
    theirs = library.Tokenizer.from_file(str(tmp_path / "saved" / "tokenizer.json"))
    choices = random.Random(0)
    for _ in range(300):
        text = "".join(choices.choices(TEXTS, k=choices.randrange(20)))
        options = {"bos": tokenizer.add_bos, "eos": tokenizer.add_eos, "allow_special": True}
        ids = tokenizer.encode(text, **options)
        assert again.encode(text, **options) == ids
        assert theirs.encode(text).ids == ids, text


BAD = {
    "an unknown class": (
        {"vocab": GPT2, "config": {"tokenizer_class": "ClvpTokenizer"}},
        "tokenizer_class 'ClvpTokenizer', and known are GPT2Tokenizer",
    ),
    "no class, and no token that tells": ({"vocab": VOCAB}, "tokenizer_class 'None'"),
    "a merge of three": ({"vocab": GPT2, "merges": ["a b c"]}, "merge 0 is 'a b c'; expected two"),
    "a merge of what is not there": ({"vocab": GPT2, "merges": ["x y"]}, "needs the piece 'xy'"),
    "an id that is none": ({"vocab": GPT2 | {"new": "7"}}, "the id of 'new' is 7"),
    "a special id that is none": ({"vocab": VOCAB | {"<|endoftext|>": -1}}, "'<|end.* is -1"),
    "a flag that is none": (
        {"vocab": GPT2, "config": {"add_prefix_space": "yes"}},
        "add_prefix_space is 'yes'; expected a bool",
    ),
    "an added id that is none": (
        {"vocab": GPT2, "added_tokens": {"[x]": 1.5}},
        r"the id of '\[x\]' is 1.5",
    ),
    "BOS without a token": (
        {"vocab": VOCAB, "config": {"tokenizer_class": "Qwen2Tokenizer", "add_bos_token": True}},
        "no token is BOS",
    ),
    "BOS that is nowhere": (
        {"vocab": GPT2, "config": {"bos_token": "[B]", "add_bos_token": True}},
        r"the bos token '\[B\]' is not in the vocabulary",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_one_line(tmp_path, case):
    files, reason = BAD[case]
    write(tmp_path, **files)
    with pytest.raises(TokenizerError, match=reason) as caught:
        load_tokenizer(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_merges_that_are_missing_or_no_text_are_refused(tmp_path):
    write(tmp_path, GPT2)
    (tmp_path / "merges.txt").write_bytes(b"a \xff")
    with pytest.raises(TokenizerError, match=r"merges.txt: is not UTF-8 at byte 2"):
        load_tokenizer(tmp_path)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(TokenizerError, match=r"merges.txt: no such file"):
        load_tokenizer(tmp_path)


def test_gpt2s_two_files_make_the_ids_of_its_tokenizer_json():
    folder = data("tokenizers/gpt2")
    tokenizer = load_tokenizer(folder / "vocab.json")
    from_json = load_tokenizer(folder / "tokenizer.json")
    assert tokenizer.table == from_json.table
    for text in data("tokenizers/vectors/ggml-vocab-gpt-2.gguf.inp").read_text("utf-8").split("\n"):
        assert tokenizer.encode(text) == from_json.encode(text)
