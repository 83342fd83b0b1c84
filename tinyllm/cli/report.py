"""What can be said of an answer beside its text: numbers for a person, or all of it as JSON."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tinyllm.cli.terminal import peak_memory, speed

if TYPE_CHECKING:
    from tinyllm.inference.generation import Generation
    from tinyllm.tokenizers import Tokenizer


def stats_line(results: Sequence["Generation"]) -> str:
    """Say how fast a batch went and how to repeat it, in one line."""
    read, drawn = (
        sum(result.prompt_tokens for result in results),
        sum(len(result.tokens) for result in results),
    )
    timings, reasons = results[0].timings, dict.fromkeys(r.finish_reason for r in results)
    parts = [
        f"prompt {read} tok{speed(read, timings.prompt_seconds)}",
        # The first token of each comes out of the prompt's pass.
        f"generated {drawn} tok{speed(drawn - len(results), timings.decode_seconds)}",
        f"peak {peak_memory()}" if peak_memory() else "",
        f"seed {results[0].seed}",
        f"stop: {', '.join(reasons)}",
    ]
    return " · ".join(part for part in parts if part)


def json_line(result: "Generation", *, sample: int, prompt: str, prompt_ids: Sequence[int]) -> str:
    """Return one sample as a JSON object in one line; the seconds are those of its batch."""
    fields: dict[str, Any] = {
        "sample": sample,
        "text": result.text,
        "tokens": result.tokens,
        "finish_reason": result.finish_reason,
        "seed": result.seed,
        "prompt": prompt,
        "prompt_ids": list(prompt_ids),
        "prompt_tokens": result.prompt_tokens,
        "prompt_seconds": round(result.timings.prompt_seconds, 6),
        "decode_seconds": round(result.timings.decode_seconds, 6),
        "prompt_tokens_per_second": _rate(result.prompt_tokens, result.timings.prompt_seconds),
        "tokens_per_second": _rate(len(result.tokens) - 1, result.timings.decode_seconds),
    }
    if result.logprobs is not None:
        fields["logprobs"] = [
            {"token": step.token, "logprob": step.logprob, "top": step.top}
            for step in result.logprobs
        ]
    return json.dumps(fields, ensure_ascii=False)


def prompt_lines(tokenizer: "Tokenizer | None", ids: Sequence[int]) -> list[str]:
    """Show what a model reads: the ids, and the text with its special tokens."""
    lines = [f"prompt: {len(ids)} tokens: {' '.join(map(str, ids))}"]
    if tokenizer is not None:
        marks = {id_: mark.encode() for mark, id_ in tokenizer.special_tokens.items()}
        text = b"".join(marks.get(id_) or tokenizer.token_bytes(id_) for id_ in ids)
        lines.append(f"prompt: {text.decode('utf-8', 'replace')!r}")
    return lines


def _rate(tokens: int, seconds: float) -> float | None:
    return round(tokens / seconds, 2) if tokens > 0 and seconds > 0 else None
