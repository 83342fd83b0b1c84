"""Llamas of published sizes with random weights: decoding and prefill beside transformers.

Speed does not need real weights. Where PyTorch is, the model is transformers', and ours has the
same memory; the scores of both are compared before anything is timed.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinyllm.decode_plan import Drawing
from tinyllm.inference.decode import CompiledReader
from tinyllm.inference.generation import AHEAD
from tinyllm.inference.reader import make_reader
from tinyllm.model import Model
from tinyllm.models.config import DecoderConfig, param_shapes
from tinyllm.models.decoder_facts import decoder_flops
from tinyllm.models.rope import Rope
from tools.gpu.machine import DTYPES, Machine, said
from tools.gpu.results import Results, Row

# d_model, d_ff, layers, heads, key heads, vocabulary, tied: of Llama 3.2 1B, Llama 3 8B
SHAPES = {
    "tiny": (32, 64, 2, 2, 1, 64, True), "1B": (2048, 8192, 16, 32, 8, 128256, True),
    "8B": (4096, 14336, 32, 32, 8, 128256, False),
}  # fmt: skip
PROMPT, TOKENS, CONTEXT = 16, 64, 8192
COMPILES = 120  # seconds that torch.compile may take


def config_of(name: str) -> DecoderConfig:
    """Return a Llama's config."""
    D, F, L, H, K, V, tied = SHAPES[name]
    return DecoderConfig(
        family="llama", vocab_size=V, d_model=D, d_ff=F, n_layers=L, n_heads=H, n_kv_heads=K,
        head_dim=D // H, max_seq_len=CONTEXT, norm_eps=1e-5, positions=Rope(theta=500000.0),
        windows=(None,) * L, tie_embeddings=tied,
    )  # fmt: skip


def llama_1b(machine: Machine, results: Results) -> Iterator[Row]:
    """Measure the small one, with torch.compile beside."""
    yield from _llama(machine, results, "tiny" if machine.dry else "1B", compiles=True)


def llama_8b(machine: Machine, results: Results) -> Iterator[Row]:
    """Measure the large one."""
    yield from _llama(machine, results, "tiny" if machine.dry else "8B", compiles=False)


def _llama(machine: Machine, results: Results, name: str, *, compiles: bool) -> Iterator[Row]:
    config, theirs = config_of(name), None
    if machine.torch is not None:
        theirs = _transformers(machine, name)
        params = {key: machine.from_torch(x) for key, x in theirs.state_dict().items()}
    else:
        params = {
            key: machine.random([*shape], "bfloat16", i) * 0.02
            for i, (key, shape) in enumerate(param_shapes(config).items())
        }
    params = {
        key: params[key] if len(shape) == 2 else machine.xp.astype(params[key], np.float32)
        for key, shape in param_shapes(config).items()
    }
    model = Model(config, params, xp=machine.xp)
    if theirs is not None:
        yield _compared(machine, name, model, theirs)
    yield from _decoded(machine, results, name, model, theirs, compiles=compiles)
    for n in (20,) if machine.dry else (1024, 4096):
        yield _prefilled(machine, results, name, model, theirs, n)


def _transformers(machine: Machine, name: str) -> Any:
    import transformers

    torch, (D, F, L, H, K, V, tied) = machine.torch, SHAPES[name]
    config = transformers.LlamaConfig(
        hidden_size=D, intermediate_size=F, num_hidden_layers=L, num_attention_heads=H,
        num_key_value_heads=K, vocab_size=V, tie_word_embeddings=tied, rms_norm_eps=1e-5,
        max_position_embeddings=CONTEXT, rope_theta=500000.0, head_dim=D // H,
        attn_implementation="sdpa",
    )  # fmt: skip
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(machine.place):
            return transformers.LlamaForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(before)


def _compared(machine: Machine, name: str, model: Model, theirs: Any) -> Row:
    """Score the same tokens by both; bfloat16 has two digits and a bit."""
    tokens = np.arange(1, 33)[None] % model.config.vocab_size
    ours = machine.xp.to_numpy(model.forward(tokens))
    with machine.torch.inference_mode():
        ids = machine.torch.from_numpy(tokens).to(machine.place)
        logits = theirs(ids).logits.float().cpu().numpy()
    error = float(np.linalg.norm(ours - logits) / np.linalg.norm(logits))
    return {"model": name, "what": "logits", "off": error, "right": error < 0.05}


