"""Verdicts into nbgrader's gradebook, and out of it: feedback pages that open offline, and tables for learning systems.

nbgrader keeps the grades, so that a person's points and comments, entered in its formgrader or in essays.csv, stand beside ours. Its own
execution is replaced: a check cell shows what the sandboxed grader found, and nothing of a student runs here.
"""

import csv
import io
import shutil
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbconvert.exporters import TemplateExporter
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde, GenerateFeedback
from nbgrader.plugins import CsvExportPlugin
from nbgrader.preprocessors import GetGrades, NbGraderPreprocessor, OverwriteCells, SaveAutoGrades
from traitlets import List, Unicode
from traitlets.config import Config

from . import engine, myst
from .check import report
from .classroom import Classroom, harmless, write
from .collect import Submission
from .exercises import grade_id, is_check
from .grading import Verdict
from .task import ProblemSet

TEMPLATES = Path(__file__).resolve().parent / "templates"


class ShowVerdict(NbGraderPreprocessor):
    """In nbgrader's place for executing a notebook: each check cell gets the points of its verdict, and the report as its output."""

    verdicts = Unicode(help="the folder of verdicts").tag(config=True)
    notes = List(help="what was noticed when the submission was collected").tag(config=True)

    def preprocess(self, nb, resources):
        verdict = Verdict.from_json(Path(self.verdicts, f"{resources['nbgrader']['student']}.json").read_text("utf8"))
        for number, cell in enumerate((cell for cell in nb.cells if cell.cell_type == "code"), 1):
            cell.outputs, cell.execution_count = [], None
            if is_check(cell):
                result = verdict.results[grade_id(cell).removesuffix("-check")]
                text = report(result, reveal=False)
                cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text + "\n"),
                                nbformat.v4.new_output("execute_result", {"text/plain": str(result.points)}, execution_count=number)]
                cell.execution_count = number
        nb.metadata.setdefault("course", {})["notes"] = [*self.notes, *verdict.notes]
        return nb, resources


def submitted(classroom: Classroom, name: str, student: str) -> Path:
    return classroom.folder / "submitted" / student / name / f"{name}.ipynb"


def entered(classroom: Classroom, name: str, student: str) -> Path:
    """The file that says, by the digest in it, which verdict is in the gradebook."""
    return classroom.folder / "verdicts" / name / f"{student}.entered"


def enter(classroom: Classroom, name: str, submission: Submission, verdict: Verdict) -> list[str]:
    """Enter one verdict into the gradebook, through nbgrader, and write its feedback page; returns what went wrong, if anything.

    A person's points and comments stay. A mark is written last, so that a run that is killed enters the verdict again.
    """
    student = submission.student
    mark = entered(classroom, name, student)
    if mark.exists() and mark.read_text("utf8") == verdict.digest:
        return []
    mark.unlink(missing_ok=True)
    shutil.rmtree(classroom.folder / "autograded" / student / name, ignore_errors=True)
    try:
        engine.run(Autograde, classroom, name, student,
                   Autograde=Config(sanitize_preprocessors=[OverwriteCells], autograde_preprocessors=[ShowVerdict, SaveAutoGrades], permissions=644),
                   ShowVerdict=Config(verdicts=str(classroom.folder / "verdicts" / name), notes=submission.notes))
        if submission.name and student not in classroom.roster:
            with Gradebook(engine.database(classroom)) as book:
                book.update_or_create_student(student, last_name=harmless(submission.name.replace(",", " ")))
        feedback(classroom, name, student)
    except RuntimeError as error:
        return [str(error)]         # one notebook that nbgrader cannot take must not stop the others
    write(mark, verdict.digest)
    return []


class ForTemplate(NbGraderPreprocessor):
    """What the feedback page's template needs beside the notebook: its style, and which answers nobody has read yet."""

    def preprocess(self, nb, resources):
        resources["style"], about = myst.style(), resources["nbgrader"]
        with Gradebook(about["db_url"]) as book:
            grades = book.find_submission_notebook(about["notebook"], about["assignment"], about["student"]).grades
            resources["unread"] = [grade.name for grade in grades if grade.auto_score is None and grade.manual_score is None]
        return nb, resources


class Page(TemplateExporter):
    """The page as the template writes it. nbconvert's HTMLExporter would parse it again, for pictures that it does not have."""

    file_extension = ".html"


def feedback(classroom: Classroom, name: str, student: str) -> Path:
    """Write the feedback page of one submission: one file, which loads nothing and runs nothing."""
    engine.run(GenerateFeedback, classroom, name, student,
               GenerateFeedback=Config(force=True, preprocessors=[GetGrades, ForTemplate], exporter_class=Page),
               Page=Config(template_name="feedback", extra_template_basedirs=[str(TEMPLATES)],
                           filters={"as_html": myst.html, "as_code": myst.highlight}))
    return classroom.folder / "feedback" / student / name / f"{name}.html"


# Essays, which a person reads


def essay_grade(book: Gradebook, name: str, student: str):
    return book.find_grade(f"{name}-essay", name, name, student)


def read_points(path: Path, most: float) -> dict[str, tuple[float | None, str]]:
    """The points (None where there are none yet) and comments that a teacher entered, by student. ValueError names a wrong line."""
    found = {}
    if path.exists():
        with path.open(newline="", encoding="utf-8-sig") as file:
            for line, row in enumerate(csv.DictReader(file), 2):
                text = row["points"].strip().replace(",", ".")
                try:
                    points = float(text) if text else None
                except ValueError:
                    points = -1.0
                if points is not None and not 0 <= points <= most:
                    raise ValueError(f"{path}, line {line}: points must be empty or a number from 0 to {most:g}, got {row['points']!r}")
                found[row["student"]] = points, row["comment"].strip()
    return found


