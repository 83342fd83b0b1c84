"""The wire format is read strictly."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_vocabulary import field, varint
from tinyllm.tokenizers.protobuf import decode, fields

SCHEMA = {1: ("text", str), 2: ("score", float), 3: ("number", int), 4: ("flag", bool)}


@given(
    st.text(), st.floats(width=32, allow_nan=False), st.integers(0, 2**64 - 1), st.booleans(),
    st.integers(5, 2**29 - 1), st.binary(),
)  # fmt: skip
def test_a_message_is_read_back_and_unknown_fields_are_passed_over(
    text, score, number, flag, unknown, content
):
    message = field(unknown, content) + field(1, text) + field(2, score) + field(3, number)
    message += varint(unknown << 3 | 1) + bytes(8) + field(4, int(flag))
    assert decode(message, SCHEMA) == {"text": text, "score": score, "number": number, "flag": flag}


def test_of_a_repeated_field_the_last_stays():
    assert decode(field(3, 1) + field(3, 2), SCHEMA) == {"number": 2}


BAD = {
    "a field cut short": (field(1, "abc")[:-1], "a field of 3 bytes"),
    "a number cut short": (varint(3 << 3) + b"\x80", "cut short"),
    "a float cut short": (field(2, 1.0)[:-1], "a field of 4 bytes"),
    "a number without an end": (varint(3 << 3) + b"\xff" * 11, "more than 10 bytes"),
    "a length beyond the file": (
        varint(1 << 3 | 2) + varint(2**63),
        "a field of 92233720368547758",
    ),
    "field number 0": (b"\x00\x00", "field number 0"),
    "a group": (varint(1 << 3 | 3), "wire type 3"),
    "a wire type that does not exist": (varint(1 << 3 | 7), "wire type 7"),
    "text where a number belongs": (field(3, "a"), "'number' has wire type 2"),
    "a double where a float belongs": (
        varint(2 << 3 | 1) + struct.pack("<d", 1),
        "'score' has wire",
    ),
    "text that is not UTF-8": (field(1, b"\xff"), "can't decode"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_bytes_are_a_value_error(case):
    message, reason = BAD[case]
    with pytest.raises(ValueError, match=reason):
        decode(message, SCHEMA)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_a_value_error(content):
    with contextlib.suppress(ValueError):
        assert sum(1 for _ in fields(content)) <= len(content)
