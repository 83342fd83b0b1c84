"""transformers and tinyllm read each other's folders."""

import numpy as np
import pytest

from checkpoints.llama_files import llama
from tinyllm.checkpoints import check_plan, read_config, read_weights, write_checkpoint

pytestmark = pytest.mark.parity


@pytest.fixture
def small_llama():
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        hidden_size=8, intermediate_size=6, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, vocab_size=7, head_dim=6, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(config).to(torch.bfloat16)


@pytest.mark.parametrize("max_shard_size", ["1GB", "1KB"], ids=["one file", "shards"])
def test_what_transformers_saves_is_read(tmp_path, small_llama, max_shard_size):
    small_llama.save_pretrained(tmp_path, max_shard_size=max_shard_size)
    tensors = read_weights(tmp_path)
    state = small_llama.state_dict()
    check_plan({name: tuple(tensor.shape) for name, tensor in state.items()}, tensors, "x")
    for name, tensor in state.items():
        np.testing.assert_array_equal(tensors[name].astype(np.float32), tensor.float().numpy())
    assert read_config(tmp_path)["hidden_size"] == 8


@pytest.mark.parametrize("max_shard_bytes", [10**9, 500], ids=["one file", "shards"])
def test_what_is_written_transformers_loads(tmp_path, small_llama, max_shard_bytes):
    import transformers

    config, tensors = llama(tied=False)
    write_checkpoint(tmp_path, config, tensors, max_shard_bytes=max_shard_bytes)
    loaded = transformers.LlamaForCausalLM.from_pretrained(tmp_path).state_dict()
    assert loaded.keys() == tensors.keys()
    for name, tensor in loaded.items():
        np.testing.assert_array_equal(tensor.float().numpy(), tensors[name])