def enter_essays(classroom: Classroom, name: str) -> int:
    """Enter what a teacher wrote into grades/NAME-essays.csv into the gradebook; returns how many essays have points."""
    most, entered = classroom.problem_set(name).essay.points, 0
    given = read_points(classroom.folder / "grades" / f"{name}-essays.csv", most)
    with Gradebook(engine.database(classroom)) as book:
        handed_in = {submission.student_id for submission in book.assignment_submissions(name)}
        if unknown := {student for student, what in given.items() if what != (None, "")} - handed_in:
            raise ValueError(f"{name}-essays.csv has points or comments for students who are not in the gradebook: {', '.join(sorted(unknown))}")
        for student, (points, comment) in given.items():
            if points is not None:
                grade = essay_grade(book, name, student)
                grade.manual_score, grade.needs_manual_grade = points, False
                entered += 1
            if comment:
                book.find_comment(f"{name}-essay", name, name, student).manual_comment = comment
        book.db.commit()
    return entered


# Tables


def table(path: Path, head: list[str], rows: list[list]) -> Path:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    write(path, text.getvalue())
    return path


@dataclass(frozen=True)
class Line:
    """One student in the tables; numbers as they are printed, "" where there is none."""

    student: str
    name: str
    email: str
    total: str = ""
    essay: str = ""
    comment: str = ""
    answer: str = ""
    notes: str = ""
    verdict: Verdict | None = None              # None: nothing was handed in


def shown(points: float | None) -> str:
    return "" if points is None else f"{points:g}"


def lines(classroom: Classroom, name: str, submissions: dict[str, Submission], verdicts: dict[str, Verdict]) -> list[Line]:
    """A line for everybody who is on the roster or handed something in."""
    with Gradebook(engine.database(classroom)) as book:
        # A notebook that nbgrader could not take has no entry: the run said so, and the others have theirs.
        totals = {submission.student_id: submission.score for submission in book.assignment_submissions(name)}
    given = read_points(classroom.folder / "grades" / f"{name}-essays.csv", classroom.problem_set(name).essay.points)
    found = []
    for student in {**classroom.roster, **submissions}:
        known, handed = classroom.roster.get(student), submissions.get(student)
        who = harmless(known.name if known else handed.name), known.email if known else ""
        if handed is None:
            found.append(Line(student, *who))
            continue
        points, comment = given.get(student, (None, ""))
        notes = harmless("; ".join([*handed.notes, *verdicts[student].notes]))
        found.append(Line(student, *who, shown(totals.get(student)), shown(points), comment, harmless(essay(classroom, name, student)), notes, verdicts[student]))
    return found


def essay(classroom: Classroom, name: str, student: str) -> str:
    """What the student wrote."""
    cells = nbformat.read(submitted(classroom, name, student), 4).cells
    return next(cell.source for cell in cells if grade_id(cell) == f"{name}-essay")


def export(classroom: Classroom, name: str, submissions: dict[str, Submission], verdicts: dict[str, Verdict], column: str | None = None) -> list[Path]:
    """Write the grades of one set as tables: nbgrader's, Canvas's and Moodle's columns, a summary, and the essays to be read."""
    one, people = classroom.problem_set(name), lines(classroom, name, submissions, verdicts)
    handed = [line for line in people if line.verdict]
    path = lambda kind: classroom.folder / "grades" / f"{name}-{kind}.csv"
    most = ["    Points Possible", "", "", "", "", one.points]
    return [
        nbgraders(classroom, name, path("nbgrader")),
        table(path("canvas"), ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", column or one.title],
              [most, *([line.name, line.student, "", line.email, "", line.total] for line in people)]),
        table(path("moodle"), ["Identifier", "Full name", "Email address", "Grade", "Maximum Grade", "Feedback comments"],
              [[f"Participant {line.student}", line.name, line.email, line.total, one.points,
                f"{line.total} of {one.points} points. Details: {name}.html" if line.total else ""] for line in people]),
        table(path("summary"), ["student", "name", *(task.name for task in one.tasks), "essay", "total", "notes", "attention", "seconds"],
              [summary(one, line) for line in people]),
        table(path("essays"), ["student", "name", "answer", "points", "comment"],
              [[line.student, line.name, line.answer, line.essay, line.comment] for line in handed]),
    ]


def summary(one: ProblemSet, line: Line) -> list:
    if line.verdict is None:
        return [line.student, line.name, *[""] * (len(one.tasks) + 2), "nothing was handed in", "", ""]
    points = [line.verdict.results[task.name].points for task in one.tasks]
    return [line.student, line.name, *points, line.essay, line.total, line.notes, harmless("; ".join(line.verdict.attention)), f"{line.verdict.seconds:.1f}"]


def nbgraders(classroom: Classroom, name: str, path: Path) -> Path:
    """nbgrader's own table, written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    plugin = CsvExportPlugin(log=engine.LOGGER)
    plugin.to, plugin.assignment = str(draft), [name]
    with Gradebook(engine.database(classroom)) as book:
        plugin.export(book)
    return draft.replace(path)
