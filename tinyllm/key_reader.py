"""Read a config key by key: each checked for its type and range, and none overlooked."""

import sys
from typing import Any, TypeVar

from tinyllm.errors import ConfigError
from tinyllm.shown import plain, shown

T = TypeVar("T")
REQUIRED: Any = object()  # a default: the key must be there
LARGEST = sys.float_info.max  # JSON has whole numbers beyond it


class KeyReader:
    """A JSON object that remembers which of its keys were read.

    Every method takes the key's name, and a default for where it is absent or null. Without one the
    key must be there. What does not fit raises ConfigError with the file, the key and its value.
    """

    def __init__(self, values: dict[str, Any], where: str) -> None:
        self.values, self.where, self._read = values, where, set[str]()
        self.missing: str | None = None  # what was asked for in vain

    def get(self, key: str) -> Any:
        """Return the raw value, or None."""
        self._read.add(key)
        return self.values.get(key)

    def integer(self, key: str, low: int, high: int, default: T = REQUIRED) -> int | T:
        """A whole number from `low` to `high`."""
        value = self._value(key, default)
        if value is default:
            return default
        if type(value) is not int or not low <= value <= high:
            raise self.error(key, f"expected a whole number from {low} to {high}")
        return value

    def number(
        self, key: str, low: float, high: float = LARGEST, default: T = REQUIRED
    ) -> float | T:
        """A finite number of at least `low` and at most `high`."""
        value = self._value(key, default)
        if value is default:
            return default
        if type(value) not in (int, float) or not low <= value <= high:  # which NaN is not
            limits = f"of at least {low}" if high == LARGEST else f"from {low} to {high}"
            raise self.error(key, f"expected a number {limits}")
        return float(value)

    def boolean(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._value(key, default)
        if type(value) is not bool:
            raise self.error(key, "expected true or false")
        return value

    def string(self, key: str, choices: tuple[str, ...], default: str = REQUIRED) -> str:
        """One of the known words."""
        value = self._value(key, default)
        if value not in choices:
            raise self.error(key, f"tinyllm knows {', '.join(map(repr, choices))}")
        return value

    def error(self, key: str, expected: str) -> ConfigError:
        """Describe what is wrong with a key."""
        return ConfigError(f"{self.where}: {key} is {shown(self.values.get(key))}; {expected}")

    def unread(self) -> list[str]:
        """Return the keys that nobody read, in order."""
        return sorted(self.values.keys() - self._read)

    def refuse_unread(self, harmless: frozenset[str] = frozenset()) -> None:
        """Raise ConfigError for keys that nobody read, unless they are known to do no harm.

        A key that is null, false, or empty turns nothing on. So does one that starts with "_".
        """
        unknown = [
            key
            for key in self.unread()
            if key not in harmless
            and not key.startswith("_")
            and self.values[key] not in (None, False, "", [], {})
        ]
        if unknown:
            keys = ", ".join(f"{plain(key)} = {shown(self.values[key])}" for key in unknown[:5])
            raise ConfigError(
                f"{self.where}: tinyllm does not know {keys}: if it does not change what the model "
                f"computes, remove it from the file"
            )

    def _value(self, key: str, default: Any) -> Any:
        value = self.get(key)
        if value is not None:
            return value
        if default is REQUIRED:
            self.missing = key
            raise ConfigError(f"{self.where}: {key} is missing")
        return default
