"""Say what this machine has for tinyllm: python -m tinyllm.doctor

Each line is a finding: ok, – for what is not there and need not be, or a
problem and what to do about it. Leaves with 1 where there is a problem.
"""

if __name__ == "__main__":
    from tinyllm.cli import interrupts

    interrupts.end_quietly()

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence

from tinyllm.cli import color
from tinyllm.cli.arguments import add_color, add_common
from tinyllm.cli.command import Parser, run_command
from tinyllm.cli.findings.finding import PROBLEM, Finding
from tinyllm.cli.terminal import Messages, is_terminal, printable
from tinyllm.errors import UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog="python -m tinyllm.doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the findings as one JSON list")
    add_color(parser)
    add_common(parser)
    return run_command(parser, doctor, argv)


def doctor(args: argparse.Namespace, messages: Messages) -> int:
    """Look at everything; print the findings; return 1 where one is a problem, else 0."""
    from tinyllm.cli.findings.caches import cache_findings
    from tinyllm.cli.findings.cupy import cupy_findings
    from tinyllm.cli.findings.kernels import kernel_findings
    from tinyllm.cli.findings.machine import machine_findings
    from tinyllm.cli.findings.python import python_findings

    if sys.stdout is None:
        raise UsageError("standard output is closed: there is nowhere to write the findings")
    findings = []
    for look in (
        python_findings, machine_findings, cupy_findings, kernel_findings, cache_findings,
    ):  # fmt: skip
        messages.status("looking …")
        findings += look()
    messages.clear()
    if args.json:
        text = json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2)
    else:
        colored = color.wanted(args.color, sys.stdout)
        text = "\n".join(_line(finding, colored=colored) for finding in findings)
    sys.stdout.write((printable(text) if is_terminal(sys.stdout) and args.json else text) + "\n")
    return 1 if any(finding.status == PROBLEM for finding in findings) else 0


def _line(finding: Finding, *, colored: bool) -> str:
    """Return a finding as one line, with what to do after an arrow."""
    marks = {"ok": color.GREEN, PROBLEM: color.RED}
    mark = color.paint(f"{finding.status:<7}", marks.get(finding.status, color.DIM), on=colored)
    advice = f" → {finding.advice}" if finding.advice else ""
    text = " ".join(f"{finding.what}{advice}".split())
    return f"{mark} {finding.name:<13} {printable(text)}"


if __name__ == "__main__":
    sys.exit(main())
