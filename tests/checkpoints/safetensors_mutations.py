"""Valid safetensors files with up to three things wrong: in values, in text or in bytes."""

import copy
import json
import random
import re

from checkpoints.safetensors_bytes import file_bytes, random_file
from tinyllm.checkpoints.dtypes import DTYPES

ODD_VALUES = [
    0, 1, -1, 2, 3, 4, 7, 8, 2**31, 2**32, 2**53, 2**62, 2**63, 2**64, 10**30, 1.0, 1.5, 1e300,
    True, False, None, "", "F32", "F16", "BOOL", "F4", "x", [], [0], [1, 1], [0, 4], {}, {"a": "b"},
    {"dtype": "U8", "shape": [], "data_offsets": [0, 1]},
]  # fmt: skip
ODD_NAMES = ["__metadata__", "", "t0", "t1", "\ud800", "\x1b[31m", "../x", "a\0b", "é", "x" * 999]
ODD_TEXT = [
    b"\x00", b"\xff", b" ", b"\n", b"\t", b"-", b"0", b"1", b"9", b".", b"e1", b'"', b"{", b"}",
    b"[", b"]", b",", b":", b"null", b"true", b"NaN", b"Infinity", b"-0", b"1.0", b"01", b"\\u0000",
    b"\\ud800", b"\\ud83d\\ude00", b"\xef\xbb\xbf", "é".encode(), b"/**/", b"[" * 200,
    b'"shape":[1],', b'"dtype":"U8",', b'"data_offsets":[0,1],',
]  # fmt: skip


def mutated_file(seed, index):
    """File `index` of a seed's endless series, the same on every machine."""
    rng = random.Random(f"{seed}/{index}")
    header, data = random_file(rng)
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        rng.choice(VALUES)(rng, header)
    compact = rng.choice([(",", ":"), (", ", ": ")])
    text = bytearray(json.dumps(header, separators=compact).encode())
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        rng.choice(TEXTS)(rng, text)
    content = bytearray(file_bytes(bytes(text), data))
    if rng.random() < 0.25:
        rng.choice(BYTES)(rng, content)
    return bytes(content)


def change_field(rng, header):
    """Put an odd value in the place of a field, or of one number in it."""
    fields = _tensor(rng, header)
    field = rng.choice(["dtype", "shape", "data_offsets"])
    value = fields.get(field)
    if isinstance(value, list) and value and rng.random() < 0.7:
        value[rng.randrange(len(value))] = _odd(rng)
    else:
        fields[field] = _odd(rng)


def drop_field(rng, header):
    fields = _tensor(rng, header)
    fields.pop(rng.choice(["dtype", "shape", "data_offsets"]), None)


def add_field(rng, header):
    _tensor(rng, header)[rng.choice(["x", "", "Shape", "crc"])] = _odd(rng)


def change_entry(rng, header):
    header[rng.choice([*header, "__metadata__", "a"])] = _odd(rng)


def copy_entry(rng, header):
    """The same bytes under a second name."""
    header[rng.choice(ODD_NAMES)] = copy.deepcopy(_tensor(rng, header))


def rename_entry(rng, header):
    if header:
        header[rng.choice(ODD_NAMES)] = header.pop(rng.choice(list(header)))


def reorder_entries(rng, header):
    items = list(header.items())
    rng.shuffle(items)
    header.clear()
    header.update(items)


def change_dtype(rng, header):
    _tensor(rng, header)["dtype"] = rng.choice([*DTYPES, "F4", "F6_E2M3", "F31", "f32", "C64"])


def change_shape(rng, header):
    """Another shape, often of as many elements."""
    shape = _tensor(rng, header).get("shape")
    if isinstance(shape, list):
        rng.shuffle(shape)
        shape[: rng.randrange(2)] = rng.choice([[], [1], [1, 1], [0], [2], [1] * 70])


