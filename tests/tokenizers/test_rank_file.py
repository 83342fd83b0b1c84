"""The published lists of ranks give tiktoken's ids; a list nobody knows is refused."""

import base64
import json
import random
from hashlib import sha256
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import data
from tiny_byte_level import PARTS, PIECES
from tiny_vocabulary import added_token, write_json
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import load_tokenizer, rank_file
from tinyllm.tokenizers.byte_level import piece_bytes
from tinyllm.tokenizers.rank_file import RankFile
from tinyllm.tokenizers.word_patterns import GPT2, LLAMA3

TOKENS = [piece_bytes(piece) for piece in PIECES]
LINES = b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(TOKENS))
BEGIN, END = "<|begin_of_text|>", "<|end_of_text|>"
SPECIAL = {BEGIN: 400, END: 401, "<|reserved_0|>": 402}


@pytest.fixture
def known(monkeypatch):
    tiny = RankFile(name="tiny", pattern=LLAMA3, special=SPECIAL, first=BEGIN)
    monkeypatch.setitem(rank_file.KNOWN, sha256(LINES).hexdigest(), tiny)


def load(folder, name="tokenizer.model", content=LINES):
    (folder / name).write_bytes(content)
    return load_tokenizer(folder)


@pytest.mark.parametrize("name", ["tokenizer.model", "tiny.tiktoken"])
def test_a_known_list_is_a_tokenizer(known, tmp_path, name):
    tokenizer = load(tmp_path, name)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id) == (400, 401, None)
    assert tokenizer.add_bos
    assert not tokenizer.add_eos
    assert tokenizer.vocab_size == 403
    assert tokenizer.encode(" the") == [TOKENS.index(b" the")]
    assert tokenizer.encode(BEGIN, allow_special=True) == [400]
    assert not {400, 401} & set(tokenizer.encode(BEGIN + END))
    assert tokenizer.decode(tokenizer.encode("12345 é" + END, bos=True)) == "12345 é" + END
    assert list(tokenizer.sources) == [name]


def test_lines_may_end_as_windows_ends_them(known, tmp_path):
    assert load(tmp_path, content=LINES.replace(b"\n", b"\r\n")).vocab_size == 403


def test_the_config_may_give_special_tokens_other_names(known, tmp_path):
    """Llama 3.1 has a name for what Llama 3 reserved."""
    config = {
        "eos_token": "<|eot|>",
        "added_tokens_decoder": {
            "402": added_token("<|eot|>", None),
            "500": added_token("[x]", None, special=False),
        },
    }
    write_json(tmp_path / "tokenizer_config.json", config)
    tokenizer = load(tmp_path)
    assert tokenizer.special_tokens == {BEGIN: 400, END: 401, "<|eot|>": 402}
    assert tokenizer.eos_id == 402
    assert tokenizer.encode("a[x]") == [TOKENS.index(b"a"), 500]


def test_a_token_that_the_config_makes_special_comes_out_of_no_text(known, tmp_path):
    write_json(tmp_path / "tokenizer_config.json", {"eos_token": "aaaa"})
    assert load(tmp_path).encode("aaaa") == [TOKENS.index(b"aa")] * 2
    write_json(tmp_path / "tokenizer_config.json", {"eos_token": "a"})
    with pytest.raises(
        TokenizerError, match=r"needs a piece of text for every byte; 1 are missing"
    ):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.model", "tiny.tiktoken"])
def test_a_saved_list_is_the_same_again_for_other_libraries_too(known, tmp_path, name):
    tokenizer = load(tmp_path, name)
    tokenizer.save(tmp_path / "saved")
    assert (tmp_path / "saved" / name).read_bytes() == LINES
    again = load_tokenizer(tmp_path / "saved")
    described = json.loads(again.sources["tokenizer.json"])
    assert described["model"]["vocab"].items() >= SPECIAL.items()  # or tokenizers renumbers them
    for role in ("table", "special_tokens", "bos_id", "eos_id", "add_bos"):
        assert getattr(again, role) == getattr(tokenizer, role)
    library = pytest.importorskip("tokenizers.models") and import_module("tokenizers")
    theirs = library.Tokenizer.from_file(str(tmp_path / "saved" / "tokenizer.json"))
    choices = random.Random(0)
    for _ in range(300):
        text = "".join(choices.choices([*PARTS, END], k=choices.randrange(25)))
        ids = tokenizer.encode(text, bos=True, allow_special=True)
        assert again.encode(text, bos=True, allow_special=True) == ids
        assert theirs.encode(text).ids == ids, text


OTHERS = {
    "an unknown list": b"IQ== 0\nIg== 1\n",
    "a list without its end": LINES[:-20],
    "garbage behind a line": LINES + b"????\n",
    "a list with a rank too high": LINES[:-1] + b"0\n",
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_list_is_refused(known, tmp_path, case):
    with pytest.raises(TokenizerError, match=r"damaged or unknown.*r50k_base, .*tokenizer.json$"):
        load(tmp_path, content=OTHERS[case])


def test_llama3s_special_tokens_are_those_of_its_release():
    special = rank_file._llama3_special()
    assert len(special) == 256
    assert special[BEGIN] == 128_000
    assert special["<|reserved_special_token_0|>"] == 128_002
    assert special["<|reserved_special_token_3|>"] == 128_005
    assert special["<|start_header_id|>"] == 128_006
    assert special["<|reserved_special_token_4|>"] == 128_008
    assert special["<|eot_id|>"] == 128_009
    assert special["<|reserved_special_token_250|>"] == 128_255


PUBLISHED = {
    "tiktoken/r50k_base.tiktoken": (GPT2, 50257, [50256, 50256]),
    "tiktoken/cl100k_base.tiktoken": (LLAMA3, 100277, [100257, 100257]),
    "llama3/tokenizer.model": (LLAMA3, 128256, [128000, 128001]),
}


@pytest.fixture(scope="module", params=PUBLISHED)
def published(request):
    """A published list here and in tiktoken."""
    tiktoken = pytest.importorskip("tiktoken")
    path = data(f"tokenizers/{request.param}")
    pattern, size, roles = PUBLISHED[request.param]
    lines = (line.split() for line in path.read_bytes().splitlines())
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    theirs = tiktoken.Encoding("x", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    tokenizer = load_tokenizer(path)
    assert tokenizer.vocab_size == size
    assert [tokenizer.bos_id, tokenizer.eos_id] == roles
    return tokenizer, theirs


words = st.lists(st.sampled_from([*PARTS, "the ", "Việt", " naïve", "<|eot_id|>"]), max_size=25)


@given(words.map("".join) | st.text())
def test_ids_of_published_lists_are_tiktokens(published, text):
    tokenizer, theirs = published
    ids = tokenizer.encode(text)
    assert ids == theirs.encode_ordinary(text)
    assert tokenizer.decode(ids) == text
