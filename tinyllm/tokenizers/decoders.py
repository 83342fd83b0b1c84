"""tokenizer.json's decoder for BPE with byte fallback, the only one that is read and written."""

from typing import Any

from tinyllm.tokenizers.byte_fallback import SPACE


def decoders(drops_space: bool) -> list[dict[str, Any]]:
    """Describe what `Tokenizer.decode` does: spaces for ▁, bytes joined, a space less in front."""
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if drops_space:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return steps
