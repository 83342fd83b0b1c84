"""The model that ships."""

import pytest

import tinyllm
from conftest import data
from tinyllm.evaluation import document_bits_per_byte
from tinyllm.shipped import FOLDER
from tools.stories.corpus import ORIGINAL, split_original, split_validation


@pytest.fixture(scope="module")
def model():
    return tinyllm.load()


def test_it_is_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) <= 8_000_000


def test_it_tells_the_same_story_by_the_seed(model):
    one, two = (
        model.generate("Once upon a time", max_tokens=20, seed=1, temperature=0.5).text
        for _ in range(2)
    )
    assert one == two
    assert one.startswith((" there", ","))


def test_it_ends_its_stories(model):
    found = model.generate("Once upon a time", max_tokens=400, seed=0, temperature=0.5)
    assert found.finish_reason == "eos"


@pytest.mark.slow
def test_it_needs_no_more_bits_for_a_byte_than_stories260k(model):
    text = (data("corpora/tinystories") / ORIGINAL).read_text(encoding="utf-8")
    _, stories = split_validation(split_original(text))
    other = tinyllm.load(data("models/stories260K"))
    stories = stories[::8]
    assert document_bits_per_byte(model, stories) < document_bits_per_byte(other, stories)
