"""Read Protocol Buffers messages: the wire format, as far as a tokenizer's file uses it.

A message is a sequence of fields; each begins with a varint, 8 · number + wire type, and the wire
type says how long the value is (developers.google.com/protocol-buffers, "Encoding").
"""

import struct
from collections.abc import Iterator
from typing import Any, TypeAlias

Schema: TypeAlias = dict[int, tuple[str, type]]  # field number -> name and type

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_WIRE_TYPE = {str: LENGTH, bytes: LENGTH, float: FIXED32, int: VARINT, bool: VARINT}


def fields(message: bytes) -> Iterator[tuple[int, int, Any]]:
    """Yield (number, wire type, value) of each field; a value is an int for VARINT, else bytes.

    Raises ValueError where the bytes are no message.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if not 0 < number < 2**29:
            raise ValueError(f"field number {number} at byte {at}")
        if wire == VARINT:
            value, at = _varint(message, at)
            yield number, wire, value
            continue
        if wire == LENGTH:
            length, at = _varint(message, at)
        elif wire in (FIXED64, FIXED32):
            length = 8 if wire == FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if length > len(message) - at:
            raise ValueError(f"a field of {length} bytes at byte {at} of {len(message)}")
        yield number, wire, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Read an integer of 7 bits a byte, the lowest first; return it and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("the message is cut short")
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError(f"an integer of more than 10 bytes at byte {at}")


def decode(message: bytes, schema: Schema) -> dict[str, Any]:
    """Read the fields of `schema` into a dict by name; of a repeated field the last, others not.

    Raises ValueError where the bytes are no message, or a field is not of its type.
    """
    found: dict[str, Any] = {}
    for number, wire, value in fields(message):
        if number not in schema:
            continue
        name, kind = schema[number]
        if wire != _WIRE_TYPE[kind]:
            raise ValueError(f"field {name!r} has wire type {wire}, not {_WIRE_TYPE[kind]}")
        if kind is str:
            value = value.decode("utf-8")
        elif kind is float:
            (value,) = struct.unpack("<f", value)
        found[name] = kind(value)
    return found
