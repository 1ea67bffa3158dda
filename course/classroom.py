"""A teacher's folder for one class: its settings, its students, its problem sets.

    class.toml      the secret that versions and the graders' inputs are drawn from, and whether each student gets a version
    roster.csv      id,name,email: optional, needed for a version a student
    private/        problem sets of the teacher's own: NAME.py as in course/tasks and NAME.ipynb as in chapters
    source/ release/ submitted/ autograded/ feedback/ gradebook.db     nbgrader's
    originals/      what students handed in, as it was;  verdicts/ what the graders found;  grades/ tables for the learning system
"""

import csv
import importlib.util
import secrets
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from . import exercises, tasks
from .task import Case, ProblemSet, Task

SETTINGS = """\
# Whoever knows the secret can work out every version and every input of the graders. Keep it.
secret = "{}"
# "class": all students get one version of each task.  "student": each student of roster.csv gets a version.
versions = "class"
"""
VERSIONS = ("class", "student")


@dataclass(frozen=True)
class Student:
    id: str
    name: str = ""
    email: str = ""


@dataclass(frozen=True)
class Classroom:
    folder: Path
    secret: str
    versions: str
    roster: dict[str, Student]

    @classmethod
    def open(cls, folder: Path) -> "Classroom":
        """The class in `folder`, made with a new secret if there is none. ValueError for settings or a roster that cannot be used."""
        folder = folder.resolve()
        settings = folder / "class.toml"
        if not settings.exists():
            folder.mkdir(parents=True, exist_ok=True)
            write(settings, SETTINGS.format(secrets.token_hex(16)))
        found = tomllib.loads(settings.read_text("utf8"))
        if set(found) != {"secret", "versions"} or found["versions"] not in VERSIONS or not found["secret"]:
            raise ValueError(f"{settings} must set secret, and versions to one of {', '.join(VERSIONS)}; it sets {found}")
        roster = read_roster(folder / "roster.csv")
        if found["versions"] == "student" and not roster:
            raise ValueError(f'versions = "student" needs {folder / "roster.csv"} with the columns id,name,email')
        return cls(folder, found["secret"], found["versions"], roster)

    def case(self, task: Task, student: str) -> Case:
        """The version of `task` that `student` gets."""
        return task.case(self.secret, student if self.versions == "student" else "class")

    def problem_set(self, name: str) -> ProblemSet:
        """A set of private/, else one of the book's."""
        private = self.folder / "private" / f"{name}.py"
        if not private.exists():
            return tasks.problem_set(name)
        spec = importlib.util.spec_from_file_location(f"private_set_{name}", private)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module.SET

    def exercises(self, name: str) -> dict[str, exercises.Exercise]:
        """The statements and solutions of a set, by task."""
        private = self.folder / "private" / f"{name}.ipynb"
        return exercises.read(private if private.exists() else exercises.CHAPTERS / f"{self.problem_set(name).section}.ipynb")


def read_roster(path: Path) -> dict[str, Student]:
    """The students of a CSV file with the columns id, name and email, by id; none if there is no file. ValueError names a wrong line."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if not {"id", "name"} <= set(reader.fieldnames or ()):
            raise ValueError(f"{path} must have the columns id,name,email; it has {reader.fieldnames}")
        found: dict[str, Student] = {}
        for line, row in enumerate(reader, 2):
            student = Student(row["id"].strip(), row["name"].strip(), (row.get("email") or "").strip())
            if not student.id or student.id in found:
                raise ValueError(f"{path}, line {line}: the id {student.id!r} is empty or occurs twice")
            found[student.id] = student
    return found


def harmless(text: str) -> str:
    """Text of somebody else for a table: a spreadsheet must not take it for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def write(path: Path, text: str | bytes) -> None:
    """Write a file whole or not at all: a run that is killed leaves no half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(text.encode() if isinstance(text, str) else text)
    draft.replace(path)
