"""Text to token ids and back, as the checkpoint that the tokenizer belongs to expects it.

    text ──literals──► normalize ──► pretokenize ──► model ──► ids ──► bytes of each ──► text

`tokenizer` is that line; each kind of file has a reader that fills it in, and each kind of model a
file of its own. `load_tokenizer` looks at what a file is, and needs no flag.
"""

from tinyllm.tokenizers.byte_level_training import train_byte_level_bpe
from tinyllm.tokenizers.llama2c import write_llama2c_tokenizer
from tinyllm.tokenizers.loading import has_tokenizer, load_tokenizer
from tinyllm.tokenizers.stream import DecoderStream
from tinyllm.tokenizers.tokenizer import Tokenizer, check_rows

__all__ = [
    "DecoderStream",
    "Tokenizer",
    "check_rows",
    "has_tokenizer",
    "load_tokenizer",
    "train_byte_level_bpe",
    "write_llama2c_tokenizer",
]
