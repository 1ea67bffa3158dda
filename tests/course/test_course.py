"""From the chapters to grades: what is released, what a class gets for what it hands in, and what a killed run leaves."""

import ast
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from crowd import KINDS, crowd, packed

from course import engine, exercises, gradebook, grading, myst, release, sandbox, tasks
from course.__main__ import grade_set, main
from course.classroom import Classroom, Student, read_roster
from course.remote import SandboxAnswers
from course.sandbox import Limits

QUICK = Limits(cell=4.0, call=4.0)
NAME = "ddim"           # the set that the class below hands in
ROOT = exercises.ROOT
ALL_SETS = pytest.mark.parametrize("name", tasks.SECTIONS)


def rows(path):
    with path.open(newline="", encoding="utf8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A class to which every set was released."""
    classroom = Classroom.open(tmp_path_factory.mktemp("released"))
    for name in tasks.SECTIONS:
        release.release(classroom, name)
    return classroom


# The class and its settings


def test_a_new_class_has_a_secret_of_its_own(tmp_path):
    one, other = Classroom.open(tmp_path / "a"), Classroom.open(tmp_path / "b")
    assert len(one.secret) == 32 and one.secret != other.secret and Classroom.open(tmp_path / "a") == one
    task = tasks.find("origins-step")
    assert one.case(task, "x") == one.case(task, "y") and {one.case(task, "x").tau} <= set(task.vary["tau"][1:])


@pytest.mark.parametrize("text", ['secret = ""\nversions = "class"\n', 'secret = "x"\n', 'secret = "x"\nversions = "each"\n', 'secret = "x"\nversions = "student"\n', 'secret = "x"\nversions = "class"\nmore = 1\n'])
def test_settings_that_cannot_be_used_are_named(tmp_path, text):
    (tmp_path / "class.toml").write_text(text)
    with pytest.raises(ValueError, match="class.toml|roster.csv"):
        Classroom.open(tmp_path)


def test_a_roster_is_read_as_spreadsheets_write_it(tmp_path):
    path = tmp_path / "roster.csv"
    path.write_bytes("\ufeffid,name,email\r\n7,\"Doe, Jane\",j@x.org\r\n8,José,\r\n".encode())
    assert read_roster(path) == {"7": Student("7", "Doe, Jane", "j@x.org"), "8": Student("8", "José", "")}
    for text, why in (("id,name\n1,a\n1,b\n", "line 3"), ("id,name\n,a\n", "line 2"), ("student\n1\n", "columns")):
        path.write_text(text)
        with pytest.raises(ValueError, match=why):
            read_roster(path)


def test_versions_differ_between_students_and_follow_the_secret(tmp_path):
    (tmp_path / "class.toml").write_text('secret = "a secret"\nversions = "student"\n')
    (tmp_path / "roster.csv").write_text("id,name,email\n" + "".join(f"{i},Student {i},\n" for i in range(30)))
    classroom, task = Classroom.open(tmp_path), tasks.find("origins-step")
    assert {classroom.case(task, str(i)).tau for i in range(30)} == set(task.vary["tau"][1:])
    assert len({classroom.case(task, str(i)).seed for i in range(30)}) == 30
    release.release(classroom, "origins")
    texts = []
    for student in classroom.roster:
        with zipfile.ZipFile(tmp_path / "handout" / "origins" / f"{student}.zip") as archive:
            notebook = nbformat.reads(archive.read("origins/origins.ipynb").decode(), 4)
        texts.append(next(cell.source for cell in notebook.cells if cell.metadata.get("course", {}).get("task") == "origins-step"))
        assert notebook.metadata.course == {"set": "origins", "student": student}
        assert f"{classroom.case(task, student).tau}" in texts[-1].split("Your version")[1]
    assert len(set(texts)) == 3


# What students get


@ALL_SETS
def test_a_release_holds_stubs_and_nothing_of_the_solutions(released, name):
    handout = released.folder / "handout" / f"{name}.zip"
    with zipfile.ZipFile(handout) as archive:
        texts = {file: archive.read(file).decode() for file in archive.namelist() if not file.endswith((".npz", ".json"))}
    assert {f"{name}/{file}" for file in (f"{name}.ipynb", "README.txt", "requirements.txt", "LICENSE", "NOTICE", "diffusion_core/__init__.py")} <= set(texts)
    assert not any(file.startswith(f"{name}/course") for file in texts) and handout.stat().st_size < 6 << 20
    notebook, one = texts[f"{name}/{name}.ipynb"], tasks.problem_set(name)
    public = "\n".join(text for file, text in texts.items() if file.endswith(".py"))
    shown = "\n".join(cell.source for cell in nbformat.reads(notebook, 4).cells)
    given = [one.setup] + [text for task in one.tasks for text in (task.example, exercises.everything()[task.name].statement, *exercises.everything()[task.name].code)]
    statement = "\n".join(given)
    for task in one.tasks:
        exercise = exercises.everything()[task.name]
        for line in map(str.strip, exercise.answer.splitlines()):
            assert len(line) < 12 or line in exercises.stub(exercise.solution) or line in statement or line in public or line not in shown, line
        for sentence in re.split(r"(?<=[.:])\s", exercise.explanation):
            assert len(sentence) < 20 or sentence not in shown, sentence
        assert task.name in notebook and "raise NotImplementedError()" in shown
    for sentence in re.split(r"(?<=[.;])\s", " ".join(one.essay.rubric.split())):
        assert len(sentence) < 40 or sentence not in " ".join(shown.split()), sentence
    assert shown.count("YOUR CODE HERE") >= len(one.tasks) and shown.count("YOUR ANSWER HERE") == 1
    assert not re.search(r"\{(eq|term|cite|cite:t|ref|doc|prf:ref)\}`|^:::|^```\{", shown, re.M), "MyST that JupyterLab does not know"


@ALL_SETS
def test_a_release_runs_by_itself_up_to_the_stubs(released, name, tmp_path):
    with zipfile.ZipFile(released.folder / "handout" / f"{name}.zip") as archive:
        archive.extractall(tmp_path)
    notebook = nbformat.read(tmp_path / name / f"{name}.ipynb", 4)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code" and not exercises.is_check(cell))
    code += "\nimport diffusion_core, os, sys\nassert os.path.samefile(os.path.dirname(diffusion_core.__file__), 'diffusion_core'), diffusion_core.__file__\n"
    done = subprocess.run([sys.executable, "-c", f"import sys; sys.path = [''] + [p for p in sys.path if 'site-packages' in p or 'lib' in p]\n{code}"],
                          cwd=tmp_path / name, capture_output=True, text=True, env=sandbox.environment(None))
    assert done.returncode == 0, done.stderr[-2000:]


@ALL_SETS
def test_nbgrader_knows_every_task_and_its_points(released, name):
    from nbgrader.api import Gradebook

    one = tasks.problem_set(name)
    with Gradebook(engine.database(released)) as book:
        cells = {cell.name: cell.max_score for cell in book.find_notebook(name, name).grade_cells}
    assert cells == {f"{task.name}-check": task.points for task in one.tasks} | {f"{name}-essay": one.essay.points}


def test_pins_of_a_release_are_the_books(released):
    pins = release.requirements()
    assert all(line in (ROOT / "requirements.txt").read_text() for line in pins.splitlines()) and len(pins.splitlines()) == len(release.NEEDED)


# The transport: a right answer in another process is a right answer


@ALL_SETS
def test_a_right_answer_earns_everything_through_the_sandbox(released, name, tmp_path):
    from crowd import Class

    students = Class(released, name, tmp_path / "none")
    answers = students.answers("a student")
    cells = [answers.get(exercises.grade_id(cell), cell.source) for cell in students.released.cells if cell.cell_type == "code" and not exercises.is_check(cell)]
    through = SandboxAnswers(cells, Limits(), sandbox.bubblewrap())
    for task in students.one.tasks:
        through.prepare(task.harness)
        result = task.grade(through, released.case(task, "a student"))
        assert result.points == task.points, (task.name, result)
    through.close()
    assert not through.errors


# A class


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A class of one submission of every kind, graded: its folder, what was handed in, what the run printed."""
    folder = tmp_path_factory.mktemp("graded")
    classroom = Classroom.open(folder / "class")
    (classroom.folder / "roster.csv").write_text("id,name,email\n1000,\"Doe, Jane\",jane@x.org\n5,=HYPERLINK(1),\n")
    classroom = Classroom.open(folder / "class")
    release.release(classroom, NAME)
    teacher = folder / "teacher.txt"
    teacher.write_text("keep")
    handed = crowd(classroom, NAME, len(KINDS), teacher)
    packed(handed, folder / "submissions.zip")
    command = f"from course.__main__ import *\ngrade_set(Classroom.open(Path({str(classroom.folder)!r})), {NAME!r}, Path({str(folder / 'submissions.zip')!r}), 2, sandbox.Limits(cell=4.0, call=4.0))"
    run = [sys.executable, "-c", command]
    # Killed twice on the way, by the hard signal, with all its processes left to themselves; then run to the end.
    printed = []
    for verdicts in (3, 10, None):
        process = subprocess.Popen(run, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        lines = []
        for line in process.stdout:
            lines.append(line)
            if verdicts and line.startswith(f"[{verdicts}/"):
                process.send_signal(signal.SIGKILL)
                break
        process.stdout.close() if verdicts else None
        process.wait()
        printed.append("".join(lines))
    assert process.returncode == 0, printed[-1]
    return classroom, handed, printed, teacher


def test_every_submission_gets_what_it_deserves_though_the_run_was_killed_twice(graded):
    classroom, handed, printed, _ = graded
    one = classroom.problem_set(NAME)
    found = {row["student"]: [int(row[task.name]) for task in one.tasks] for row in rows(classroom.folder / "grades" / f"{NAME}-summary.csv") if row[one.tasks[0].name]}
    assert found == {one.student: one.points for one in handed}, {one.student: one.kind for one in handed}
    assert "graded before" in printed[1] and printed[2].count("graded before") >= 10
    assert len(re.findall(r"^\[\d+/\d+\] \d+: \d+ of \d+ points, ([\d.]+ s|graded before)$", printed[2], re.M)) == len(handed), printed[2]


def test_nothing_of_the_teachers_was_touched(graded):
    classroom, _, _, teacher = graded
    assert teacher.read_text() == "keep" and (classroom.folder / "class.toml").read_text().startswith("# Whoever knows")
    assert {path.name for path in (classroom.folder / "originals" / NAME).glob("*.json")} == {f"{one.student}.json" for one in graded[1]}


def test_what_was_handed_in_is_kept_as_it_was(graded):
    classroom, handed, _, _ = graded
    for one in handed:
        if one.kind not in ("no_notebook", "a_zip"):
            (kept,) = (classroom.folder / "originals" / NAME / one.student).iterdir()
            assert kept.read_bytes() == one.data


def test_the_tables_have_the_columns_of_their_systems(graded):
    classroom, handed, _, _ = graded
    folder, one = classroom.folder / "grades", classroom.problem_set(NAME)
    totals = {h.student: sum(h.points) for h in handed}
    nbgrader = {row["student_id"]: row for row in rows(folder / f"{NAME}-nbgrader.csv")}
    assert list(next(iter(nbgrader.values()))) == ["assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email", "raw_score", "late_submission_penalty", "score", "max_score"]
    assert {student: float(nbgrader[student]["score"]) for student in totals} == totals and float(nbgrader["1000"]["max_score"]) == one.points
    assert (nbgrader["1000"]["last_name"], nbgrader["1001"]["last_name"]) == ("Jane", "student1")
    canvas = rows(folder / f"{NAME}-canvas.csv")
    assert list(canvas[0]) == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", one.title] and canvas[0]["Student"].strip() == "Points Possible"
    assert {row["ID"]: float(row[one.title]) for row in canvas[1:] if row[one.title]} == totals
    moodle = {row["Identifier"]: row for row in rows(folder / f"{NAME}-moodle.csv")}
    assert list(moodle["Participant 1000"]) == ["Identifier", "Full name", "Email address", "Grade", "Maximum Grade", "Feedback comments"]
    assert {s: float(moodle[f"Participant {s}"]["Grade"]) for s in totals} == totals
    assert moodle["Participant 1000"]["Full name"] == "Doe, Jane" and moodle["Participant 5"]["Grade"] == "" and moodle["Participant 5"]["Full name"].startswith("'=")
    assert all(not re.match(r"[=+@-]", cell) for path in folder.glob("*.csv") for row in rows(path) for cell in row.values() if cell and not re.fullmatch(r"-?[\d.]+", cell))


def test_notes_say_what_was_wrong(graded):
    classroom, handed, _, _ = graded
    notes = {row["student"]: row["notes"] for row in rows(classroom.folder / "grades" / f"{NAME}-summary.csv")}
    by_kind = {one.kind: notes[one.student] for one in handed}
    for kind, words in {"right": "", "late_one": "handed in late", "renamed": "renamed to my homework (final).ipynb", "missing_cells": "is missing", "edited_tests": "was changed; ours is used",
                        "infinite_loop_in_a_cell": "took longer than 4 s", "memory_hog": "code cell", "huge_output": "it printed: output", "broken_json": "no notebook that can be read",
                        "no_notebook": "answers.docx", "wrong_kernel": "set to r", "deletes_files": "FileNotFoundError", "uses_the_network": "URLError", "starts_processes": "not permitted",
                        "ends_its_process": "its process ended", "cells_twice": "more than once"}.items():
        assert words in by_kind[kind] and (words or not by_kind[kind]), (kind, by_kind[kind])


def test_feedback_opens_offline_and_runs_nothing_of_the_students(graded):
    classroom, handed, _, _ = graded
    for one in handed:
        page = classroom.folder / "feedback" / one.student / NAME / f"{NAME}.html"
        text = page.read_text("utf8")
        soup = BeautifulSoup(text, "html.parser")
        assert not soup.find_all(["script", "link", "iframe", "object", "img"]) and "default-src 'none'" in text, one.kind
        assert not re.search(r"""(?:src|href)=["'](?!#)|@import|url\((?!["']?data:)""", text), one.kind
        assert f"{sum(one.points)} of {classroom.problem_set(NAME).points} points" in soup.find(class_="total").text
        assert "not read yet" in text or "0 of" in text
        reports = [section.text for section in soup.find_all("section", class_="found")]
        assert [int(re.search(r": (\d+) of", report)[1]) for report in reports] == one.points
        assert "<math" in text or NAME not in ("ddim", "origins")
    right = (classroom.folder / "feedback" / "1000" / NAME / f"{NAME}.html").read_text()
    assert "\\bar" not in BeautifulSoup(right, "html.parser").find("main").text.replace("\\bar\\alpha`", "")


def test_essays_are_read_and_entered_and_kept(graded, tmp_path):
    source, _, _, _ = graded
    shutil.copytree(source.folder, tmp_path / "class")
    classroom = Classroom.open(tmp_path / "class")
    path, before = classroom.folder / "grades" / f"{NAME}-essays.csv", {}
    essays = rows(path)
    before = {row["ID"]: row[classroom.problem_set(NAME).title] for row in rows(classroom.folder / "grades" / f"{NAME}-canvas.csv")}
    essays[0]["points"], essays[0]["comment"] = "1,5", "Good <b>point</b>."
    gradebook.table(path, list(essays[0]), [list(row.values()) for row in essays])
    assert main(["--class", str(classroom.folder), "finish", NAME]) == 0
    after = {row["ID"]: row[classroom.problem_set(NAME).title] for row in rows(classroom.folder / "grades" / f"{NAME}-canvas.csv")}
    student = essays[0]["student"]
    assert float(after[student]) == float(before[student]) + 1.5 and {k: v for k, v in after.items() if k != student} == {k: v for k, v in before.items() if k != student}
    assert rows(path)[0]["points"] == "1.5" and rows(path)[0]["comment"] == "Good <b>point</b>."
    page = (classroom.folder / "feedback" / student / NAME / f"{NAME}.html").read_text()
    assert "Good &lt;b&gt;point&lt;/b&gt;." in page
    for wrong in ("-1", "1000", "many"):
        essays[0]["points"] = wrong
        gradebook.table(path, list(essays[0]), [list(row.values()) for row in essays])
        assert main(["--class", str(classroom.folder), "finish", NAME]) == 2


def test_a_grader_that_dies_or_hangs_asks_for_a_person_and_stops_nobody(graded, tmp_path, monkeypatch):
    classroom, _, _, _ = graded
    one = classroom.problem_set(NAME)
    target = tmp_path / "x.json"
    verdict = grading.verdict_of(one, "7", "mark", target, "its grader ended (code -9)")
    assert verdict.points == 0 and "code -9" in verdict.attention[0] and grading.Verdict.from_json(target.read_text()) == verdict
    assert verdict.digest != "mark"                                                # so that the next run tries again
    done = grading.Verdict("7", "mark", {})
    target.write_text(done.to_json())
    assert grading.verdict_of(one, "7", "mark", target, "other") == done            # a verdict that was written counts, however its process ended


def test_a_changed_submission_or_grader_is_graded_again_and_no_other():
    marks = {grading.digest(*parts) for parts in ((b"a", "case", "graders"), (b"b", "case", "graders"), (b"a", "other", "graders"), (b"a", "case", "others"))}
    assert len(marks) == 4


# A teacher's own set

PRIVATE = '''
from course.task import Essay, ProblemSet, Task, close, number

half = Task("own-half", ("half",), minutes=5, difficulty=1, example="half(1.0)")

@half.part(2, "numbers are halved")
def halved(answers, case):
    for x in case.normal(3).tolist():
        assert close(number(answers.half(x)), x / 2), "not half"

SET = ProblemSet("own", "My own set", "", "import math", [half], Essay("Why?", "Because it is so.", 2, 5))
'''


@pytest.fixture
def own(tmp_path):
    """A class with a private set of one task, to which ann handed in a right answer and ben a wrong one: the class, and what came in."""
    classroom = Classroom.open(tmp_path / "class")
    private = classroom.folder / "private"
    private.mkdir()
    (private / "own.py").write_text(PRIVATE)
    nb = nbformat.v4
    solution = nb.new_code_cell("def half(x):\n    ### BEGIN SOLUTION\n    return x / 2\n    ### END SOLUTION", metadata=release.entry("own-half", solution=True))
    nbformat.write(nb.new_notebook(cells=[nb.new_markdown_cell("```{exercise-start} Halves\n:label: ex-own-half\n```\n\nHalve $x$.\n\n```{exercise-end}\n```"), solution,
                                          nb.new_code_cell('check("own-half")', metadata=release.entry("own-half-check", points=2))]), private / "own.ipynb")
    release.release(classroom, "own")
    notebook = release.released(classroom, "own")
    for student, code in (("ann", "def half(x): return 0.5 * x"), ("ben", "def half(x): return 0")):
        copy = nbformat.from_dict(notebook)
        next(cell for cell in copy.cells if exercises.grade_id(cell) == "own-half").source = code
        (tmp_path / "in" / student).mkdir(parents=True)
        nbformat.write(copy, tmp_path / "in" / student / "own.ipynb")
    return classroom, tmp_path / "in"


def test_a_teachers_private_set_is_released_and_graded_like_the_books(own, capsys):
    classroom, incoming = own

    def graded():
        assert grade_set(classroom, "own", incoming, 2, QUICK) == 0
        return {row["student"]: row["own-half"] for row in rows(classroom.folder / "grades" / "own-summary.csv")}

    assert graded() == {"ann": "2", "ben": "0"}
    capsys.readouterr()
    # Ben hands in again. Only his is graded again, and what he gets changes everywhere.
    path = incoming / "ben" / "own.ipynb"
    path.write_text(path.read_text().replace("return 0", "return x / 2"))
    assert graded() == {"ann": "2", "ben": "2"}
    assert re.findall(r"(ann|ben): 2 of 2 points, (graded before|[\d.]+ s)", capsys.readouterr().out)[0] == ("ann", "graded before")
    assert "2 of 4 points" in (classroom.folder / "feedback" / "ben" / "own" / "own.html").read_text()


def test_a_mended_grader_grades_again(own, capsys):
    classroom, incoming = own
    grade_set(classroom, "own", incoming, 2, QUICK)
    path = classroom.folder / "private" / "own.py"
    path.write_text(path.read_text().replace("number(answers.half(x)), x / 2", "number(answers.half(x)), 0"))
    capsys.readouterr()
    assert grade_set(classroom, "own", incoming, 2, QUICK) == 0 and "graded before" not in capsys.readouterr().out
    assert {row["student"]: row["own-half"] for row in rows(classroom.folder / "grades" / "own-summary.csv")} == {"ann": "0", "ben": "2"}


def test_what_nbgrader_cannot_take_is_named_and_stops_nobody(own, monkeypatch, capsys):
    classroom, incoming = own
    run = engine.run

    def fails_for_ben(converter, classroom, name, student="*", **settings):
        if student == "ben":
            raise RuntimeError("nbgrader: ben's notebook cannot be taken")
        run(converter, classroom, name, student, **settings)

    monkeypatch.setattr(engine, "run", fails_for_ben)
    assert main(["--class", str(classroom.folder), "finish", "own"]) == 2 and "to be graded first" in capsys.readouterr().err
    assert grade_set(classroom, "own", incoming, 2, QUICK) == 1
    assert "look at it: nbgrader: ben's notebook cannot be taken" in capsys.readouterr().out
    totals = {row["student"]: row["total"] for row in rows(classroom.folder / "grades" / "own-summary.csv")}
    assert totals == {"ann": "2", "ben": ""} and not (classroom.folder / "feedback" / "ben").exists()
    assert grade_set(classroom, "own", incoming, 2, QUICK) == 1          # and again: the table of essays is there now
    monkeypatch.setattr(engine, "run", run)
    assert grade_set(classroom, "own", incoming, 2, QUICK) == 0
    assert {row["student"]: row["total"] for row in rows(classroom.folder / "grades" / "own-summary.csv")} == {"ann": "2", "ben": "0"}
    with (classroom.folder / "grades" / "own-essays.csv").open("a") as file:
        file.write("eve,,,1,\n")
    assert main(["--class", str(classroom.folder), "finish", "own"]) == 2 and "eve" in capsys.readouterr().err


# The commands


def test_commands_say_what_is_wrong(tmp_path, capsys):
    folder = ["--class", str(tmp_path / "class")]
    assert main([*folder, "grade", "ddim", str(tmp_path)]) == 2 and not (tmp_path / "class").exists()
    assert "`release` makes one" in capsys.readouterr().err
    Classroom.open(tmp_path / "class")
    for arguments in (["release", "nonsense"], ["grade", "ddim", str(tmp_path)], ["grade", "nonsense", str(tmp_path)], ["finish", "nonsense"]):
        assert main([*folder, *arguments]) == 2
        assert capsys.readouterr().err.startswith("course: ")


def test_list_shows_every_set(tmp_path, capsys):
    assert main(["--class", str(tmp_path / "class"), "list"]) == 0
    text = capsys.readouterr().out
    assert all(task.name in text for one in tasks.sets() for task in one.tasks) and all(one.name in text for one in tasks.sets())


def test_the_guide_for_teachers_lists_every_set_as_it_is():
    listed = re.findall(r"^\| `(\w+)` \| \[([\d.]+)\]\(\.\./chapters/(\S+)\.ipynb\) \| (.*) \| (\d+) \| (\d+) \|$", (ROOT / "book" / "teaching.md").read_text("utf8"), re.M)
    assert listed == [(one.name, myst.section(Path(one.section)), one.section, one.title, str(one.points), str(one.minutes)) for one in tasks.sets()]
