"""Weights that others trained: textgenrnn's two LSTM layers read titles as they were trained to.

That model (Max Woolf's textgenrnn, on Keras) is not one of tinyllm's: it scores a character by a
weighted mean over all positions of the embedding and both layers. So what is its own stands here,
and what is under test is the LSTM, whose weights come in cuDNN's layout.
"""

import json

import numpy as np

import tinyllm_numpy as xp
from conftest import data
from tinyllm.ops.recurrent import LSTM, recurrent_forward
from tinyllm.ops.softmax import log_softmax_forward, softmax_forward

CONTEXT, BORDER = 40, "<s>"  # characters the model sees; what stands before and after a title
TITLES = [
    "How I learned to stop worrying and love the database",
    "Show HN: A simple way to build a web app in Python",
    "Why we moved from Ruby to Go",
    "Google announces new machine learning tools for developers",
    "Ask HN: What is the best way to learn to program?",
    "The state of JavaScript in 2016",
    "Facebook is working on a new search engine",
    "A visual guide to the history of the Internet",
]


def plain_layers(weights):
    """Return W_ih, W_hh and one bias of each layer.

    cuDNN has each gate of W_ih in the memory of its transpose, W_hh as PyTorch has it, and biases
    twice.
    """
    layers = []
    for i in (1, 2):
        kernel, recurrent, bias = (
            weights[f"rnn_{i}|rnn_{i}|{name}:0"] for name in ("kernel", "recurrent_kernel", "bias")
        )
        w_ih = [k.T.reshape(k.shape, order="F").T for k in np.split(kernel, 4, axis=1)]
        w_hh = np.split(recurrent, 4, axis=1)
        layers.append((np.concatenate(w_ih), np.concatenate(w_hh), bias.reshape(2, -1).sum(0)))
    return layers


def log_probs(weights, layers, ids):
    """Score every next character: ids (N, 40) -> (N, V)."""
    x = weights["embedding|embedding|embeddings:0"][ids]
    seen = [x]
    for w_ih, w_hh, bias in layers:
        D = w_hh.shape[1]
        start = np.zeros((len(ids), 2 * D), np.float32)
        y, _ = recurrent_forward(xp, seen[-1], start, w_ih, w_hh, bias, cell=LSTM)
        seen.append(y[..., :D])
    joined = np.concatenate(seen, axis=-1)  # (N, 40, 356)
    scores = joined @ weights["attention|attention|attention_W:0"]
    shares, _ = softmax_forward(xp, scores[..., 0])
    pooled = np.sum(shares[..., None] * joined, axis=1)
    logits = pooled @ weights["output|output|kernel:0"] + weights["output|output|bias:0"]
    return log_softmax_forward(xp, logits)[0]


def nats_per_character(layers_of=plain_layers, titles=TITLES):
    folder = data("models/textgenrnn-lstm")
    vocabulary = json.loads((folder / "textgenrnn_vocab.json").read_text())
    with np.load(folder / "textgenrnn_weights.npz") as file:
        weights = dict(file)
    windows, targets = [], []
    for title in titles:
        ids = [vocabulary[c] for c in (BORDER, *title, BORDER)]
        for end in range(1, len(ids)):
            before = ids[max(0, end - CONTEXT) : end]
            windows.append([0] * (CONTEXT - len(before)) + before)
            targets.append(ids[end])
    scores = log_probs(weights, layers_of(weights), np.array(windows))
    return -float(scores[np.arange(len(targets)), targets].mean())


def test_titles_cost_what_they_cost_a_trained_model():
    """1.9 nats is what the model reaches on titles of Hacker News; these are common ones."""
    assert 1.0 < nats_per_character() < 1.9


def test_another_order_of_gates_would_cost_far_more():
    def swapped(weights):
        gates = [2, 0, 1, 3]
        return [
            tuple(np.concatenate([np.split(a, 4)[g] for g in gates]) for a in layer)
            for layer in plain_layers(weights)
        ]

    assert nats_per_character(swapped) > 3
