"""Files that hold no JSON object that means one thing, each with what its refusal says."""

BAD = {
    "empty": (b"", "not the JSON expected"),
    "not JSON": (b"<html>", "not the JSON expected"),
    "git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "not the JSON expected"),
    "cut short": (b'{"a": 1', "not the JSON expected"),
    "something after the object": (b"{} {}", "Extra data"),
    "a list": (b"[1]", "holds a JSON list; expected an object"),
    "null": (b"null", "holds a JSON NoneType"),
    "not UTF-8": (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "not UTF-8 at byte 0"),
    "UTF-16 without a mark": ('{"a": 1}'.encode("utf-16-le"), "not the JSON expected"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "BOM"),
    "a duplicate key": (b'{"a": 1, "b": {"c": 1, "d": 2, "c": 1}}', "the key 'c' appears twice"),
    "NaN": (b'{"a": NaN}', "NaN is not a JSON number"),
    "Infinity": (b'{"a": [-Infinity]}', "-Infinity is not a JSON number"),
    "a number too large": (b'{"a": 1e999}', "'1e999' is too large"),
    "an integer too long": (b'{"a": ' + b"1" * 5000 + b"}", "not the JSON expected"),
    "half a surrogate pair": (b'{"a": "\\ud800"}', "surrogates not allowed"),
    "half a surrogate pair in a key": (b'{"\\uDC00": 1}', "surrogates not allowed"),
    "deep lists": (b'{"a": ' + b"[" * 200_000, "nested too deeply"),
    "deep objects": (b'{"a":' * 200_000, "nested too deeply"),
}
