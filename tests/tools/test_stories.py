"""tools.stories"""

import pytest

from conftest import data
from tools.stories.casing import Casing, share_restored
from tools.stories.corpus import (
    RUN,
    Openings,
    Runs,
    letters,
    read_stories,
    split_lower,
    split_original,
    split_validation,
)

KNOWN = [
    "One day, a girl named Lily saw a dog. The dog saw Lily, and Mom said, “Hi!”",
    "Once upon a time, Lily's dog ran to Mom. Then I saw it too.",
]


@pytest.mark.parametrize(
    "story",
    [
        "Lily saw the dog.",
        "The dog ran to Lily. Then Mom ran.",
        "It was Lily's dog.\nThen I saw it.",
        'Then Mom said, "The dog ran!"',
        "Then Mom said, “A dog!” Then the girl ran.",
    ],
)
def test_a_story_gets_its_capitals_back(story):
    assert Casing(KNOWN).restore(story.lower()) == story


def test_the_share_of_words_that_come_back_is_counted():
    assert share_restored(Casing(KNOWN), ["Then Lily ran to Bob."]) == 0.8


def test_stories_end_where_one_is_marked():
    assert split_original("One.\nTwo.\n<|endoftext|>\n\nThree.\n<|endoftext|>\n") == [
        "One.\nTwo.", "Three.",
    ]  # fmt: skip


def test_in_lower_case_a_single_line_feed_ends_a_story_unless_it_goes_on():
    first = "once upon a time there was a dog " + 200 * "x"
    later = "then the dog ran home " + 200 * "y"
    openings = Openings(
        ["Once upon a time there was a cat\nThen the cat ran away\nThen the cat slept"] * 9
    )
    text = f"{first}\n\n{later}\n{first}\n{later}\n"
    assert split_lower(text, openings) == [f"{first}\n{later}", f"{first}\n{later}"]


def test_misread_characters_are_mended_or_the_story_is_left_out():
    openings = Openings(["Once upon a time\nThen"])
    text = f"once â€œhiâ€\x9d itâ€™s {200 * 'x'}\nonce ã‡ {200 * 'x'}"
    assert split_lower(text, openings) == [f"once “hi” it’s {200 * 'x'}"]


def test_validation_is_the_end():
    before, after = split_validation([str(i) for i in range(100)])
    assert (len(before), after) == (95, [str(i) for i in range(95, 100)])


def test_runs_count_letters_and_digits_alone():
    text = "".join(chr(97 + i % 26) for i in range(RUN))
    runs = Runs([f"<{text}>"])
    assert runs.shares(" ".join(text).upper())
    assert not runs.shares(text[1:])
    assert runs.share(text + "z") == 0.5


@pytest.mark.slow
def test_training_shares_no_run_with_validation():
    stories = read_stories(data("corpora/tinystories"))
    assert len(stories.validation) == 116
    held_out = "\n".join(map(letters, stories.validation))
    seen = {held_out[i : i + RUN] for i in range(len(held_out) - RUN + 1)}
    for story in stories.original + stories.restored:
        kept = letters(story)
        assert not any(kept[i : i + RUN] in seen for i in range(len(kept) - RUN + 1))
