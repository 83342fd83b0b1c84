"""Bad safetensors files by name, each with what its refusal says."""

import json
import struct

from checkpoints.safetensors_bytes import entry, file_bytes

F32 = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
NONE = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'


def shaped(shape):
    """A header whose shape is this JSON text, beside four bytes."""
    return file_bytes(f'{{"a":{F32.replace("[1]", shape)}}}', bytes(4))


def placed(offsets):
    return file_bytes(f'{{"a":{F32.replace("[0,4]", offsets)}}}', bytes(4))


def two(first, second, n_bytes):
    header = {"a": entry("U8", (first[1] - first[0],), first)}
    header["b"] = entry("U8", (second[1] - second[0],), second)
    return file_bytes(header, bytes(n_bytes))


BAD = {
    "empty": (b"", "is empty"),
    "7 bytes": (b"\x02\0\0\0\0\0\0", "7 bytes"),
    "header of length 0": (bytes(8), "8 zero bytes"),
    "header of length 0, then data": (bytes(8) + b"1234", "must begin with '{'"),
    "length 2^64 - 1": (b"\xff" * 8 + b"{}", "max_header"),
    "length 2^63": ((2**63).to_bytes(8, "little") + b"{}", "max_header"),
    "length one over the cap": (file_bytes("{}", length=16 * 2**20 + 1), "over 16777216 bytes"),
    "length one past the end": (file_bytes("{}", length=3), "incomplete"),
    "length big-endian": ((2).to_bytes(8, "big") + b"{}", "max_header"),
    "cut in the header": (file_bytes({"a": entry()}, bytes(4))[:30], "incomplete"),
    "one byte of data too few": (file_bytes({"a": entry()}, bytes(3)), "incomplete"),
    "no data": (file_bytes({"a": entry()}), "expected 73 bytes in all, have 69"),
    "one byte of data too many": (file_bytes({"a": entry()}, bytes(5)), "1 bytes after its last"),
    "data without tensors": (file_bytes("{}", b"1"), "1 bytes after its last"),
    "not UTF-8": (file_bytes(b'{"\xff":1}'), "not UTF-8 JSON"),
    "not JSON": (file_bytes("{nonsense}"), "not UTF-8 JSON"),
    "two objects": (file_bytes("{}{}"), "not UTF-8 JSON"),
    "a list": (file_bytes("[]       "), "must begin with '{'"),
    "null": (file_bytes("null"), "must begin with '{'"),
    "byte order mark": (file_bytes(b"\xef\xbb\xbf{}"), "must begin with '{'"),
    "UTF-16": (file_bytes("{}".encode("utf-16-le")), "JSON"),
    "UTF-32": (file_bytes("{}".encode("utf-32-le")), "JSON"),
    "leading space": (file_bytes(" {}"), "must begin with '{'"),
    "zero padding": (file_bytes("{}\0\0"), "JSON"),
    "comment": (file_bytes("{}/**/"), "JSON"),
    "trailing comma": (file_bytes(f'{{"a":{F32},}}', bytes(4)), "JSON"),
    "tensor twice": (file_bytes(f'{{"a":{F32},"a":{NONE}}}', bytes(4)), "key 'a' twice"),
    "same tensor twice": (file_bytes(f'{{"a":{F32},"a":{F32}}}', bytes(4)), "key 'a' twice"),
    "field twice": (
        file_bytes(f'{{"a":{F32[:-1]},"dtype":"F32"}}}}', bytes(4)),
        "key 'dtype' twice",
    ),
    "metadata twice": (file_bytes('{"__metadata__":{},"__metadata__":{}}'), "twice"),
    "no dtype": (file_bytes({"a": {"shape": [1], "data_offsets": [0, 4]}}, bytes(4)), "no dtype"),
    "no shape": (file_bytes({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, bytes(4)), "no shape"),
    "no offsets": (file_bytes({"a": {"dtype": "F32", "shape": [1]}}, bytes(4)), "no data_offsets"),
    "unknown dtype": (file_bytes({"a": entry("F31")}, bytes(4)), "'F31', which is not supported"),
    "dtype in lower case": (file_bytes({"a": entry("f32")}, bytes(4)), "'f32'"),
    "dtype null": (file_bytes({"a": entry(None)}, bytes(4)), "None"),
    "dtype list": (file_bytes({"a": entry(["F32"])}, bytes(4)), "not supported"),
    "4-bit floats": (file_bytes({"a": entry("F4", (8,))}, bytes(4)), "'F4'"),
    "6-bit floats": (file_bytes({"a": entry("F6_E2M3", (16,), (0, 12))}, bytes(12)), "'F6_E2M3'"),
    "shape negative": (shaped("[-2]"), "shape ['-2']"),
    "shapes negative, product right": (shaped("[-1,-1]"), "shape"),
    "shape float": (shaped("[1.0]"), "shape [1.0]"),
    "shape true": (shaped("[true]"), "shape [True]"),
    "shape text": (shaped('["1"]'), "shape ['1']"),
    "shape minus zero": (shaped("[-0]"), "shape ['-0']"),
    "shape null": (shaped("null"), "shape None"),
    "shape number": (shaped("1"), "shape 1"),
    "shape object": (shaped("{}"), "shape {}"),
    "shape nested": (shaped("[[1]]"), "shape [[1]]"),
    "shape NaN": (shaped("[NaN]"), "shape ['NaN']"),
    "shape 2^40 x 2^40": (shaped(f"[{2**40},{2**40}]"), "more than memory"),
    "shape overflows and wraps": (shaped(f"[{2**62 + 4},4]"), "more than memory"),
    "shape 0 x 2^62": (
        file_bytes({"a": entry("F32", (0, 2**62), (0, 0))}),
        "more than memory",
    ),
    "shape of rank 70": (shaped(json.dumps([1] * 70)), "shape [1, 1,"),
    "shape does not fill the offsets": (shaped("[2]"), "takes 8 bytes"),
    "offsets reversed": (placed("[4,0]"), "span -4"),
    "offsets negative": (placed("[-4,0]"), "data_offsets"),
    "offsets past the end": (placed("[0,8]"), "span 8"),
    "offsets all past the end": (placed("[4,8]"), "hole"),
    "offset missing": (placed("[0]"), "two sizes"),
    "offsets three": (placed("[0,4,4]"), "two sizes"),
    "offset 1.6e1": (placed("[0,0.4e1]"), "two sizes"),
    "offset NaN": (placed("[0,NaN]"), "two sizes"),
    "offset with 5000 digits": (placed(f"[0,{'4' * 5000}]"), "two sizes"),
    "hole first": (two((1, 2), (2, 3), 3), "leaves a hole"),
    "hole between": (two((0, 1), (2, 3), 3), "leaves a hole"),
    "same range": (two((0, 2), (0, 2), 2), "overlaps"),
    "partial overlap": (two((0, 2), (1, 3), 3), "overlaps"),
    "metadata holds a number": (file_bytes('{"__metadata__":{"a":1}}'), "__metadata__"),
    "metadata nested": (file_bytes('{"__metadata__":{"a":{}}}'), "__metadata__"),
    "metadata holds a long number": (
        file_bytes(f'{{"__metadata__":{{"a":{2**64}}}}}'),
        "must map strings to strings",
    ),
    "metadata holds NaN": (file_bytes('{"__metadata__":{"a":NaN}}'), "strings to strings"),
    "metadata holds half a surrogate": (
        file_bytes('{"__metadata__":{"a":"\\udfff"}}'),
        "half a surrogate pair",
    ),
    "half a surrogate in an unused field": (
        file_bytes(f'{{"a":{F32[:-1]},"x":"\\ud800"}}}}', bytes(4)),
        "half a surrogate pair",
    ),
    "metadata list": (file_bytes('{"__metadata__":[]}'), "__metadata__"),
    "metadata twice the same key": (file_bytes('{"__metadata__":{"a":"","a":""}}'), "twice"),
    "entry null": (file_bytes('{"a":null}'), "must be an object"),
    "entry number": (file_bytes('{"a":1}'), "must be an object"),
    "nested 200,000 deep": (file_bytes('{"a":' + "[" * 200_000), "nested too deeply"),
    "nested in an unused field": (
        file_bytes(f'{{"a":{F32[:-1]},"x":{"[" * 200 + "]" * 200}}}}}', bytes(4)),
        "safetensors library",
    ),
    "name is half a surrogate": (file_bytes(f'{{"\\ud800":{F32}}}', bytes(4)), "not Unicode"),
    "Git-LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
        "`git lfs pull`",
    ),
    "web page": (b"<!DOCTYPE html><html>Sign in", "web page"),
    "web page after white space": (b"\n  <html>", "web page"),
    "pickle": (b"\x80\x02}q\x00.", "PyTorch pickle"),
    "zip": (b"PK\x03\x04" + bytes(100), "save_pretrained"),
    "GGUF": (b"GGUF\x03\0\0\0" + bytes(100), "Hugging Face folder"),
    "gzip": (b"\x1f\x8b\x08\0\0\0\0\0\x02\xff" + bytes(50), "gzip"),
    "NumPy": (b"\x93NUMPY\x01\0" + bytes(50), "NumPy array"),
    "JSON": (b'{"hidden_size": 64}', "JSON file"),
    "all zero": (bytes(5000), "zero bytes: the download is incomplete"),
    "llama2.c": (struct.pack("<7i", 64, 172, 5, 8, 4, 512, 512) + b"\1" * 99, "tinyllm.convert"),
    "random bytes": (b"\x17\x99\xab\xcd\xef\x01\x02\x03\x04\x05\x06", "not a safetensors file"),
}  # fmt: skip
