"""The protocols: which tokens are scored, and with how much before them."""

from hypothesis import given
from hypothesis import strategies as st

from evaluation.small_models import TEXT, tokenizer
from tinyllm.evaluation.windows import (
    chunk_windows,
    document_window,
    encode_text,
    stride_windows,
)

lengths, contexts = st.integers(2, 60), st.integers(2, 20)


def text(length):
    """Tokens that are their own places; the i-th stands for i bytes."""
    return list(range(length)), list(range(length))


def scored(window):
    return list(window.tokens[len(window.tokens) - window.scored :])


@given(lengths, contexts)
def test_chunks_are_whole_blocks_and_score_all_but_their_first_token(length, context):
    windows = chunk_windows(text(length), context)
    if length < context:
        assert [list(w.tokens) for w in windows] == [list(range(length))]
    else:
        assert [len(w.tokens) for w in windows] == [context] * (length // context)
        assert [t for w in windows for t in w.tokens] == list(range(length // context * context))
    for window in windows:
        assert scored(window) == list(window.tokens[1:])
        assert window.n_bytes == sum(window.tokens[1:])


@given(lengths, contexts, st.data())
def test_a_stride_scores_every_token_once_with_enough_before_it(length, context, data):
    stride = data.draw(st.integers(1, context))
    windows = stride_windows(text(length), context, stride)
    assert [t for w in windows for t in scored(w)] == list(range(1, length))
    for window in windows:
        tokens = list(window.tokens)
        assert tokens == list(range(tokens[0], tokens[0] + len(tokens)))
        assert len(tokens) - 1 <= context, "what the model reads"
        assert window.n_bytes == sum(scored(window))
        for token in scored(window):
            before = token - tokens[0]
            assert min(token, context - stride + 1) <= before <= context


@given(lengths, contexts)
def test_a_stride_of_the_context_is_chunks_and_the_first_token_of_each(length, context):
    chunks = chunk_windows(text(length), context)
    strides = stride_windows(text(length), context, context)
    for chunk, window in zip(chunks, strides):
        assert window.tokens[0] == chunk.tokens[0]
        assert set(scored(window)) - set(scored(chunk)) <= {chunk.tokens[-1] + 1}


@given(st.integers(1, 30), contexts)
def test_a_document_is_cut_at_the_context(length, context):
    window = document_window(text(length), context)
    assert list(window.tokens) == list(range(min(length, context)))
    assert window.scored == len(window.tokens) - 1
    assert window.n_bytes == sum(window.tokens[1:])


@given(st.text() | st.just(TEXT), st.booleans(), st.booleans())
def test_tokens_stand_for_the_bytes_of_the_text(some, bos, eos):
    tokens, sizes = encode_text(tokenizer(), some, bos=bos, eos=eos)
    assert len(tokens) == len(sizes)
    assert sum(sizes) == len(some.encode())
    assert (sizes[:1] == [0]) == (bos or (eos and not some))


def test_a_space_that_is_no_text_counts_no_byte(loaded_llama):
    tokens, sizes = encode_text(loaded_llama, "the the", bos=True, eos=True)
    assert [loaded_llama.token_bytes(t) for t in tokens] == [b"", b" the", b" the", b""]
    assert sizes == [0, 3, 4, 0]
