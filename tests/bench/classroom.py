"""How long a class takes: 200 submissions, of every kind that classes hand in, graded in one run with the limits that teachers get.

`make bench` runs it, and the page for teachers shows what it writes. A submission that does not get the points that it should is an error.
"""

import datetime
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "course")]

from crowd import KINDS, crowd, packed  # noqa: E402

from course import grading, release, sandbox  # noqa: E402
from course.__main__ import grade_set  # noqa: E402
from course.classroom import Classroom  # noqa: E402

RESULTS, NAME, COUNT = ROOT / "book" / "benchmarks" / "classroom.md", "ddim", 200


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    classroom = Classroom.open(folder / "class")
    release.release(classroom, NAME)
    teacher = folder / "teacher.txt"
    teacher.write_text("keep")
    handed = crowd(classroom, NAME, COUNT, teacher)
    start = time.monotonic()
    troubles = grade_set(classroom, NAME, packed(handed, folder / "submissions.zip"), os.cpu_count(), sandbox.Limits())
    minutes = (time.monotonic() - start) / 60
    verdicts = {one.student: grading.Verdict.from_json((classroom.folder / "verdicts" / NAME / f"{one.student}.json").read_text()) for one in handed}
    wrong = [one for one in handed if [result.points for result in verdicts[one.student].results.values()] != one.points]
    if troubles or wrong or teacher.read_text() != "keep":
        sys.exit(f"{troubles} submissions need a person; these did not get what they should: {[(one.student, one.kind) for one in wrong]}")
    seconds = sorted(verdict.seconds for verdict in verdicts.values())
    kind, longest = max(((one.kind.replace("_", " "), verdicts[one.student].seconds) for one in handed), key=lambda pair: pair[1])
    RESULTS.write_text(
        f"Measured on {datetime.date.today()}, {os.cpu_count()} cores, set `{NAME}`: {COUNT} submissions of {len(KINDS)} kinds were graded in {minutes:.1f} minutes, collecting, "
        f"feedback pages and tables included. A submission took {statistics.median(seconds):.1f} s (median), nine in ten at most {seconds[len(seconds) * 9 // 10]:.1f} s, "
        f"the longest {longest:.0f} s ({kind}). Every one got the points that it should.\n")
    print(RESULTS.read_text())
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
