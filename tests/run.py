"""Build the book, then run every part of the tests. Prints what each took; the last line counts what passed and failed.

A part that fails does not stop those after it, and a part in which no test ran counts as failed.
"""

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Two processes for every part but those whose tests start processes of their own, and the notebooks, which share one cache.
PARTS = {
    "unit": ["-n", "2", "--dist", "loadfile"],
    "closed_form": ["-n", "2", "--dist", "loadfile"],
    "parity": ["-n", "2", "--dist", "loadfile"],
    "equations": ["-n", "2", "--dist", "loadfile"],
    "course": ["-n", "2", "--dist", "loadfile"],
    "distributed": [],
    "notebooks": [],
    "browser": ["-n", "2"],
}


def run_part(part: str, options: list[str]) -> tuple[int, int]:
    """Numbers of tests passed and failed in tests/PART."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", f"tests/{part}", f"--junit-xml={report}", *options]
        status = subprocess.run(command, cwd=ROOT).returncode
        suites = ElementTree.parse(report).getroot().iter("testsuite") if report.exists() else []
        counts = [{key: int(suite.get(key)) for key in ("tests", "failures", "errors", "skipped")} for suite in suites]
    failed = sum(count["failures"] + count["errors"] for count in counts)
    passed = sum(count["tests"] - count["skipped"] for count in counts) - failed
    return passed, failed or int(status != 0 or passed == 0)


def main() -> int:
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    rows, start = [], time.monotonic()
    built = subprocess.run(["make", "--no-print-directory", "book"], cwd=ROOT).returncode == 0
    rows.append(("book", int(built), int(not built), time.monotonic() - start))
    for part, options in PARTS.items():
        print(f"--- {part}", flush=True)
        start = time.monotonic()
        passed, failed = run_part(part, options)
        rows.append((part, passed, failed, time.monotonic() - start))
    print(f"\n{'part':<14}{'passed':>8}{'failed':>8}{'seconds':>9}")
    for part, passed, failed, seconds in rows:
        print(f"{part:<14}{passed:>8}{failed:>8}{seconds:>9.0f}")
    passed, failed = sum(row[1] for row in rows), sum(row[2] for row in rows)
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
