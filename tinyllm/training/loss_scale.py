"""The loss scale: small gradients in float16 are lost, so all are made larger, as far as they go.

The gradient of the loss times a number is that number times as large, and is divided by it once it
is in float32. Powers of two change no digit. Too large a number shows: something becomes infinite.
"""

from dataclasses import dataclass

STEPS = 2000  # without overflow, after which to try twice the scale
LEAST, MOST = 2.0**-8, 2.0**24


@dataclass(kw_only=True, slots=True)
class LossScale:
    """What losses are multiplied by, and for how many steps that went well.

    Losses are sums over tokens here: 2¹⁰ is as high a start as 2²⁴ for means over 2¹⁴ tokens.
    """

    scale: float = 2.0**10
    good: int = 0  # steps

    def __post_init__(self) -> None:
        if not (LEAST <= self.scale <= MOST and self.good >= 0):
            raise ValueError(f"a loss scale of {self.scale} after {self.good} steps")

    @property
    def can_fall(self) -> bool:
        """Whether there is a smaller scale to try."""
        return self.scale > LEAST

    def update(self, *, finite: bool) -> None:
        """Double the scale after so many good steps, halve it after a bad one.

        Micikevicius et al. 2018, "Mixed precision training" (arXiv:1710.03740), section 3.2.
        """
        self.good = self.good + 1 if finite else 0
        if not finite:
            self.scale = max(LEAST, self.scale / 2)
        elif self.good == STEPS:
            self.scale, self.good = min(MOST, 2 * self.scale), 0
