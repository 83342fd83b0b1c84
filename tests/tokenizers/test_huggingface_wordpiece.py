"""A tokenizer.json with WordPiece is read as vocab.txt is, or refused by name."""

import pytest

from tiny_unigram import wordpiece_dict
from tiny_vocabulary import write_json
from tinyllm.errors import TokenizerError
from tinyllm.tokenizers import load_tokenizer


def load(folder, **parts):
    return load_tokenizer(write_json(folder / "tokenizer.json", wordpiece_dict(**parts)))


def test_roles_ids_and_text_come_from_the_file(tmp_path):
    tokenizer = load(tmp_path)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.pad_id) == (2, 3, 1, 0)
    ids = tokenizer.encode("The unaffable World's", bos=True, eos=True)
    assert ids == [2, 5, 6, 7, 8, 14, 16, 17, 3]
    assert tokenizer.decode(ids) == "the unaffable world ' s"
    assert tokenizer.decode([7]) == "##aff"


def test_a_decoder_may_leave_the_text_as_it_is(tmp_path):
    tokenizer = load(tmp_path, decoder={"type": "WordPiece", "prefix": "##", "cleanup": False})
    assert tokenizer.decode([5, 15, 7]) == "the !aff"


def test_the_prefix_and_the_longest_word_may_be_others(tmp_path):
    vocab = {"[UNK]": 0, "a": 1, "@b": 2}
    model = {"vocab": vocab, "continuing_subword_prefix": "@", "max_input_chars_per_word": 2}
    bare = {"added_tokens": [], "post_processor": None}
    tokenizer = load(tmp_path, model=model, **bare)
    assert tokenizer.encode("ab abb") == [1, 2, 0]
    assert tokenizer.unk_id == 0


def test_what_the_file_leaves_out_has_the_usual_names(tmp_path):
    tokenizer = load(tmp_path, post_processor=None)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.add_bos) == (2, 3, False)


BAD = {
    "no vocabulary": ({"model": {"vocab": []}}, "'vocab' is no object"),
    "no unknown token": ({"model": {"unk_token": "<unk>"}}, "unk token '<unk>' is not in"),
    "an unknown token that is none": ({"model": {"unk_token": None}}, "unk token None is not in"),
    "no prefix": ({"model": {"continuing_subword_prefix": 5}}, "continuing_subword_prefix is 5"),
    "no length": ({"model": {"max_input_chars_per_word": None}}, "max_input_chars_per_word is"),
    "an unknown key": ({"model": {"magic": 1}}, "'magic' = 1 is not supported"),
    "another decoder": ({"decoder": {"type": "ByteLevel"}}, "the decoder .*ByteLevel"),
    "a decoder without cleanup": ({"decoder": {"type": "WordPiece"}}, "the decoder .*WordPiece"),
    "another pre-tokenizer": ({"pre_tokenizer": {"type": "Whitespace"}}, "pre_tokenizer .*Whitesp"),
    "a normalizer that is none": (
        {"normalizer": {"type": "BertNormalizer", "clean_text": 1}},
        "the normalizer .*BertNormalizer",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_in_one_line(tmp_path, case):
    parts, reason = BAD[case]
    with pytest.raises(TokenizerError, match=reason) as caught:
        load(tmp_path, **parts)
    assert str(caught.value).startswith(f"{tmp_path}")
    assert "\n" not in str(caught.value)
