"""What can go wrong through no fault of the program, as one family of exceptions.

Each carries one line for the user: what is wrong, what was expected, what to do. The commands print
that line and leave with `exit_code`.
"""


class TinyllmError(Exception):
    """The base of every error that a user's input or machine can cause."""

    exit_code = 2


class CheckpointError(TinyllmError):
    """A file of weights is missing, damaged, foreign, or does not fit its config."""


class ConfigError(TinyllmError):
    """A config asks for something impossible, or for something that tinyllm does not compute."""


class TokenizerError(TinyllmError):
    """A tokenizer file is damaged or unknown, or a token id has no meaning."""


class UsageError(TinyllmError, ValueError):
    """An argument is out of its range; the message gives its name, value and range."""


class BackendUnavailableError(TinyllmError):
    """The array library or the device behind a backend is missing."""

    exit_code = 3
