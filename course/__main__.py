"""The course kit's commands: release problem sets, grade what comes back.

    python -m course list                              the sets: points, minutes, tasks
    python -m course release [SET ..]                  what students get, into CLASS/handout
    python -m course grade SET FOLDER_OR_ZIP           grade it: verdicts, gradebook, feedback pages, tables
    python -m course finish SET                        again, after essays were read: CLASS/grades/SET-essays.csv

CLASS is the folder `class` here, or what --class names.
"""

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import asdict
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from . import collect, gradebook, grading, release, sandbox, tasks
from .classroom import Classroom, write
from .collect import Submission
from .task import ProblemSet


def list_sets() -> None:
    for one in tasks.sets():
        print(f"{one.name:<18}{one.points:>3} points {one.minutes:>4} minutes   {one.title}")
        for task in one.tasks:
            print(f"    {task.name:<24}{task.points:>3} points {task.minutes:>4} minutes   difficulty {task.difficulty}")


def release_sets(classroom: Classroom, names: list[str]) -> None:
    for number, name in enumerate(names, 1):
        written = release.release(classroom, name)
        print(f"[{number}/{len(names)}] {name}: {len(written)} to hand out, {written[0].parent.relative_to(classroom.folder)}/", flush=True)


def grade_set(classroom: Classroom, name: str, source: Path, workers: int, limits: sandbox.Limits, column: str | None = None) -> int:
    """Grade what was handed in, a line for each as it comes; returns how many a person has to look at."""
    released, one = release.released(classroom, name), classroom.problem_set(name)
    layout, found = collect.collect(source, name)
    print(f"{len(found)} submissions of {name} ({layout} layout)")
    bwrap = sandbox.bubblewrap()
    if bwrap is None:
        print(f"WARNING: {sandbox.WARNING}", file=sys.stderr)
    paths = {student: lay_out(classroom, name, one, released, submission) for student, submission in found.items()}
    records, start, seconds, troubles = read_submissions(classroom, name), time.monotonic(), [], 0
    most = sum(task.points for task in one.tasks)
    for number, (verdict, kept) in enumerate(grading.grade_all(classroom, name, paths, limits, bwrap, workers), 1):
        attention = [*verdict.attention, *gradebook.enter(classroom, name, records[verdict.student], verdict)]
        seconds.append(verdict.seconds)
        troubles += bool(attention)
        how = "graded before" if kept else f"{verdict.seconds:.1f} s"
        print(f"[{number}/{len(paths)}] {verdict.student}: {verdict.points} of {most} points, {how}", *attention, sep="\n    look at it: ", flush=True)
    print(f"{len(seconds)} graded in {time.monotonic() - start:.0f} s; a submission took {statistics.median(seconds):.1f} s (median), {max(seconds):.1f} s (most)")
    finish(classroom, name, column)
    return troubles


def lay_out(classroom: Classroom, name: str, one: ProblemSet, released: NotebookNode, submission: Submission) -> Path:
    """Keep what was handed in, and write the notebook that is graded."""
    student = submission.student
    notebook, notes = collect.rebuilt(release.version(released, classroom, one, student), submission, one)
    if submission.data:
        write(classroom.folder / "originals" / name / student / collect.safe(Path(submission.file).name), submission.data)
    record = asdict(submission) | {"data": "", "notes": notes}
    write(classroom.folder / "originals" / name / f"{student}.json", json.dumps(record, indent=1))
    path = gradebook.submitted(classroom, name, student)
    write(path, nbformat.writes(notebook))
    return path


def read_submissions(classroom: Classroom, name: str) -> dict[str, Submission]:
    """All submissions of a set that were ever handed in here, without their files."""
    records = (json.loads(path.read_text("utf8")) for path in sorted((classroom.folder / "originals" / name).glob("*.json")))
    return {record["student"]: Submission(**record | {"data": b""}) for record in records}


def finish(classroom: Classroom, name: str, column: str | None) -> None:
    """Enter what was read of the essays, and write feedback and tables. ValueError if the submissions were not all graded."""
    submissions, folder = read_submissions(classroom, name), classroom.folder / "verdicts" / name
    waiting = [student for student in submissions if not (folder / f"{student}.json").exists()]
    if waiting or not submissions:
        raise ValueError(f"{len(waiting)} of {len(submissions)} submissions of {name} are to be graded first: run `grade {name}`")
    verdicts = {student: grading.Verdict.from_json((folder / f"{student}.json").read_text("utf8")) for student in submissions}
    read = gradebook.enter_essays(classroom, name)
    if read:
        for student in submissions:
            if gradebook.entered(classroom, name, student).exists():
                gradebook.feedback(classroom, name, student)
    for path in gradebook.export(classroom, name, submissions, verdicts, column):
        print(path.relative_to(classroom.folder))
    if unread := len(submissions) - read:
        print(f"{unread} essays are to be read: enter points in grades/{name}-essays.csv, then `finish {name}`")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m course", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--class", dest="folder", type=Path, default=Path("class"), help="the teacher's folder for this class")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    commands.add_parser("release").add_argument("sets", nargs="*", metavar="SET", help="default: all")
    for name in ("grade", "finish"):
        command = commands.add_parser(name)
        command.add_argument("set", metavar="SET")
        command.add_argument("--column", help="the column's name in Canvas, which ends with the assignment's number in parentheses")
        if name == "grade":
            command.add_argument("source", type=Path, metavar="FOLDER_OR_ZIP")
            command.add_argument("--workers", type=int, default=os.cpu_count(), help="submissions at a time (default: one a core)")
    options = parser.parse_args(arguments)
    try:
        if options.command == "list":
            list_sets()
            return 0
        if options.command != "release" and not (options.folder / "class.toml").exists():
            raise ValueError(f"there is no class in {options.folder}: `release` makes one")
        classroom = Classroom.open(options.folder)
        if options.command == "release":
            release_sets(classroom, options.sets or list(tasks.SECTIONS))
        elif options.command == "grade":
            grade_set(classroom, options.set, options.source, options.workers, sandbox.Limits(), options.column)
        else:
            finish(classroom, options.set, options.column)
    except (ValueError, RuntimeError) as error:
        print(f"course: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
