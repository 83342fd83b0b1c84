"""tinyllm.params"""

from hypothesis import given
from hypothesis import strategies as st

from tinyllm.params import flatten, nest

parts = st.sampled_from(["layers", "0", "1", "mlp", "up"])
names = st.lists(parts, min_size=1, max_size=4).map(lambda p: ".".join([*p, "weight"]))


@given(st.dictionaries(names, st.integers()))
def test_flatten_undoes_nest(params):
    assert flatten(nest(params)) == params
