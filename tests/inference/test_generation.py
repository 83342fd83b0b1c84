"""tinyllm.inference.generation and the generating half of tinyllm.model"""

import numpy as np
import pytest

from tiny import random_params, tiny_config
from tinyllm.backend import get_backend
from tinyllm.errors import TinyllmError, UsageError
from tinyllm.inference.generation import rng_for, token_logprobs
from tinyllm.model import Model
from tinyllm.models.positions import Learned

XP = get_backend("numpy")
CONFIG = tiny_config(vocab_size=11, max_seq_len=20)


class Letters:
    """A tokenizer whose id i is the i-th of eleven bytes; é takes two of them."""

    alphabet = (b"", b"a", b"b", b"c", b"d", b"e", b"f", b"\xc3", b"\xa9", b" ", b".")
    vocab_size, bos_id, eos_id, add_bos, special_tokens = 11, 0, None, True, {"<s>": 0}

    def encode(self, text, bos=False):
        return [0] * bos + [self.alphabet.index(bytes([b])) for b in text.encode()]

    def stream(self, at_start=True):
        import codecs

        utf8 = codecs.getincrementaldecoder("utf-8")("replace")

        class Stream:
            push = staticmethod(lambda token: utf8.decode(Letters.alphabet[token]))
            flush = staticmethod(lambda: utf8.decode(b"", final=True))

        return Stream()


def model(tokenizer=True, eos_ids=(), seed=0, **changes):
    config = tiny_config(**{"vocab_size": 11, "max_seq_len": 20, **changes})
    return Model(
        config, random_params(config, seed), xp=XP, tokenizer=Letters() if tokenizer else None,
        eos_ids=eos_ids,
    )  # fmt: skip


def test_the_same_seed_gives_the_same_text_and_another_another():
    first, again, other = (model().generate("ab", max_tokens=15, seed=s) for s in (5, 5, 6))
    assert first.tokens == again.tokens
    assert first.text == again.text
    assert first.tokens != other.tokens
    assert first.seed == 5


def test_a_seed_that_was_not_given_is_named_and_repeats_the_text():
    first = model().generate("ab", max_tokens=10)
    assert model().generate("ab", max_tokens=10, seed=first.seed).tokens == first.tokens


def test_sequence_i_of_a_batch_draws_as_it_does_in_any_batch():
    prompts = ["ab", "c", "defab", ""]
    batch = model().generate_batch(prompts, max_tokens=8, seed=3)
    assert batch[0].tokens == model().generate(prompts[0], max_tokens=8, seed=3).tokens
    pair = model().generate_batch([prompts[0], prompts[1]], max_tokens=8, seed=3)
    assert [g.tokens for g in pair] == [g.tokens for g in batch[:2]]
    assert rng_for(3, 0).random() != rng_for(3, 1).random()


def test_streamed_pieces_join_to_the_text_and_none_is_broken():
    for seed in range(8):
        pieces = list(model().stream("ab", max_tokens=15, seed=seed, temperature=3.0))
        whole = model().generate("ab", max_tokens=15, seed=seed, temperature=3.0)
        assert "".join(pieces) == whole.text
        raw = b"".join(Letters.alphabet[t] for t in whole.tokens)
        assert whole.text == raw.decode("utf-8", "replace")


def test_with_and_without_a_cache():
    prompts = ["ab", "cdef"]
    cached = model().generate_batch(prompts, max_tokens=8, seed=1)
    anew = model().generate_batch(prompts, max_tokens=8, seed=1, use_cache=False)
    assert [g.tokens for g in cached] == [g.tokens for g in anew]


def test_any_eos_id_ends_the_text():
    free = model().generate("ab", max_tokens=15, seed=1)
    assert free.finish_reason == "length"
    ending = model(eos_ids=[free.tokens[4]]).generate("ab", max_tokens=15, seed=1)
    first = free.tokens.index(free.tokens[4])
    assert ending.finish_reason == "eos"
    assert ending.tokens == free.tokens[: first + 1]
    on = model(eos_ids=[free.tokens[4]]).generate("ab", max_tokens=15, seed=1, ignore_eos=True)
    assert on.tokens == free.tokens


def test_the_union_of_all_eos_ids():
    m = model(eos_ids=[3, 4])
    assert model(eos_ids=[3, 4]).eos_ids == {3, 4}
    with_config = Model(tiny_config(eos_ids=(5,)), m.params, xp=XP, eos_ids=[3])
    assert with_config.eos_ids == {3, 5}


def test_a_stop_string_ends_the_text_and_is_not_in_it():
    free = model().generate("ab", max_tokens=15, seed=4)
    for start in range(len(free.text) - 2):
        stop = free.text[start : start + 3]
        text = model().generate("ab", max_tokens=15, seed=4, stop=[stop])
        assert text.finish_reason == "stop"
        assert text.text == free.text[: free.text.find(stop)]
        assert "".join(model().stream("ab", max_tokens=15, seed=4, stop=[stop])) == text.text


