"""Verdicts into nbgrader's gradebook, and out of it: feedback pages that open offline, and tables for learning systems.

nbgrader keeps the grades, so that a person's points and comments, entered in its formgrader or in essays.csv, stand beside ours. Its own
execution is replaced: a check cell shows what the sandboxed grader found, and nothing of a student runs here.
"""

import csv
import io
import shutil
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
        if unknown := set(given) - handed_in:
            raise ValueError(f"{name}-essays.csv names students who handed nothing in: {', '.join(sorted(unknown))}")
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


def export(classroom: Classroom, name: str, submissions: dict[str, Submission], verdicts: dict[str, Verdict], column: str | None = None) -> list[Path]:
    """Write the grades of one set as tables: nbgrader's, Canvas's and Moodle's columns, a summary, and the essays to be read."""
    one, folder = classroom.problem_set(name), classroom.folder / "grades"
    people = {student: Submission(student, who.name) for student, who in classroom.roster.items()} | submissions
    written, canvas, moodle, summary, essays = [], [], [], [], []
    given = read_points(folder / f"{name}-essays.csv", one.essay.points)
    with Gradebook(engine.database(classroom)) as book:
        # A notebook that nbgrader could not take has no entry: the run said so, and the others have theirs.
        totals = {submission.student_id: submission.score for submission in book.assignment_submissions(name)}
        answers = {student: next((cell.source for cell in nbformat.read(submitted(classroom, name, student), 4).cells
                                  if grade_id(cell) == f"{name}-essay"), "") for student in submissions}
        plugin = CsvExportPlugin(log=engine.LOGGER)
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".{name}-nbgrader.draft"
        plugin.to, plugin.assignment = str(draft), [name]
        plugin.export(book)
        written.append(draft.replace(folder / f"{name}-nbgrader.csv"))
    for student, who in people.items():
        known = classroom.roster.get(student)
        full, email = harmless(known.name if known else who.name), known.email if known else ""
        total = f"{totals[student]:g}" if student in totals else ""
        canvas.append([full, student, "", email, "", total])
        moodle.append([f"Participant {student}", full, email, total, one.points, f"{total} of {one.points} points. Details: {name}.html" if total else ""])
        if student not in verdicts:
            summary.append([student, full, *[""] * (len(one.tasks) + 2), "nothing was handed in", "", ""])
            continue
        verdict, read = verdicts[student], given.get(student, (None, ""))
        notes = "; ".join([*who.notes, *verdict.notes])
        summary.append([student, full, *(verdict.results[task.name].points for task in one.tasks), "" if read[0] is None else f"{read[0]:g}", total,
                        harmless(notes), harmless("; ".join(verdict.attention)), f"{verdict.seconds:.1f}"])
        essays.append([student, full, harmless(answers[student]), "" if read[0] is None else f"{read[0]:g}", read[1]])
    written.append(table(folder / f"{name}-canvas.csv", ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", column or one.title],
                         [["    Points Possible", "", "", "", "", one.points], *canvas]))
    written.append(table(folder / f"{name}-moodle.csv", ["Identifier", "Full name", "Email address", "Grade", "Maximum Grade", "Feedback comments"], moodle))
    written.append(table(folder / f"{name}-summary.csv", ["student", "name", *(task.name for task in one.tasks), "essay", "total", "notes", "attention", "seconds"], summary))
    written.append(table(folder / f"{name}-essays.csv", ["student", "name", "answer", "points", "comment"], essays))
    return written
