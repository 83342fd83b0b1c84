"""JSON is read strictly: one object, one meaning."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bad_json import BAD
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
