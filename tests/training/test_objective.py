"""tinyllm.training.objective"""

import pytest

from tinyllm.errors import UsageError
from tinyllm.models.balance import Balance
from tinyllm.training.objective import Objective, read_balance


def test_weights_are_read_as_they_are_written():
    assert read_balance("") == Balance()
    assert read_balance(" expert = 1e-2 ,z=0.5,") == Balance(expert=0.01, z=0.5)


@pytest.mark.parametrize("text", ["expert", "expert=", "expert=much", "experts=1", "=1", "0.01"])
def test_what_is_no_weight_is_refused(text):
    with pytest.raises(UsageError, match=r"balance has '.*', expected weights of expert, device"):
        read_balance(text)


def test_numbers_out_of_their_range_are_refused():
    with pytest.raises(UsageError, match="label_smoothing"):
        Objective(label_smoothing=1.0)
    with pytest.raises(UsageError, match="z_loss"):
        Objective(z_loss=-1.0)
    with pytest.raises(UsageError, match="balance has expert=-1"):
        read_balance("expert=-1")
