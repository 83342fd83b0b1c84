"""A small vocabulary made here, in each of the formats on disk, so that tests need no files."""

import json
import struct

from tinyllm.tokenizers.byte_fallback import BYTE_PIECES

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
HEAD = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
BYTES = [(piece, 0.0, BYTE) for piece in BYTE_PIECES]
WORDS = ["▁t", "he", "▁the", "aa", "▁▁", "aaaa", "▁a", "in", "▁in", "er", "ab", "▁▁▁▁", "bc", "éé"]
WORDS += ["ab▁", "▁th", "<s", "s>"]
CHARACTERS = list("▁theabinrsé<>世")
TEXT_PIECES = [(piece, -float(i), NORMAL) for i, piece in enumerate(WORDS + CHARACTERS)]
PIECES = HEAD + BYTES + TEXT_PIECES
ALPHABET = "theabinrs <>/▁é世 \n\t\0x😀\u0301"  # for texts: pieces, and what is none


def id_of(piece):
    return [name for name, _, _ in PIECES].index(piece)


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    """One Protocol Buffers field: an integer, a float, or bytes and text with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def message(fields):
    return b"".join(field(number, value) for number, value in fields.items())


def sentencepiece_bytes(pieces=PIECES, trainer=None, normalizer=None, denormalizer=None):
    """A tokenizer.model; the parts are given by field number, over usual values."""
    content = b"".join(field(1, message({1: p, 2: s, 3: t})) for p, s, t in pieces)
    content += field(2, message({3: 2, 35: 1, 40: 0, 41: 1, 42: 2} | (trainer or {})))
    content += field(3, message({1: "identity", 3: 1, 4: 0, 5: 1} | (normalizer or {})))
    return content + (field(5, message(denormalizer)) if denormalizer else b"")


def llama2c_bytes(pieces=PIECES):
    """A tokenizer.bin."""
    names = {"<s>": "\n<s>\n", "</s>": "\n</s>\n"}
    texts = [names.get(p, p).replace("▁", " ").encode() for p, _, _ in pieces]
    records = [
        struct.pack("<fi", score, len(text)) + text
        for text, (_, score, _) in zip(texts, pieces, strict=True)
    ]
    return struct.pack("<i", max(map(len, texts))) + b"".join(records)


LEGACY_NORMALIZER = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ],
}
DECODER = {
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ],
}
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [
        {"SpecialToken": {"id": "<s>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
}


def added_token(content, id_, special=True, normalized=False, **flags):
    plain = {"single_word": False, "lstrip": False, "rstrip": False}
    own = {"id": id_, "content": content, "special": special, "normalized": normalized}
    return plain | own | flags


def metaspace(scheme, split):
    return {
        "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split,
    }  # fmt: skip


def tokenizer_dict(model=None, **parts):
    """A tokenizer.json as Llama-2's repositories have it; arguments replace its parts."""
    ids = {piece: i for i, (piece, _, _) in enumerate(PIECES)}
    merges = [
        [word[:cut], word[cut:]]
        for word in WORDS
        for cut in reversed(range(1, len(word)))
        if word[:cut] in ids and word[cut:] in ids
    ]
    own = {
        "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "vocab": ids,
        "merges": merges,
    }  # fmt: skip
    added = [added_token(piece, i) for i, (piece, _, _) in enumerate(HEAD)]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": LEGACY_NORMALIZER, "pre_tokenizer": None, "post_processor": TEMPLATE,
        "decoder": DECODER,
    } | parts | {"model": own | (model or {})}  # fmt: skip


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return path
