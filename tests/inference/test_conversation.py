"""tinyllm.inference.conversation: an answer is the library's, and nothing is read twice."""

from contextlib import closing
from types import SimpleNamespace

import pytest

from tiny import random_params, tiny_config
from tinyllm.backend import get_backend
from tinyllm.errors import UsageError
from tinyllm.inference import reader, session
from tinyllm.inference.conversation import Conversation
from tinyllm.inference.templates import Template, chat_prompt
from tinyllm.model import Model


class Letters:
    """A tokenizer whose id i is the i-th letter."""

    alphabet = "^abcdefghi."
    vocab_size, bos_id, eos_id, add_bos, special_tokens = 11, 0, None, True, {"<s>": 0}

    def encode(self, text, bos=False):
        return [0] * bos + [self.alphabet.index(letter) for letter in text]

    def stream(self, at_start=True):
        return SimpleNamespace(push=self.alphabet.__getitem__, flush=lambda: "")


def model(tokenizer=True, **changes):
    config = tiny_config(**{"vocab_size": 11, **changes})
    tokenizer = Letters() if tokenizer else None
    return Model(config, random_params(config), xp=get_backend("numpy"), tokenizer=tokenizer)


def _layout(_, system, exchanges):
    text = system or ""
    for question, answer in exchanges:
        text += question + "." + (f"{answer}." if answer is not None else "")
    yield text


TEMPLATE = Template(name="dots", layout=_layout)
GREEDY = {"temperature": 0, "max_tokens": 5, "seed": 1}


def talk(**options):
    config = {k: options.pop(k) for k in ("max_seq_len", "window") if k in options}
    return Conversation(
        model(max_seq_len=config.pop("max_seq_len", 200), **config), TEMPLATE, **GREEDY | options
    )


def said(answer):
    return "".join(answer)


@pytest.fixture
def scored(monkeypatch):
    """The number of tokens that readers run, call by call."""
    counts = []

    def counted(run):
        def counting(xp, tokens, *rest, **options):
            counts.append(tokens.shape[1])
            return run(xp, tokens, *rest, **options)

        return counting

    for name in ("prefill", "hidden_states"):
        monkeypatch.setattr(reader, name, counted(getattr(reader, name)))
    return counts


def test_an_answer_is_what_the_library_gives_for_the_messages():
    conversation = talk(system="f", temperature=1.5)
    texts = [said(conversation.say(text)) for text in ("ab", "c", "de")]
    assert [m["role"] for m in conversation.messages] == ["user", "assistant"] * 3
    prompt = chat_prompt(conversation._tokenizer, TEMPLATE, [
        {"role": "system", "content": "f"}, *conversation.messages[:1],
    ])  # fmt: skip
    first = model(max_seq_len=200).generate(prompt, temperature=1.5, max_tokens=5, seed=1)
    assert first.text.lstrip() == texts[0]
    assert conversation.last.prompt_tokens > first.prompt_tokens


def test_only_new_tokens_are_computed(scored):
    """An answer's last token was drawn and never read; behind it comes the new question."""
    conversation = talk()
    answer = said(conversation.say("ab"))
    assert len(answer) == 5  # so that encoding it again gives what was drawn
    before = len(scored)
    said(conversation.say("c"))
    assert scored[:5] == [3, 1, 1, 1, 1]  # ab. and four of the five tokens drawn
    assert scored[before] == 1 + len(".c.")


@pytest.mark.parametrize("window", [None, 3, 30])
def test_what_is_kept_changes_no_answer(window):
    conversation = talk(temperature=1.0, window=window)
    fresh = talk(temperature=1.0, window=window, use_cache=False)
    for text in ("ab", "c", "ddddd", "", "fa"):
        assert said(conversation.say(text)) == said(fresh.say(text))
        assert conversation.last.tokens == fresh.last.tokens
    conversation.system = fresh.system = "abc"
    assert said(conversation.say("e")) == said(fresh.say("e"))
    for talked in (conversation, fresh):
        talked.reset()
    assert said(conversation.say("e")) == said(fresh.say("e"))


def test_each_answer_draws_anew_and_a_seed_repeats_them_all():
    first, again = (talk(temperature=2.0) for _ in range(2))
    for conversation in (first, again):
        said(conversation.say("a"))
        said(conversation.again())
    assert first.messages == again.messages
    assert len(first.messages) == 2
    other = talk(temperature=2.0)
    assert said(other.say("a")) != first.messages[1]["content"]


def test_an_answer_that_is_stopped_is_kept_as_far_as_it_went():
    conversation = talk(max_tokens=50)
    with closing(conversation.say("ab")) as answer:
        pieces = next(answer) + next(answer) + next(answer)
    assert conversation.messages[1:] == [{"role": "assistant", "content": pieces}]
    assert said(conversation.say("c")) == said(
        talk(max_tokens=50, messages=conversation.messages[:2], use_cache=False).say("c")
    )


def test_a_question_that_nothing_answers_is_forgotten():
    conversation = talk(max_tokens=0)
    assert said(conversation.say("ab")) == ""
    assert conversation.messages == []
    with pytest.raises(UsageError, match="no answer yet"):
        conversation.again()


def test_ctrl_c_while_the_prompt_is_read_forgets_the_question(monkeypatch):
    conversation = talk()
    said(conversation.say("ab"))
    kept = list(conversation.messages)

    def interrupt(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(session.Session, "prefill", interrupt)
        with pytest.raises(KeyboardInterrupt):
            said(conversation.say("c"))
    assert conversation.messages == kept
    assert said(conversation.say("c")) == said(talk(messages=kept, use_cache=False).say("c"))


class TestContext:
    def test_a_full_context_is_an_error_and_keeps_the_conversation(self):
        conversation = talk(max_seq_len=20)
        said(conversation.say("ab"))
        kept = list(conversation.messages)
        with pytest.raises(UsageError, match="the context 20"):
            said(conversation.say("c" * 20))
        assert conversation.messages == kept

    def test_trimming_forgets_the_oldest_exchanges(self):
        conversation = talk(max_seq_len=30, trim=True, system="f")
        for letter in "abcdeabcde":
            said(conversation.say(letter * 3))
            assert conversation.last.prompt_tokens + 5 <= 30
            assert conversation.messages[-2]["content"] == letter * 3
        assert len(conversation.messages) < 10
        assert conversation.system == "f"

    def test_trimming_cannot_shorten_one_message(self):
        with pytest.raises(UsageError, match="the context 30"):
            said(talk(max_seq_len=30, trim=True).say("c" * 30))

    def test_the_answer_may_take_half_of_a_small_context(self):
        conversation = talk(max_seq_len=30, trim=True, max_tokens=1000)
        for letter in "abcd":
            said(conversation.say(letter))
        assert conversation.last.finish_reason == "length"


def test_a_template_ends_the_answer_and_its_space_is_none_of_it():
    free = talk(max_tokens=15)
    text = said(free.say("ab"))
    ending = Template(name="x", layout=_layout, end_strings=(text[2:4],), end_tokens=("<s>",))
    conversation = Conversation(model(max_seq_len=200), ending, **GREEDY | {"max_tokens": 15})
    assert said(conversation.say("ab")) == text[: text.index(text[2:4])]
    assert conversation.last.finish_reason == "stop"


def test_a_model_without_a_tokenizer_cannot_talk():
    with pytest.raises(UsageError, match="no tokenizer"):
        Conversation(model(tokenizer=False), TEMPLATE)


def test_options_are_checked_at_once():
    with pytest.raises(UsageError, match="max_tokens is -1"):
        talk(max_tokens=-1)
