"""JSON is read strictly: one object, one meaning."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.errors import ConfigError
from tinyllm.json_file import read_json

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.mark.untraced
@given(st.dictionaries(st.text(), values), st.booleans())
def test_every_json_object_is_read_back(tmp_path_factory, value, ascii_only):
    path = tmp_path_factory.getbasetemp() / "config.json"
    path.write_text(json.dumps(value, ensure_ascii=ascii_only), encoding="utf-8")
    assert read_json(path, ConfigError) == value


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


@pytest.mark.parametrize("case", BAD)
def test_bad_json_is_refused_in_one_line(tmp_path, case):
    content, reason = BAD[case]
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=reason) as caught:
        read_json(path, ConfigError)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_over_the_limit_is_refused(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"a": "' + "x" * 100 + '"}')
    with pytest.raises(ConfigError, match="larger than 100 bytes"):
        read_json(path, ConfigError, max_bytes=100)
