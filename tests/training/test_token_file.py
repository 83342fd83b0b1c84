"""tinyllm.training.token_file"""

import os

import numpy as np
import pytest

from tinyllm.errors import UsageError
from tinyllm.tokenizers.byte_level_training import train_byte_level_bpe
from tinyllm.training import documents, token_file
from tinyllm.training.token_file import digest, open_tokens, tokenize_file

BYTES = train_byte_level_bpe(["bytes"], 257)  # <|endoftext|> is 0, BOS and EOS
PLAIN = train_byte_level_bpe(["bytes"], 256, special_tokens=(), bos=None, eos=None)
FRAMED = train_byte_level_bpe(["bytes"], 258, special_tokens=("<s>", "</s>"), bos="<s>", eos="</s>")


def tokens_of(tmp_path, text, tokenizer, separator=None):
    (tmp_path / "text.txt").write_text(text)
    path = tokenize_file(tmp_path / "text.txt", tokenizer, tmp_path, separator=separator)
    return open_tokens(path, tokenizer.vocab_size)


@pytest.mark.parametrize(
    ("tokenizer", "wanted"),
    [
        (BYTES, lambda e: [0, *e("one"), 0, *e("two")]),
        (FRAMED, lambda e: [0, *e("one"), 1, 0, *e("two"), 1]),
        (PLAIN, lambda e: [*e("one"), *e("--"), *e("two"), *e("--")]),
    ],
    ids=["one token for both ends", "a token for each end", "neither"],
)
def test_documents_stand_between_their_ends(tmp_path, tokenizer, wanted):
    found = tokens_of(tmp_path, "one\n--\ntwo\n", tokenizer, "--").tolist()
    assert found == wanted(tokenizer.encode)


def test_without_a_separator_a_text_is_its_own_ids(tmp_path):
    assert PLAIN.decode(tokens_of(tmp_path, "a\n\nb é\n", PLAIN)) == "a\n\nb é\n"


def test_parts_of_a_document_have_one_beginning_and_one_end(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "PIECE", 8)
    text = "a long line\nanother long line"
    found = tokens_of(tmp_path, text, FRAMED).tolist()
    assert found == [0, *FRAMED.encode(text), 1]


def test_a_text_is_tokenized_once(tmp_path, monkeypatch):
    first = tokens_of(tmp_path, "abc", BYTES)

    def never(*arguments):
        raise AssertionError("tokenized again")

    monkeypatch.setattr(token_file, "_write_tokens", never)
    np.testing.assert_array_equal(tokens_of(tmp_path, "abc", BYTES), first)
    for text, tokenizer, separator in [
        ("abd", BYTES, None), ("abc", PLAIN, None), ("abc", BYTES, "b")
    ]:  # fmt: skip
        with pytest.raises(AssertionError, match="tokenized again"):
            tokens_of(tmp_path, text, tokenizer, separator)


def test_ids_take_two_bytes_or_four(tmp_path):
    assert tokens_of(tmp_path, "abc", BYTES).dtype == np.uint16

    class Large:
        vocab_size, add_bos, bos_id, eos_id, sources = 70_000, False, None, None, {}
        encode = staticmethod(lambda text: [69_999] * len(text))
        export = staticmethod(lambda tokenizer: {})

    assert tokens_of(tmp_path, "abc", Large()).tolist() == [69_999] * 3


def test_what_cannot_be_tokenized_leaves_nothing(tmp_path):
    (tmp_path / "text.txt").write_bytes(b"abc\xff")
    with pytest.raises(UsageError, match="not UTF-8 at byte 3"):
        tokenize_file(tmp_path / "text.txt", BYTES, tmp_path)
    assert os.listdir(tmp_path) == ["text.txt"]


def test_ids_of_other_programs_are_read(tmp_path):
    np.save(tmp_path / "a.npy", np.array([1, 2, 3], np.int64))
    np.array([1, 2, 3], "<u2").tofile(tmp_path / "a.bin")
    for name in ("a.npy", "a.bin"):
        assert open_tokens(tmp_path / name, 4).tolist() == [1, 2, 3]


def bad_files(folder):
    """Write files that hold no ids; return what is said of each."""
    np.save(folder / "floats.npy", np.ones(3))
    np.save(folder / "square.npy", np.ones((3, 3), int))
    np.save(folder / "none.npy", np.ones(0, int))
    with (folder / "objects.npy").open("wb") as file:  # what only unpickling could read
        header = {"descr": "|O", "fortran_order": False, "shape": (1,)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(b"N.")
    np.savez(folder / "archive", a=np.ones(3, int))
    (folder / "archive.npz").rename(folder / "archive.npy")
    np.save(folder / "cut.npy", np.ones(100, int))
    os.truncate(folder / "cut.npy", 200)
    (folder / "text.npy").write_text("no array")
    (folder / "odd.bin").write_bytes(b"abc")
    (folder / "none.bin").touch()
    np.save(folder / "negative.npy", np.array([1, 2, -1]))
    np.save(folder / "large.npy", np.array([1, 2, 3, 4]))
    os.mkfifo(folder / "pipe.npy")
    return {
        "floats.npy": "is float64 (3,); expected whole numbers", "square.npy": "is int64 (3, 3)",
        "none.npy": "is empty", "objects.npy": "is no file of token ids",
        "archive.npy": "an archive",
        "cut.npy": "is no file of token ids", "text.npy": "is no file of token ids",
        "odd.bin": "is no file of token ids", "none.bin": "is no file of token ids",
        "negative.npy": "token 2 is -1, and the model's ids end at 3",
        "large.npy": "token 3 is 4, and the model's ids end at 3: these are another tokenizer's",
        "absent.npy": "no such file", "pipe.npy": "is not a regular file", ".": "is not a regular",
    }  # fmt: skip


def test_bad_files_are_refused_in_one_line(tmp_path):
    for name, why in bad_files(tmp_path).items():
        with pytest.raises(UsageError) as caught:
            open_tokens(tmp_path / name, 4)
        assert why in str(caught.value), name
        assert "\n" not in str(caught.value)


def test_an_id_is_found_in_any_part_of_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(token_file, "CHUNK", 3)
    np.save(tmp_path / "a.npy", np.array([0, 1, 2, 3, 9, 1]))
    with pytest.raises(UsageError, match="token 4 is 9"):
        open_tokens(tmp_path / "a.npy", 4)


def test_the_digest_tells_ids_and_nothing_else(monkeypatch):
    ids = np.array([1, 2, 3, 300])
    whole = digest(ids)
    monkeypatch.setattr(token_file, "CHUNK", 3)
    assert digest(ids.astype(np.uint16)) == whole
    assert digest(ids[::-1]) != whole
    assert digest(ids[:3]) != whole
