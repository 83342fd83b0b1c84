"""Whole recurrent language models against the same of PyTorch, whose files they also read."""

import numpy as np
import pytest

import tinyllm
from tiny_recurrent import tiny_recurrent
from tinyllm.checkpoints import write_checkpoint
from tinyllm.models.recurrent_config import recurrent_shapes, write_recurrent_config

torch = pytest.importorskip("torch")
nn = torch.nn
pytestmark = pytest.mark.parity

KINDS = {
    "rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU,
    "rnn_relu": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
}  # fmt: skip


class LanguageModel(nn.Module):
    """The module that the names of parameters come from."""

    def __init__(self, config):
        super().__init__()
        E, D, V = config.d_embed, config.d_model, config.vocab_size
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(V, E)
        self.model.rnn = KINDS[config.family](E, D, config.n_layers, batch_first=True)
        self.lm_head = nn.Linear(D, V, bias=False)
        if config.tie_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, tokens):
        return self.lm_head(self.model.rnn(self.model.embed_tokens(tokens))[0])


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", KINDS)
def test_logits_and_all_gradients_of_a_saved_state_dict(tmp_path, family, tied):
    config = tiny_recurrent(family, d_embed=5 if tied else 4, tie_embeddings=tied, n_layers=3)
    torch.manual_seed(0)
    peer = LanguageModel(config).double()
    named = {name: p.detach().numpy() for name, p in peer.named_parameters()}
    assert {name: p.shape for name, p in named.items()} == recurrent_shapes(config)
    write_checkpoint(tmp_path, write_recurrent_config(config, "float64"), named)
    model = tinyllm.load(tmp_path, dtype="float64")

    tokens, targets = np.random.default_rng(1).integers(0, 11, (2, 3, 7))
    logits = peer(torch.tensor(tokens))
    np.testing.assert_allclose(model.forward(tokens), logits.detach().numpy(), atol=1e-13)
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(targets).flatten())
    loss.backward()
    ours, grads = model.loss_and_grads(tokens, targets)
    assert ours == pytest.approx(loss.item(), rel=1e-13)
    for name, p in peer.named_parameters():
        wanted = p.grad.numpy()
        assert np.abs(grads[name] - wanted).max() <= 1e-12 * np.abs(wanted).max(), name
