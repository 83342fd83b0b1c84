"""One thing that was looked at, and how it was found."""

from dataclasses import dataclass

OK, ABSENT, PROBLEM = "ok", "–", "problem"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at; `status` is OK, ABSENT or PROBLEM."""

    name: str
    status: str
    what: str
    advice: str = ""


def reason(error: BaseException) -> str:
    """Return what an error says, in one line and with its kind."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__
