"""How much memory is left for this process, as far as the system tells."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

UNLIMITED = 2**60  # control groups of version 1 say "none" with a number near 2**63


def available_memory(
    proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")
) -> int | None:
    """Return the bytes that can be had without swapping; None where the system does not say.

    On Linux that is what the kernel counts as available, or what a control group of this process (a
    container's, say) has left, whichever is less.
    """
    left = [*_of_the_machine(proc), *_of_control_groups(proc, groups)]
    return max(0, min(left)) if left else None


def _of_the_machine(proc: Path) -> Iterator[int]:
    with suppress(OSError, ValueError, KeyError):
        yield _named_numbers(proc / "meminfo")["MemAvailable:"] * 1024


def _of_control_groups(proc: Path, groups: Path) -> Iterator[int]:
    """What each group of the process, and each that it lies in, still has."""
    with suppress(OSError, ValueError):
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers == "":
                yield from _in_tree(groups, group, "memory.max", "memory.current", "inactive_file")
            elif "memory" in controllers.split(","):
                yield from _in_tree(
                    groups / "memory", group,
                    "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file",
                )  # fmt: skip


def _in_tree(root: Path, group: str, limit: str, usage: str, cached: str) -> Iterator[int]:
    """Limit less usage; the cache of files counts as used there, and is given up on demand."""
    folder = root / group.strip("/")
    for at in (folder, *folder.parents):
        with suppress(OSError, ValueError):  # "max", no limit, is no number
            most = int((at / limit).read_text())
            if most < UNLIMITED:
                used = int((at / usage).read_text())
                yield most - used + _named_numbers(at / "memory.stat").get(cached, 0)
        if at == root:
            return


def _named_numbers(path: Path) -> dict[str, int]:
    """Read lines like `MemAvailable:  24155368 kB`."""
    words = (line.split() for line in path.read_text().splitlines())
    return {word[0]: int(word[1]) for word in words if word}
