"""What training makes small."""

from dataclasses import dataclass, fields

from tinyllm.errors import UsageError
from tinyllm.models.balance import NO_BALANCE, Balance
from tinyllm.ops.losses import check_loss_options


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """The cross-entropy, of smoothed targets or of bounded logits, and what is beside it.

    See `tinyllm.ops.losses` for the two numbers. Raises UsageError for one out of its range.
    """

    label_smoothing: float = 0.0
    z_loss: float = 0.0
    balance: Balance = NO_BALANCE  # of mixtures of experts

    def __post_init__(self) -> None:
        check_loss_options(label_smoothing=self.label_smoothing, z_loss=self.z_loss)


CROSS_ENTROPY = Objective()


def read_balance(text: str) -> Balance:
    """Read weights as they are written: name=number, with commas between. Raises UsageError.

    >>> read_balance("expert=0.01, z=1e-3").weights()
    {'expert': 0.01, 'z': 0.001}
    """
    names, weights = [field.name for field in fields(Balance)], {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, number = map(str.strip, part.partition("="))
        try:
            weights[name] = float(number)
        except ValueError:
            name = ""
        if name not in names:
            raise UsageError(
                f"balance has {part!r}, expected weights of {', '.join(names)}, as in "
                f"expert=0.01,z=0.001"
            )
    return Balance(**weights)
