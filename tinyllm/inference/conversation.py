"""A conversation: what was said so far, and an answer to what is said next."""

import secrets
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from tinyllm.errors import UsageError
from tinyllm.inference.generation import Generation, GenerationOptions, Run, rng_for
from tinyllm.inference.templates import Message, Template, chat_prompt, end_ids
from tinyllm.models.architecture import Config
from tinyllm.tokenizers import Tokenizer


class ChatModel(Protocol):
    """What a conversation needs of a model: `tinyllm.Model` has it."""

    config: Config
    tokenizer: Tokenizer | None

    def run(self, prompts: Sequence[list[int]], **options: Any) -> Run:
        """Prepare to continue token ids."""
        ...


class Conversation:
    """Messages, and the keys and values of what the model has read of them.

    An answer is what `model.generate` gives for `chat_prompt` of the messages; the prompt's part
    that was read for an earlier answer is not read again. Answer number i draws as text i of a
    batch does.
    """

    def __init__(
        self,
        model: ChatModel,
        template: Template,
        *,
        system: str | None = None,
        messages: Sequence[Message] = (),
        trim: bool = False,
        **options: Any,
    ) -> None:
        """Begin, or go on from `messages`. `options` are the fields of `GenerationOptions`.

        `trim` forgets the oldest exchanges where the context is too short for all; without it, that
        is a UsageError. Raises UsageError for a template that the vocabulary lacks the marks of.
        """
        if model.tokenizer is None:
            raise UsageError("the model's folder has no tokenizer, and a conversation is text")
        self._tokenizer, self._model, self._template = model.tokenizer, model, template
        self.system, self.messages, self._trim = system, list(messages), trim
        own: dict[str, Any] = {
            "stop": [*options.pop("stop", ()), *template.end_strings],
            "stop_tokens": end_ids(self._tokenizer, template),
        }
        self._options = GenerationOptions(**options, **own)
        self.seed = secrets.randbits(32) if self._options.seed is None else self._options.seed
        context = self._options.context
        self.context = model.config.max_seq_len if context is None else context
        self._given = options | own | {"seed": self.seed}
        self._answers = 0
        self._run: Run | None = None

    @property
    def last(self) -> Generation | None:
        """The last answer, whole or not, with its numbers."""
        return None if self._run is None else self._run.results()[0]

    def say(self, text: str) -> Iterator[str]:
        """Say something; yield the answer piece by piece.

        However that ends, what was answered until then is kept; where nothing was, the question
        is forgotten. Raises UsageError where the conversation fills the context.
        """
        self.messages.append({"role": "user", "content": text})
        answer = ""
        try:
            for piece in self._answer():
                # A template's space before the answer is none of the answer's.
                piece = piece if answer else piece.lstrip()
                answer += piece
                yield piece
        finally:
            if answer:
                self.messages.append({"role": "assistant", "content": answer})
            else:
                self.messages.pop()

    def again(self) -> Iterator[str]:
        """Forget the last answer and answer anew. Raises UsageError where there is none."""
        if not self.messages:
            raise UsageError("there is no answer yet to try again")
        question = self.messages[-2]["content"]
        del self.messages[-2:]
        return self.say(question)

    def reset(self) -> None:
        """Forget what was said, but not the system message."""
        self.messages.clear()

    def _answer(self) -> Iterator[str]:
        run = self._model.run([self._fitting_prompt()], **self._given)
        run.rows[0].rng = rng_for(self.seed, self._answers)
        if self._run is not None:
            run.resume(self._run)
        self._run, self._answers = run, self._answers + 1
        return (piece for _, piece in run)

    def _fitting_prompt(self) -> list[int]:
        """Return the prompt, without the oldest exchanges where it has to be trimmed."""
        room = min(self._options.max_tokens, self.context // 2)
        while True:
            prompt = self._prompt()
            if len(prompt) >= self.context and not self._trim and len(self.messages) > 1:
                raise UsageError(
                    f"the conversation has {len(prompt)} tokens and the context {self.context}: no "
                    f"room for an answer; --trim forgets the oldest messages, /reset all of them"
                )
            if len(prompt) + room <= self.context or not self._trim or len(self.messages) == 1:
                return prompt
            del self.messages[:2]

    def _prompt(self) -> list[int]:
        own = [] if self.system is None else [{"role": "system", "content": self.system}]
        return chat_prompt(self._tokenizer, self._template, [*own, *self.messages])