def _decoded(
    machine: Machine, results: Results, name: str, model: Model, theirs: Any, *, compiles: bool
) -> Iterator[Row]:
    n = 4 if machine.dry else TOKENS
    read = _bytes_of_a_token(config_of(name), PROMPT + n // 2)
    whole = min(_generated(model, n) for _ in range(3))
    seconds = _drawn(machine, model, n)
    yield _decode_row(results, name, "ours", seconds, seconds, read)
    yield _decode_row(results, name, "ours, with making the graphs", whole, seconds, read)
    peers: dict[str, Callable[[], float]] = {}
    if theirs is not None:
        peers["transformers"] = lambda: _their_decode(machine, theirs, theirs, n, None)
    if peers and compiles and not machine.dry and results.left() > COMPILES + 60:
        peers["transformers, compiled"] = lambda: _compiled_decode(machine, theirs, n)
    for who, measure in peers.items():
        try:
            yield _decode_row(results, name, who, measure(), seconds, read)
        except Exception as error:  # of this version of transformers
            yield {"model": name, "what": f"decode, {who}", "failed": said(error)}


def _generated(model: Model, n: int) -> float:
    """Return the seconds of a token of a text: compiled kernels are loaded, and captured."""
    options: dict[str, Any] = {"max_tokens": n, "temperature": 0.0, "ignore_eos": True}
    generation = model.generate(list(range(1, PROMPT + 1)), **options)
    return generation.timings.decode_seconds / (n - 1)


def _drawn(machine: Machine, model: Model, n: int) -> float:
    """Return the seconds of a token once there is a graph: the least of three times n.

    The first draw launches, the second captures; tokens are drawn AHEAD, as `generate` does.
    """
    assert isinstance(model.config, DecoderConfig)
    taken, how = [], Drawing(
        temperature=0.0, top_k=0, top_p=1.0, min_p=0.0, vocab_size=model.config.vocab_size
    )  # fmt: skip
    for _ in range(3):
        reader = make_reader(
            machine.xp, model._packed_tree(), model.config, batch=1, capacity=PROMPT + 3 + n
        )
        reader.read(np.arange(1, PROMPT + 1)[None])
        compiled = reader.compiled()
        if compiled is None:
            raise RuntimeError("no kernels decode this model on this device")
        for _ in range(3):
            compiled.draw(1, [0.0], how)

        def loop(compiled: CompiledReader = compiled) -> None:
            for start in range(0, n, AHEAD):
                compiled.draw(1, [0.0] * min(AHEAD, n - start), how)

        taken.append(machine.seconds(loop, 1) / n)
    return min(taken)


def _decode_row(
    results: Results, name: str, who: str, seconds: float, ours: float, read: float
) -> Row:
    ceiling = results.ceilings.get("bytes/s")
    return {
        "model": name, "what": f"decode, {who}", "tok/s": 1 / seconds, "GB/s": read / seconds / 1e9,
        "of the copy": read / seconds / ceiling if ceiling else None,
        "ours / this": None if who.startswith("ours") else seconds / ours,
    }  # fmt: skip


def _compiled_decode(machine: Machine, theirs: Any, n: int) -> float:
    from transformers import StaticCache

    compiled = machine.torch.compile(theirs, mode="reduce-overhead", fullgraph=True)
    cache = StaticCache(config=theirs.config, max_cache_len=PROMPT + n + 8)
    return _their_decode(machine, theirs, compiled, n, cache)


def _their_decode(machine: Machine, model: Any, step: Callable[..., Any], n: int, kv: Any) -> float:
    """Return the seconds of a token: the least of three times n, prompts not counted."""
    torch, taken = machine.torch, []
    ids = torch.arange(1, PROMPT + 1, device=machine.place)[None]
    with torch.inference_mode():
        for _ in range(3):
            if kv is not None:
                kv.reset()
            place = {"cache_position": torch.arange(PROMPT, device=machine.place)}
            out = model(ids, past_key_values=kv, use_cache=True, **(place if kv else {}))
            cache, token = out.past_key_values, out.logits[:, -1:].argmax(-1)
            places = [torch.tensor([PROMPT + i], device=machine.place) for i in range(n - 1)]

            def loop(cache: Any = cache, token: Any = token, places: Any = places) -> None:
                for at in places:  # which are there already: to make one waits for the GPU
                    options = {"cache_position": at} if kv is not None else {}
                    if kv is not None and machine.place == "cuda":
                        torch.compiler.cudagraph_mark_step_begin()
                    found = step(token, past_key_values=cache, use_cache=True, **options)
                    token = found.logits[:, -1:].argmax(-1).clone()

            taken.append(machine.seconds(loop, 1) / (n - 1))
    return min(taken)


def _prefilled(
    machine: Machine, results: Results, name: str, model: Model, theirs: Any, n: int
) -> Row:
    config, xp, tree = config_of(name), machine.xp, model._packed_tree()
    tokens = np.arange(n)[None] % config.vocab_size

    def ours() -> Any:
        hidden = make_reader(xp, tree, config, batch=1, capacity=n).read(tokens)
        return model._kind.head(xp, hidden[:, -1, :], tree, config)[0]

    ours()
    seconds, other = machine.seconds(ours), None
    if theirs is not None:
        ids = machine.torch.from_numpy(tokens).to(machine.place)
        with machine.torch.inference_mode():
            theirs(ids, logits_to_keep=1)
            other = machine.seconds(lambda: theirs(ids, logits_to_keep=1))
    itself, before = decoder_flops(config)
    flops, ceiling = n * itself + before * n * n / 2, results.ceilings.get("bfloat16 FLOP/s")
    return {
        "model": name, "what": f"prefill {n}", "tok/s": n / seconds,
        "TFLOP/s": flops / seconds / 1e12,
        "of the product": flops / seconds / ceiling if ceiling else None,
        "ours / this": other / seconds if other else None,
    }  # fmt: skip


def _bytes_of_a_token(config: DecoderConfig, tokens: int) -> float:
    """Return what a token reads: the matrices that it passes, and keys and values before it."""
    weights = decoder_flops(config)[0] / 2 * DTYPES["bfloat16"].itemsize
    per_token = 2 * config.n_layers * config.n_kv_heads * config.head_dim
    return weights + per_token * tokens * DTYPES["bfloat16"].itemsize
