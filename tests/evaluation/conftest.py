"""A SentencePiece tokenizer, which puts a space before the first word."""

import pytest

from tiny_vocabulary import llama2c_bytes
from tinyllm.tokenizers import load_tokenizer


@pytest.fixture(scope="session")
def loaded_llama(tmp_path_factory):
    path = tmp_path_factory.mktemp("llama") / "tokenizer.bin"
    path.write_bytes(llama2c_bytes())
    return load_tokenizer(path)