def move_offsets(rng, header):
    """Move one tensor, or one end of it, by some bytes: a hole, an overlap, or another size."""
    offsets = _tensor(rng, header).get("data_offsets")
    if isinstance(offsets, list) and [type(n) for n in offsets] == [int, int]:
        shift = rng.choice([-8, -4, -2, -1, 1, 2, 4, 8, 2**32, 2**64])
        ends = rng.choice([(0,), (1,), (0, 1)])
        offsets[:] = [n + shift * (i in ends) for i, n in enumerate(offsets)]


def swap_offsets(rng, header):
    one, other = _tensor(rng, header), _tensor(rng, header)
    one["data_offsets"], other["data_offsets"] = other.get("data_offsets"), one.get("data_offsets")


def insert_text(rng, text):
    place = rng.randrange(len(text) + 1)
    text[place:place] = rng.choice(ODD_TEXT)


def delete_text(rng, text):
    place = rng.randrange(len(text) + 1)
    del text[place : place + rng.randrange(1, 4)]


def replace_text(rng, text):
    place = rng.randrange(len(text) + 1)
    text[place : place + 1] = rng.choice(ODD_TEXT)


def repeat_text(rng, text):
    first, last = sorted(rng.randrange(len(text) + 1) for _ in range(2))
    text[first:first] = text[first:last]


def repeat_member(rng, text):
    """Write one member of an object twice: an entry, a field or a line of metadata."""
    members = list(re.finditer(rb'"[^"]*": ?(\{[^{}]*\}|\[[^][]*\]|"[^"]*"|\d+)', text))
    if members:
        member = rng.choice(members)
        text[member.start() : member.start()] = member[0] + b","


def respell_number(rng, text):
    """Write a number as JSON or another language may: 4 as 4.0, 04, +4, 4e0, 0x4 ..."""
    numbers = list(re.finditer(rb"\d+", text))
    if numbers:
        number = rng.choice(numbers)
        ways = [
            b"%s.0",
            b"0%s",
            b"+%s",
            b"-%s",
            b"%se0",
            b"0x%s",
            b"%sE+0",
            b'"%s"',
            b"%s0",
            b"%s_",
        ]
        text[number.start() : number.end()] = rng.choice(ways) % number[0]


def escape_letter(rng, text):
    r"""Write a letter of a key or a string as \u0061."""
    letters = list(re.finditer(rb"[A-Za-z_]", text))
    if letters:
        letter = rng.choice(letters)
        text[letter.start() : letter.end()] = b"\\u%04x" % ord(letter[0])


def pad_text(rng, text):
    padding = rng.choice([b" ", b"\n", b"\t", b"\0", b"\r", b"\x0b"]) * rng.randrange(1, 9)
    place = rng.choice([0, 1, len(text)])
    text[place:place] = padding


def change_length(rng, content):
    """Declare another length of the header."""
    length = int.from_bytes(content[:8], "little")
    length = max(0, length + rng.choice([-8, -2, -1, 1, 2, 8, 2**24, 2**32, 2**63]))
    content[:8] = (length % 2**64).to_bytes(8, rng.choice(["little", "little", "big"]))


def flip_bit(rng, content):
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def change_bytes(rng, content):
    place = rng.randrange(len(content))
    content[place : place + 4] = rng.choice([bytes(4), b"\xff" * 4, rng.randbytes(4)])


def cut(rng, content):
    del content[rng.randrange(len(content) + 1) :]


def append(rng, content):
    content += rng.randbytes(rng.randrange(1, 9))


VALUES = [
    change_field, drop_field, add_field, change_entry, copy_entry, rename_entry, reorder_entries,
    change_dtype, change_shape, move_offsets, move_offsets, swap_offsets,
]  # fmt: skip
TEXTS = [
    insert_text, delete_text, replace_text, repeat_text, repeat_member, repeat_member,
    respell_number, escape_letter, pad_text,
]  # fmt: skip
BYTES = [change_length, flip_bit, flip_bit, change_bytes, cut, append]


def _odd(rng):
    return copy.deepcopy(rng.choice(ODD_VALUES))  # it may be changed in turn


def _tensor(rng, header):
    """The fields of one entry; of none that is in the header where it has none."""
    entries = [fields for fields in header.values() if isinstance(fields, dict)]
    return rng.choice(entries) if entries else {}
