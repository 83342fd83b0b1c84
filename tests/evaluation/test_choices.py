"""Multiple choice: scores by hand, ties, lengths, and lines that are no question."""

import json

import numpy as np
import pytest

from evaluation.small_models import TableModel, random_model, tokenizer
from tinyllm.errors import UsageError
from tinyllm.evaluation import Question, answer_choices, read_questions
from tinyllm.ops.softmax import log_softmax_forward


def ask(prompt, choices, answer):
    return Question(prompt=prompt, choices=tuple(choices), answer=answer)


def table(**likely):
    """A model that finds some characters more likely than others, whatever is before them."""
    row = np.zeros(270)
    for character, logit in likely.items():
        (token,) = tokenizer().encode(character)
        row[token] = logit
    return TableModel(np.tile(row, (270, 1)))


def test_the_most_probable_choice_wins_and_length_can_be_divided_out():
    model = table(x=3.0, y=2.0, z=1.0)
    questions = [ask("the", "xyz", 0), ask("the", "zyx", 2), ask("the", "xy", 1)]
    found = answer_choices(model, questions)
    assert found.acc == found.acc_norm == pytest.approx(2 / 3)
    assert found.chance == pytest.approx((1 / 3 + 1 / 3 + 1 / 2) / 3)
    assert (found.questions, found.tokens_scored) == (3, 8)
    # Two likely letters are less probable than one unlikely, and more so by byte.
    found = answer_choices(model, [ask("the", ["z", "xx"], 1)])
    assert (found.acc, found.acc_norm) == (0.0, 1.0)


def test_bytes_are_those_of_utf8():
    """Scores by character would prefer the other."""
    model = TableModel(np.zeros((270, 270)))  # each token costs the same, and é is two
    found = answer_choices(model, [ask("the", ["éé", "xxx"], 0)])
    assert [len(tokenizer().encode(text)) for text in ("éé", "xxx")] == [4, 3]
    assert (found.acc, found.acc_norm) == (0.0, 1.0)


def test_of_equal_scores_the_first_wins():
    for model in (TableModel(np.zeros((270, 270))), random_model(dtype=np.float32)):
        for n in (2, 5):
            rights = [answer_choices(model, [ask("the cat", ["x"] * n, i)]).acc for i in range(n)]
            assert rights == [1.0] + [0.0] * (n - 1)


def test_scores_are_those_of_the_logits_behind_the_prompt():
    model, prompt, choices = random_model(), "the cat", [" sat", " and the hat", " x"]
    sums = []
    for choice in choices:
        start, ids = (tokenizer().encode(t, bos=True) for t in (prompt, prompt + choice))
        assert ids[: len(start)] == start
        log_probs = log_softmax_forward(model.xp, model.forward([ids[:-1]]))[0][0]
        sums.append(sum(log_probs[i - 1, ids[i]] for i in range(len(start), len(ids))))
    by_byte = [s / len(choice) for s, choice in zip(sums, choices)]
    for answer in range(3):
        found = answer_choices(model, [ask(prompt, choices, answer)])
        assert found.acc == (answer == int(np.argmax(sums)))
        assert found.acc_norm == (answer == int(np.argmax(by_byte)))


def test_a_token_across_the_seam_belongs_to_the_choice():
    """th + e is one token, which the prompt alone does not have."""
    assert len(tokenizer().encode("the")) == 1
    found = answer_choices(table(), [ask("th", ["e", "x"], 0)])
    assert found.tokens_scored == 1 + 1
    prompt = tokenizer().encode("th")
    assert prompt != tokenizer().encode("the")[: len(prompt)]


def test_lines_in_both_spellings():
    lines = [
        {"prompt": "a", "choices": [" b", " c"], "answer": 1, "source": "kept out"},
        {"ctx": "a", "endings": ["b", "c", "d"], "label": "2", "ind": 4},
        {"ctx": "a", "endings": ["b", "c"], "label": 0},
    ]
    text = "\n\n".join(json.dumps(line) for line in lines) + "\r\n"
    found = read_questions(text, "q.jsonl")
    assert [(q.prompt, q.choices, q.answer) for q in found] == [
        ("a", (" b", " c"), 1), ("a", (" b", " c", " d"), 2), ("a", (" b", " c"), 0),
    ]  # fmt: skip
    assert [q.where for q in found] == [f"q.jsonl: line {n}" for n in (1, 3, 5)]


GOOD = {"prompt": "a", "choices": [" b", " c"], "answer": 1}
BAD_LINES = {
    "no JSON": ("{", "is not JSON"),
    "nested without end": ("[" * 100_000, "is not JSON"),
    "a list": ("[1]", "is no question"),
    "a number": ("1", "is no question"),
    "a key missing": ('{"prompt": "a", "choices": ["b", "c"]}', "is no question"),
    "both spellings": (
        json.dumps(GOOD | {"ctx": "a", "endings": ["b", "c"], "label": 0}), "is no question",
    ),
    "a prompt that is none": (json.dumps(GOOD | {"prompt": 3}), "expected a text and at least two"),
    "one choice": (json.dumps(GOOD | {"choices": ["a"]}), "at least two choices"),
    "choices that are none": (json.dumps(GOOD | {"choices": "ab"}), "at least two choices"),
    "a choice that is none": (json.dumps(GOOD | {"choices": ["a", "b", 1]}), "that are texts"),
    "an answer out of range": (json.dumps(GOOD | {"answer": 2}), "answer is 2, expected 0 to 1"),
    "a negative answer": (json.dumps(GOOD | {"answer": -1}), "answer is -1, expected 0 to 1"),
    "a truth value": (json.dumps(GOOD | {"answer": True}), "answer is True, expected"),
    "half an answer": (json.dumps(GOOD | {"answer": 0.5}), "answer is 0.5, expected"),
    "an answer of letters": (json.dumps(GOOD | {"answer": "B"}), "answer is 'B', expected"),
    "an endless answer": (json.dumps(GOOD | {"answer": "1" * 5000}), "expected 0 to 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_line_is_told_by_its_number(case):
    line, says = BAD_LINES[case]
    with pytest.raises(UsageError) as caught:
        read_questions(f"{json.dumps(GOOD)}\n\n{line}\n", "q.jsonl")
    message = str(caught.value)
    assert message.startswith("q.jsonl: line 3")
    assert says in message
    assert len(message) < 500
    assert "\n" not in message


def test_a_file_without_questions():
    with pytest.raises(UsageError, match=r"q\.jsonl: has no questions"):
        read_questions("\n \n", "q.jsonl")


BAD_QUESTIONS = {
    "an empty choice": (ask("the", ["x", ""], 0), "<s>", "choice 1 is empty"),
    "nothing before": (ask("", ["x", "y"], 0), None, "choice 0 has nothing before it"),
    "too long": (ask("x" * 60, ["y", "zzzzz"], 0), "<s>", "choice 1 and the prompt are 66 tokens"),
}


@pytest.mark.parametrize("case", BAD_QUESTIONS)
def test_what_cannot_be_scored_is_refused(case):
    question, bos, says = BAD_QUESTIONS[case]
    with pytest.raises(UsageError) as caught:
        answer_choices(TableModel(np.zeros((270, 270)), bos=bos), [question])
    assert str(caught.value).startswith(f"the question: {says}")


def test_there_must_be_a_question_and_a_tokenizer():
    with pytest.raises(UsageError, match="no question"):
        answer_choices(random_model(), [])
    with pytest.raises(UsageError, match="no tokenizer"):
        answer_choices(random_model(tokens=False), [ask("a", "bc", 0)])
    assert answer_choices(random_model(), [ask("", "bc", 0)]).questions == 1
