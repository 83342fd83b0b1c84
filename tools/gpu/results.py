"""What was measured: kept as it comes, as JSON that is whole at any time, and as tables."""

import faulthandler
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tinyllm.checkpoints.atomic import atomic_write

Row = dict[str, Any]
PATIENCE = 90  # seconds that a row may take beyond its section's: a compiler's, not a hung kernel's


class Results:
    """The rows of each section, in a file that is written anew after every row."""

    def __init__(
        self, folder: Path, facts: dict[str, Any], *, seconds: float, say: Callable[[str], None]
    ) -> None:
        """`seconds` are what all sections may take together."""
        self.facts, self.sections = facts, dict[str, dict[str, Any]]()
        self.ceilings: dict[str, float] = {}
        self._end, self._say = time.monotonic() + seconds, say
        day = datetime.now(UTC).strftime("%Y-%m-%d")
        device = "-".join("".join(c if c.isalnum() else " " for c in facts["device"]).split())
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{day}-{device}.json"

    def left(self) -> float:
        """Return the seconds that are left."""
        return self._end - time.monotonic()

    def run(
        self, name: str, section: Callable[..., Iterator[Row]], needs: float, most: float
    ) -> None:
        """Run a section that `needs` so many seconds, if they are left; keep each row of it.

        Its status says what became of it: done, or in part or not at all, and why. After `most`
        seconds no row is begun. One that does not end, as of a kernel that waits for ever, ends the
        process with a traceback: "running" is then what the file says.
        """
        found: dict[str, Any] = {"status": "running", "rows": []}
        self.sections[name] = found
        if self.left() < needs:
            found["status"] = f"left out: {needs:.0f} s are more than was left"
            self._write()
            return
        self._write()
        start = time.monotonic()
        patience = max(1.0, min(self.left(), most)) + PATIENCE
        faulthandler.dump_traceback_later(patience, exit=True, file=sys.__stderr__ or sys.stderr)
        try:
            for row in section(self):
                found["rows"].append(row)
                self._say(f"{name}: {_line(row)}")
                self._write()
                if self.left() < 0 or time.monotonic() - start > most:
                    found["status"] = "in part: the time was up"
                    break
            else:
                found["status"] = "done"
        except Exception as error:  # the others may still run
            text = " ".join(str(error).split())[:300]
            found["status"] = f"in part: {type(error).__name__}: {text}"
        finally:
            faulthandler.cancel_dump_traceback_later()
        found["seconds"] = round(time.monotonic() - start, 1)
        self._say(f"{name}: {found['status']}, {found['seconds']} s")
        self._write()

    @property
    def failed(self) -> list[str]:
        """Return what was not right: the rows that say so, and sections that broke."""
        wrong = [
            f"{name}: {_line(row)}" for name, section in self.sections.items()
            for row in section["rows"] if row.get("right") is False
        ]  # fmt: skip
        broken = [
            f"{name}: {section['status']}" for name, section in self.sections.items()
            if section["status"].startswith("in part: ") and "time was up" not in section["status"]
        ]  # fmt: skip
        return wrong + broken

    def _write(self) -> None:
        told = {"facts": self.facts, "ceilings": self.ceilings, "sections": self.sections}
        with atomic_write(self.path) as file:
            file.write((json.dumps(_finite(told), indent=1) + "\n").encode())
        with atomic_write(self.path.with_suffix(".md")) as file:
            file.write(markdown(self.facts, self.sections).encode())


def markdown(facts: dict[str, Any], sections: dict[str, dict[str, Any]]) -> str:
    """Return a table for each section, whose columns are those of its rows."""
    lines = [f"# {facts['device']}", "", ", ".join(f"{k} {v}" for k, v in facts.items()), ""]
    for name, section in sections.items():
        lines += [f"## {name}", "", f"{section['status']}.", ""]
        columns = list(dict.fromkeys(key for row in section["rows"] for key in row))
        if columns:
            lines.append(f"| {' | '.join(columns)} |")
            lines.append(f"|{'---|' * len(columns)}")
            lines += [
                f"| {' | '.join(_cell(row.get(key)) for key in columns)} |"
                for row in section["rows"]
            ]
            lines.append("")
    return "\n".join(lines)


def _line(row: Row) -> str:
    return ", ".join(f"{key} {_cell(value)}" for key, value in row.items() if value is not None)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "/").replace("\n", " ")


def _finite(value: Any) -> Any:
    """Return the same with None where JSON has no number."""
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
