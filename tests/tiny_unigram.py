"""Small Unigram and WordPiece vocabularies made here, and a map of characters, without any file."""

from itertools import count

from tiny_vocabulary import BYTES, CONTROL, NORMAL, UNKNOWN, added_token, sentencepiece_bytes

HEAD = [("<pad>", 0.0, CONTROL), ("</s>", 0.0, CONTROL), ("<unk>", 0.0, UNKNOWN)]  # as T5 has it
WORDS = ["▁the", "▁", "the", "▁t", "he", "t", "h", "e", "a", "ab", "abc", "b", "c", "bc", "ing"]
SCORES = [-2.0, -2.5, -4.0, -3.0, -3.5, -5.0, -5.5, -4.5, -4.0, -6.0, -9.0, -4.25, -5.0, -8.5, -3.0]
PIECES = HEAD + [(word, score, NORMAL) for word, score in zip(WORDS, SCORES)]
WITH_BYTES = PIECES + BYTES
# Of which an unknown character is worth more than one cut, and less than another.
SCARCE = ["qr", "st", "uv", "uw"]
SCARCE_PIECES = [
    *HEAD,
    *((piece, -9.0, NORMAL) for piece in SCARCE),
    *[("▁", -1.0, NORMAL), ("rs", -4.25, NORMAL), ("tuv", -4.25, NORMAL), ("tuw", -3.25, NORMAL)],
]
SCARCE_CUTS = {"qrstuv": ["▁", "qr", "st", "uv"], "qrstuw": ["▁", "<unk>", "rs", "tuw"]}
# Of which float64 takes the whole, and float32 loses half a point between the parts.
ROUNDED_PIECES = [
    *HEAD,
    *[("abc", -8388609.0, NORMAL), ("a", -8388608.0, NORMAL)],
    *[("b", -0.5, NORMAL), ("c", -0.5, NORMAL)],
]
RULES = {
    "\t": " ", "Ａ": "a", "ﬁ": "fi", "a\u0301": "á", "ª": "a", "\x01": "", "\u3000": " ",
    "½": "1 2", "é\u0301": "e", "\r": " ", "x\u0301\u0327": "b",
}  # fmt: skip
ALPHABET = "theabcing  ▁\tＡﬁª\x01½x\u0301\u0327é世\r\n"


def character_map_bytes(rules=None):
    """A precompiled_charsmap of the rules: a trie laid out as a double array, and the texts."""
    texts = bytearray()
    root = {}
    for key, text in (RULES if rules is None else rules).items():
        node = root
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[0] = len(texts)
        texts += text.encode() + b"\0"
    units, bases = {0: 0}, set()

    def lay(node, place):
        free = (b for b in count(1) if b not in bases)  # or two nodes would share their children
        base = next(b for b in free if all(b ^ label not in units for label in node))
        bases.add(base)
        assert base ^ place < 2**21
        units[place] |= (base ^ place) << 10 | (256 if 0 in node else 0)
        for label in node:
            units[base ^ label] = label
        for label, child in node.items():
            if label:
                lay(child, base ^ label)
            else:
                units[base] = child | 2**31

    lay(root, 0)
    trie = b"".join(units.get(i, 0).to_bytes(4, "little") for i in range((max(units) | 255) + 1))
    return len(trie).to_bytes(4, "little") + trie + bytes(texts)


def unigram_bytes(pieces=PIECES, trainer=None, normalizer=None):
    """A spiece.model: Unigram, with the rules above unless the normalizer says otherwise."""
    own = {
        3: 1,
        35: int(any(kind == 6 for _, _, kind in pieces)),
        40: 2,
        41: -1 % 2**64,
        42: 1,
        43: 0,
    }
    usual = {2: character_map_bytes(), 3: 1, 4: 1, 5: 1}
    return sentencepiece_bytes(pieces, own | (trainer or {}), usual | (normalizer or {}))


def unigram_dict(pieces=PIECES, model=None, **parts):
    """A tokenizer.json of the same vocabulary."""
    own = {
        "type": "Unigram", "unk_id": 2, "byte_fallback": False,
        "vocab": [[piece, score] for piece, score, _ in pieces],
    }  # fmt: skip
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [added_token(piece, i) for i, (piece, _, _) in enumerate(HEAD)],
        "normalizer": None, "pre_tokenizer": metaspace, "post_processor": None,
        "decoder": metaspace,
    } | parts | {"model": own | (model or {})}  # fmt: skip


BERT_PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "un", "##aff", "##able", "a"]
BERT_PIECES += [
    "##a",
    "##b",
    "wor",
    "##ld",
    "world",
    "!",
    "'",
    "s",
    "'s",
    "n't",
    "世",
    "e",
    "é",
    ".",
]


def vocab_txt(pieces=BERT_PIECES):
    return "".join(f"{piece}\n" for piece in pieces).encode()


def wordpiece_dict(model=None, **parts):
    """A tokenizer.json as BERT's repositories have it; arguments replace its parts."""
    own = {
        "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": {p: i for i, p in enumerate(BERT_PIECES)},
    }  # fmt: skip
    framed = [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
    ]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [added_token(piece, i) for i, piece in enumerate(BERT_PIECES[:5])],
        "normalizer": {
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
            "strip_accents": None, "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing", "single": framed, "pair": framed,
            "special_tokens": {
                name: {"id": name, "ids": [i], "tokens": [name]}
                for name, i in [("[CLS]", 2), ("[SEP]", 3)]
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
    } | parts | {"model": own | (model or {})}  # fmt: skip
