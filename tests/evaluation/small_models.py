"""Models to judge: random ones with a tokenizer made here, and tables of known numbers."""

from functools import cache

import numpy as np

import tinyllm_numpy
from tiny import random_params, tiny_config
from tinyllm.evaluation.scoring import target_logprobs
from tinyllm.model import Model
from tinyllm.ops.losses import IGNORED
from tinyllm.tokenizers import train_byte_level_bpe

TEXT = "the cat and the hat, the bat and the rat: that is what the cat sat at. é世😀\n"


@cache
def tokenizer(bos="<s>"):
    special = ["<s>", "</s>"]
    return train_byte_level_bpe([TEXT], 270, special_tokens=special, bos=bos, eos="</s>")


def random_model(bos="<s>", dtype=np.float64, tokens=True, **changes):
    config = tiny_config(**{"vocab_size": 270, "max_seq_len": 64} | changes)
    params = random_params(config, dtype=dtype)
    return Model(config, params, xp=tinyllm_numpy, tokenizer=tokenizer(bos) if tokens else None)


class TableModel:
    """The next token depends on this one alone: logits = table[token] + shift · position."""

    def __init__(self, table, shift=0.0, bos="<s>"):
        self.config, self.xp = tiny_config(vocab_size=270, max_seq_len=64), tinyllm_numpy
        self.tokenizer, self.table, self.shift = tokenizer(bos), table, shift

    def logprobs(self, tokens, targets):
        assert tokens.shape == targets.shape
        assert tokens.shape[1] <= self.config.max_seq_len
        assert ((targets == IGNORED) | (targets >= 0)).all()
        hidden = self.table[tokens] + self.shift * np.arange(tokens.shape[1])[:, None]
        return target_logprobs(tinyllm_numpy, hidden, targets, lambda rows: rows, 270)
