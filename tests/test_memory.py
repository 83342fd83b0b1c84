"""tinyllm.memory: what the files of Linux say, and nothing where they say nothing."""

import pytest

from tinyllm.memory import available_memory

MEMINFO = "MemTotal:  100 kB\nMemFree:  1 kB\nMemAvailable:  90 kB\nHugePages_Total:  0\n"
V2 = {"memory.max": "60000\n", "memory.current": "50000\n"}
V1 = {"memory.limit_in_bytes": "70000\n", "memory.usage_in_bytes": "50000\n"}


def system(folder, cgroup="", files=(), meminfo=MEMINFO):
    """Lay out /proc and /sys/fs/cgroup."""
    (folder / "proc/self").mkdir(parents=True)
    if meminfo is not None:
        (folder / "proc/meminfo").write_text(meminfo)
    (folder / "proc/self/cgroup").write_text(cgroup)
    for name, text in dict(files).items():
        path = folder / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return available_memory(folder / "proc", folder / "groups")


def within(group, files):
    return {f"{group}/{name}": text for name, text in files.items()}


def test_the_kernel_says_what_is_available(tmp_path):
    assert system(tmp_path) == 90 * 1024


@pytest.mark.parametrize("meminfo", [None, "", "MemAvailable:  many kB\n", "\n"])
def test_where_nothing_is_said_nothing_is_known(tmp_path, meminfo):
    assert system(tmp_path, meminfo=meminfo) is None


@pytest.mark.parametrize(
    ("cgroup", "files", "left"),
    [
        ("0::/a/b\n", within("a/b", V2), 10000),
        ("0::/a/b\n", within("a", V2), 10000),
        ("0::/\n", V2, 10000),
        ("0::/a\n", within("a", V2 | {"memory.stat": "anon 1\ninactive_file 2000\n"}), 12000),
        ("0::/a\n", within("a", V2 | {"memory.max": "max\n"}), 90 * 1024),
        ("0::/a\n", within("a", V2 | {"memory.max": "40000"}), 0),
        ("0::/a\n", within("elsewhere", V2), 90 * 1024),
        ("3:cpu,memory:/a\n", within("memory/a", V1), 20000),
        ("3:memory:/gone\n", within("memory", V1), 20000),
        ("3:memory:/\n", within("memory", V1 | {"memory.limit_in_bytes": str(2**63)}), 90 * 1024),
        ("3:cpu:/a\n0::/\n", within("memory/a", V1), 90 * 1024),
        ("nonsense", {}, 90 * 1024),
    ],
)
def test_the_least_that_a_control_group_leaves(tmp_path, cgroup, files, left):
    stats = {f"{name.rpartition('/')[0]}/memory.stat": "anon 1\n\n" for name in files}
    assert (
        system(tmp_path, cgroup, {name.strip("/"): text for name, text in (stats | files).items()})
        == left
    )


def test_this_machine():
    available = available_memory()
    assert available is None or available > 0
