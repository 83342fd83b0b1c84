"""Chat templates: the token ids that a conversation is for a model that was tuned on such.

A template says what stands around each message. It is made of token ids and not of one long text:
its marks go in by id, and what a user wrote is encoded as text, so that no message can end its own
turn. Models describe their templates as programs (Jinja), which tinyllm never runs;
`tinyllm.inference.template_files` tells which of the templates here such a program is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypeAlias

from tinyllm.errors import UsageError
from tinyllm.tokenizers import Tokenizer

Message: TypeAlias = Mapping[str, str]  # {"role": "system", "user" or "assistant", "content": text}
Exchange: TypeAlias = tuple[str, str | None]  # a question and its answer; the last has none yet
Part: TypeAlias = "str | Mark"


@dataclass(frozen=True, slots=True)
class Mark:
    """A special token, by its text; BOS and EOS are whatever the vocabulary calls so."""

    token: str


BOS, EOS = Mark("BOS"), Mark("EOS")
Layout: TypeAlias = Callable[[Tokenizer, str | None, Sequence[Exchange]], Iterator[Part]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """A layout, and how an answer in it ends."""

    name: str
    layout: Layout
    end_tokens: tuple[str, ...] = ()  # beside EOS
    end_strings: tuple[str, ...] = ()
    system: str | None = None  # the system message where a conversation has none


def chat_prompt(tokenizer: Tokenizer, template: Template, messages: Sequence[Message]) -> list[int]:
    """Return the ids after which a model says its next answer: `model.generate` takes them.

    Raises UsageError where the messages are not one system message, or none, and then turns of user
    and assistant that end with the user's, or where the vocabulary lacks a mark of the template.
    """
    system, exchanges = _exchanges(messages)
    ids: list[int] = []
    for part in template.layout(
        tokenizer, template.system if system is None else system, exchanges
    ):
        ids += tokenizer.encode(part) if isinstance(part, str) else [_id_of(tokenizer, part)]
    return ids


def end_ids(tokenizer: Tokenizer, template: Template) -> list[int]:
    """Return the ids that end an answer, beside those that the model itself knows."""
    return [_id_of(tokenizer, Mark(token)) for token in template.end_tokens]


def _id_of(tokenizer: Tokenizer, mark: Mark) -> int:
    roles = {BOS: tokenizer.bos_id, EOS: tokenizer.eos_id}
    token = roles[mark] if mark in roles else tokenizer.special_tokens.get(mark.token)
    if token is None:
        raise UsageError(
            f"the vocabulary has no {mark.token} token, which the chat template needs: take another"
        )
    return token


def _exchanges(messages: Sequence[Message]) -> tuple[str | None, list[Exchange]]:
    """Sort messages into the system's and the exchanges of question and answer."""
    system, turns = None, list(messages)
    if turns and turns[0]["role"] == "system":
        system = turns.pop(0)["content"]
    roles = [turn["role"] for turn in turns]
    if len(roles) % 2 == 0 or any(
        role != ("user", "assistant")[i % 2] for i, role in enumerate(roles)
    ):
        raise UsageError(
            f"the messages are by {', '.join(roles) or 'nobody'}; expected user, assistant, … user"
        )
    texts = [turn["content"] for turn in turns]
    return system, list(zip_longest(texts[::2], texts[1::2]))


def _llama2(_: Tokenizer, system: str | None, exchanges: Sequence[Exchange]) -> Iterator[Part]:
    """Llama-2-chat: each exchange is a text of its own, from BOS to EOS."""
    for index, (question, answer) in enumerate(exchanges):
        if index == 0 and system is not None:
            question = f"<<SYS>>\n{system}\n<</SYS>>\n\n{question}"
        asked = f"[INST] {question.strip()} [/INST]"
        yield BOS
        yield asked if answer is None else f"{asked} {answer.strip()} "
        if answer is not None:
            yield EOS


def _llama3(_: Tokenizer, system: str | None, exchanges: Sequence[Exchange]) -> Iterator[Part]:
    """Llama-3: every message has a header with its role."""

    def turn(role: str, text: str | None) -> Iterator[Part]:
        yield from (Mark("<|start_header_id|>"), role, Mark("<|end_header_id|>"))
        yield "\n\n" if text is None else f"\n\n{text.strip()}"
        if text is not None:
            yield Mark("<|eot_id|>")

    yield BOS
    if system is not None:
        yield from turn("system", system)
    for question, answer in exchanges:
        yield from turn("user", question)
        yield from turn("assistant", answer)


def _llama31(
    tokenizer: Tokenizer, system: str | None, exchanges: Sequence[Exchange]
) -> Iterator[Part]:
    """Llama-3.1 and 3.2: two dates begin the system message, which is always there.

    The date is the one that Meta's template falls back to, on any day: one prompt, one text.
    """
    dates = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
    own = "" if system is None else system.strip()
    # Not through the header of `_llama3`, which would strip the empty line after the dates.
    yield from (BOS, Mark("<|start_header_id|>"), "system", Mark("<|end_header_id|>"))
    yield from (f"\n\n{dates}{own}", Mark("<|eot_id|>"))
    turns = _llama3(tokenizer, None, exchanges)
    next(turns)  # its BOS
    yield from turns


def _mistral(
    tokenizer: Tokenizer, system: str | None, exchanges: Sequence[Exchange]
) -> Iterator[Part]:
    """Mistral-Instruct: [INST] and [/INST] are text up to version 0.2, and tokens from 0.3 on.

    The system message goes in front of the first question in the former, of the last in the latter.
    """
    tokens = "[INST]" in tokenizer.special_tokens
    yield BOS
    for index, (question, answer) in enumerate(exchanges):
        if system is not None and index == (len(exchanges) - 1 if tokens else 0):
            question = f"{system}\n\n{question}"
        if tokens:
            yield from (Mark("[INST]"), question, Mark("[/INST]"))
        else:
            yield f"[INST] {question} [/INST]"
        if answer is not None:
            yield from (answer.strip() if tokens else answer, EOS)


def _chatml(_: Tokenizer, system: str | None, exchanges: Sequence[Exchange]) -> Iterator[Part]:
    """ChatML (Qwen, SmolLM and many more): marks around the role and the text."""
    if system is not None:
        yield from (Mark("<|im_start|>"), f"system\n{system}", Mark("<|im_end|>"), "\n")
    for question, answer in exchanges:
        yield from (Mark("<|im_start|>"), f"user\n{question}", Mark("<|im_end|>"), "\n")
        yield from (Mark("<|im_start|>"), f"assistant\n{answer or ''}")
        if answer is not None:
            yield from (Mark("<|im_end|>"), "\n")


def _plain(
    tokenizer: Tokenizer, system: str | None, exchanges: Sequence[Exchange]
) -> Iterator[Part]:
    """A written dialogue, for models that were never tuned to chat."""
    if tokenizer.add_bos:
        yield BOS
    text = "" if system is None else f"{system.strip()}\n\n"
    for question, answer in exchanges:
        text += f"User: {question.strip()}\nAssistant:"
        text += "" if answer is None else f" {answer.strip()}\n"
    yield text


TEMPLATES = {
    template.name: template
    for template in (
        Template(name="llama2", layout=_llama2),
        Template(name="llama3", layout=_llama3, end_tokens=("<|eot_id|>",)),
        Template(name="llama3.1", layout=_llama31, end_tokens=("<|eot_id|>",)),
        Template(name="mistral", layout=_mistral),
        Template(name="chatml", layout=_chatml, end_tokens=("<|im_end|>",)),
        Template(name="plain", layout=_plain, end_strings=("\nUser:",)),
    )
}
