"""What stands around a text for a model that reads one and writes another."""

from tinyllm.tokenizers.tokenizer import Tokenizer


def source_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the ids of a text that is read, in the frame that the tokenizer puts around one."""
    return tokenizer.encode(text, bos=tokenizer.add_bos, eos=tokenizer.add_eos)


def target_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the ids of a text that is written, which always ends.

    Raises TokenizerError where the vocabulary has no token for that.
    """
    return tokenizer.encode(text, bos=tokenizer.add_bos, eos=True)
