"""Multiple choice: which of several continuations a model finds most probable.

A file has one question on each line, as JSON:

    {"prompt": "The sky is", "choices": [" blue", " loud"], "answer": 0}

A choice comes right behind the prompt, so it begins with its own space. HellaSwag's own keys, ctx,
endings and label, are read too; a space goes between.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tinyllm.errors import UsageError
from tinyllm.evaluation.scoring import Scorer, Window, score_windows
from tinyllm.shown import shown
from tinyllm.tokenizers import Tokenizer

_KEYS = {("prompt", "choices", "answer"): "", ("ctx", "endings", "label"): " "}  # -> what joins


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is asked, what may follow, and the index of what should."""

    prompt: str
    choices: tuple[str, ...]
    answer: int
    where: str = "the question"  # for messages


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """How often the right choice has the highest score, beside what guessing gives."""

    acc: float  # by the sum of the choice's log-probabilities
    acc_norm: float  # by that sum, divided by the bytes of the choice: long ones are not punished
    chance: float
    questions: int
    tokens_scored: int


def read_questions(text: str, where: str) -> list[Question]:
    """Read a question from each line that is not blank; `where` names the file in messages.

    Raises UsageError that names the first line that is none, and where there is no line.
    """
    questions = [
        _question(line, f"{where}: line {number}")
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    ]
    if not questions:
        raise UsageError(f"{where}: has no questions; expected a JSON object on each line")
    return questions


def _question(line: str, where: str) -> Question:
    """Read a question. Raises UsageError."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as cause:
        raise UsageError(f"{where} is not JSON: {shown(line)}") from cause
    known = [keys for keys in _KEYS if isinstance(record, dict) and {*keys} <= record.keys()]
    if len(known) != 1:
        raise UsageError(
            f"{where} is no question: expected an object with prompt, choices and answer, or with"
            f" ctx, endings and label; it is {shown(record)}"
        )
    prompt, choices, answer = (record[key] for key in known[0])
    if isinstance(answer, str) and answer.isdecimal() and len(answer) < 10:
        answer = int(answer)  # as HellaSwag's files have it
    match prompt, choices:
        case str(), [str(), str(), *others] if all(isinstance(c, str) for c in others):
            pass
        case _:
            raise UsageError(f"{where}: expected a text and at least two choices that are texts")
    if type(answer) is not int or not 0 <= answer < len(choices):
        raise UsageError(
            f"{where}: the answer is {shown(answer)}, expected 0 to {len(choices) - 1}"
        )
    join = _KEYS[known[0]]
    return Question(
        prompt=prompt, choices=tuple(join + c for c in choices), answer=answer, where=where
    )


def answer_choices(
    model: Scorer, questions: Sequence[Question], report: Callable[[str], None] = lambda line: None
) -> Choices:
    """Score every choice behind its prompt, and count how often the right one wins.

    Of equal scores the first wins. Prompt and choice are encoded together; the choice's tokens are
    those from where the prompt's own tokens end to agree, for a token may reach across the seam.
    Equal texts are scored once, so that they are equal. Raises UsageError where a choice is empty,
    has nothing before it, or does not fit the model's context with its prompt: nothing is cut.
    """
    if model.tokenizer is None:
        raise UsageError("the model's folder has no tokenizer: a text cannot become its tokens")
    windows = [
        [_window(model, model.tokenizer, question, i) for i in range(len(question.choices))]
        for question in questions
    ]
    if not windows:
        raise UsageError("there is no question")
    distinct = {(tuple(w.tokens), w.scored): w for several in windows for w in several}
    found = score_windows(model, [*distinct.values()], report)
    scores = {key: float(x.sum()) for key, x in zip(distinct, found, strict=True)}
    right = right_norm = 0
    for question, several in zip(questions, windows, strict=True):
        sums = [scores[tuple(w.tokens), w.scored] for w in several]
        by_byte = [s / len(c.encode()) for s, c in zip(sums, question.choices, strict=True)]
        right += sums.index(max(sums)) == question.answer
        right_norm += by_byte.index(max(by_byte)) == question.answer
    return Choices(
        acc=right / len(questions),
        acc_norm=right_norm / len(questions),
        chance=sum(1 / len(question.choices) for question in questions) / len(questions),
        questions=len(questions),
        tokens_scored=sum(w.scored for several in windows for w in several),
    )


def _window(model: Scorer, tokenizer: Tokenizer, question: Question, index: int) -> Window:
    """Encode a prompt with one of its choices."""
    prompt = tokenizer.encode(question.prompt, bos=tokenizer.add_bos)
    tokens = tokenizer.encode(question.prompt + question.choices[index], bos=tokenizer.add_bos)
    pairs: Any = zip(prompt, tokens, strict=False)
    agree = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(prompt), len(tokens)))
    where = f"{question.where}: choice {index}"
    if agree == len(tokens):
        raise UsageError(f"{where} is empty, or adds no token to the prompt")
    if agree == 0:
        raise UsageError(f"{where} has nothing before it: give a prompt, this model has no BOS")
    if len(tokens) > model.config.max_seq_len:
        raise UsageError(
            f"{where} and the prompt are {len(tokens)} tokens, and the model reads"
            f" {model.config.max_seq_len}"
        )
    return Window(tokens=tokens, scored=len(tokens) - agree)