def test_what_a_stop_string_held_back_comes_out_at_the_end():
    free = model().generate("ab", max_tokens=15, seed=4)
    stop = free.text[-2:] + "no"
    assert model().generate("ab", max_tokens=15, seed=4, stop=[stop]).text == free.text


class TestRoom:
    def test_the_text_ends_where_the_context_is_full(self):
        result = model().generate([1] * 15, max_tokens=100, seed=0)
        assert len(result.tokens) == 5
        assert result.finish_reason == "length"

    @pytest.mark.parametrize(("prompt", "tokens"), [(18, 2), (19, 1)])
    def test_just_below_the_context(self, prompt, tokens):
        assert len(model().generate([1] * prompt, seed=0).tokens) == tokens

    @pytest.mark.parametrize("prompt", [20, 21])
    def test_a_prompt_that_fills_the_context_is_refused(self, prompt):
        with pytest.raises(UsageError, match=f"prompt has {prompt} tokens and the context 20"):
            model().generate([1] * prompt)

    def test_rows_of_a_batch_have_each_their_own_room(self):
        short, long = model().generate_batch([[1] * 5, [1] * 17], max_tokens=10, seed=0)
        assert (len(short.tokens), len(long.tokens)) == (10, 3)

    def test_a_smaller_context_may_be_asked_for(self):
        assert len(model().generate([1] * 5, context=8, seed=0).tokens) == 3

    def test_no_tokens_at_all(self):
        result = model().generate("ab", max_tokens=0)
        assert (result.text, result.tokens, result.finish_reason) == ("", [], "length")

    def test_a_negative_number_is_refused(self):
        with pytest.raises(UsageError, match="max_tokens is -1"):
            model().generate("ab", max_tokens=-1)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(UsageError, match="seed is"):
        model().generate("ab", seed=seed)


def test_rows_of_the_embedding_without_a_token_are_never_drawn():
    m = model(vocab_size=40)
    for seed in range(5):
        assert max(m.generate("ab", max_tokens=15, seed=seed, temperature=10.0).tokens) < 11


def test_log_probabilities_are_the_models():
    m = model()
    result = m.generate("ab", max_tokens=5, seed=2, logprobs=3, temperature=2.0)
    assert len(result.logprobs) == 5
    logits = m.forward([m.encode_prompt("ab") + result.tokens])[0]
    for step, entry in enumerate(result.logprobs):
        scores = logits[2 + step]
        log_probs = scores - np.log(np.exp(scores - scores.max()).sum()) - scores.max()
        assert entry.token == result.tokens[step]
        assert entry.logprob == pytest.approx(log_probs[entry.token], abs=1e-10)
        assert list(entry.top) == np.argsort(-log_probs)[:3].tolist()
        assert list(entry.top.values()) == sorted(entry.top.values(), reverse=True)
    assert m.generate("ab", max_tokens=2).logprobs is None


def test_all_log_probabilities_sum_to_one():
    entry = token_logprobs(np.array([1e4, 0.0, -1e4]), 1, 3)
    assert sum(np.exp(v) for v in entry.top.values()) == pytest.approx(1.0)


def test_prompts_that_cannot_be():
    with pytest.raises(UsageError, match="has no tokenizer"):
        model(tokenizer=False).generate("ab")
    with pytest.raises(UsageError, match="the prompt is empty"):
        model().generate([])
    with pytest.raises(UsageError, match=r"no BOS comes before ids by itself: give \[0\]"):
        model().generate([])
    with pytest.raises(UsageError, match="this model has no BOS token to begin with"):
        model(tokenizer=False).generate([])
    with pytest.raises(UsageError, match="the prompt is bytes, expected a text or token ids"):
        model().generate(b"ab")
    with pytest.raises(UsageError, match="there is no prompt"):
        model().generate_batch([])
    with pytest.raises(UsageError, match=r"token id 11 .* 0 to 10"):
        model().generate([1, 11])


def test_a_model_without_a_tokenizer_continues_ids():
    result = model(tokenizer=False).generate([1, 2], max_tokens=4, seed=0)
    assert (len(result.tokens), result.text) == (4, "")


def test_damaged_weights_are_an_error():
    m = model()
    m.params["model.norm.weight"] = m.params["model.norm.weight"] * np.nan
    with pytest.raises(TinyllmError, match="NaN"):
        m.generate("ab")


def test_the_empty_prompt_is_bos_alone():
    assert model().generate("", max_tokens=1, seed=0).prompt_tokens == 1


def test_a_text_beyond_the_positions_that_there_are_is_refused_at_once():
    options = {"context": 30, "ignore_eos": True, "seed": 0}
    learned = model(positions=Learned())
    with pytest.raises(UsageError, match="may have 30 tokens, and the model learned 20 positions"):
        learned.run(["ab"], max_tokens=100, **options)
    assert len(learned.generate("ab", max_tokens=18, **options).tokens) == 18
    with pytest.warns(UserWarning, match="may have 30 tokens, and the model was made for 20"):
        assert len(model().generate("ab", max_tokens=100, **options).tokens) == 27
