"""The token that hides another, for models that are asked what it hides."""

from tinyllm.errors import UsageError
from tinyllm.tokenizers.tokenizer import Tokenizer

MASKS = ("[MASK]", "<mask>")


def mask_token(tokenizer: Tokenizer) -> tuple[str, int]:
    """Return the text and the id of the mask. Raises UsageError where there is none."""
    for mask in MASKS:
        if mask in tokenizer.special_tokens:
            return mask, tokenizer.special_tokens[mask]
    raise UsageError(f"the tokenizer has no token {' or '.join(MASKS)}")
