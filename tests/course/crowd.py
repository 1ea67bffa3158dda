"""A class that hands in all that classes hand in, with the points that each should get."""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from inspect import getsource
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course import exercises, release
from course.classroom import Classroom
from course.exercises import grade_id

ALL, NOTHING = "all", "nothing"


@dataclass(frozen=True)
class Handed:
    """One submission: a file's name as Canvas exports it, its bytes, and the points of each task."""

    student: str
    kind: str
    file: str
    data: bytes
    points: list[int]


class Class:
    """Students of one set of a class. `teacher` is a file that hostile ones try to delete."""

    def __init__(self, classroom: Classroom, name: str, teacher: Path) -> None:
        self.classroom, self.name, self.teacher = classroom, name, teacher
        self.one, self.released = classroom.problem_set(name), release.released(classroom, name)
        self.right = getsource(import_module(f"right.{name}"))

    def answers(self, student: str, way: int = 0) -> dict[str, str]:
        """Source code that answers every task in the student's version."""
        found = {}
        for task in self.one.tasks:
            case = vars(self.classroom.case(task, student))
            found[task.name] = (f"{self.right}\nfrom types import SimpleNamespace as _N\n_way = RIGHT[{task.name!r}][{way}](_N(**{case!r}))\n"
                                f"globals().update(_way if isinstance(_way, dict) else {{{task.answers[0]!r}: _way}})")
        return found

    def notebook(self, student: str, answers: dict[str, str], essay: str = "Because of the score.") -> NotebookNode:
        copy = release.version(self.released, self.classroom, self.one, student)
        for cell in copy.cells:
            cell.source = answers.get(grade_id(cell), essay if grade_id(cell) == f"{self.name}-essay" else cell.source)
        return copy

    def hand_in(self, number: int, kind: Callable) -> Handed:
        student = str(1000 + number)
        made = kind(self, student)
        data, expected = made[:2]
        file, late = made[2] if len(made) > 2 else f"{self.name}.ipynb", "LATE_" if kind is late_one else ""
        data = nbformat.writes(data) if isinstance(data, dict) else data
        points = [0 if expected is NOTHING or task.name in expected else task.points for task in self.one.tasks]
        return Handed(student, kind.__name__, f"student{number}_{late}{student}_{9000 + number}_{file}", data if isinstance(data, bytes) else data.encode(), points)


KINDS: list[Callable] = []


def kind(make: Callable) -> Callable:
    """Decorator: (class, student) -> the notebook or file, the tasks that earn nothing, and the file's name if it is another."""
    KINDS.append(make)
    return make


def with_cell(notebook: NotebookNode, code: str, place: int = 2) -> NotebookNode:
    notebook.cells.insert(place, nbformat.v4.new_code_cell(code, id="extra"))
    return notebook


@kind
def right(c, student):
    return c.notebook(student, c.answers(student)), []


@kind
def right_in_another_way(c, student):
    return c.notebook(student, c.answers(student, way=1)), []


@kind
def first_task_left_out(c, student):
    first = c.one.tasks[0].name
    return c.notebook(student, c.answers(student) | {first: exercises.stub(c.classroom.exercises(c.name)[first].solution)}), [first]


@kind
def empty(c, student):
    return c.notebook(student, {}, "YOUR ANSWER HERE"), NOTHING


@kind
def late_one(c, student):
    return c.notebook(student, c.answers(student)), []


@kind
def renamed(c, student):
    return c.notebook(student, c.answers(student)), [], "my homework (final).ipynb"


@kind
def missing_cells(c, student):
    notebook, first = c.notebook(student, c.answers(student)), c.one.tasks[0].name
    notebook.cells = [cell for cell in notebook.cells if grade_id(cell) not in (first, f"{first}-check", f"{c.name}-setup", f"{c.name}-essay")]
    return notebook, [first]


@kind
def answers_in_cells_of_their_own(c, student):
    notebook = c.notebook(student, {})
    notebook.cells = [cell for cell in notebook.cells if not exercises.is_solution(cell)]
    for code in c.answers(student).values():
        notebook.cells.append(nbformat.v4.new_code_cell(code))
    return notebook, []


@kind
def edited_tests(c, student):
    notebook = c.notebook(student, c.answers(student) | {c.one.tasks[0].name: "pass"})
    for cell in notebook.cells:
        if exercises.is_check(cell):
            cell.source, cell.metadata.nbgrader.points = "print('all right')", 1000
            cell.metadata.nbgrader.solution, cell.metadata.nbgrader.locked = True, False
            cell.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "1000"}, execution_count=1)]
    return notebook, [c.one.tasks[0].name]


@kind
def infinite_loop_in_an_answer(c, student):
    first = c.one.tasks[0]
    return c.notebook(student, c.answers(student) | {first.name: f"def {first.answers[0]}(*args, **kwargs):\n    while True: pass"}), [first.name]


@kind
def infinite_loop_in_a_cell(c, student):
    return with_cell(c.notebook(student, c.answers(student)), "while True:\n    pass"), []


@kind
def memory_hog(c, student):
    return with_cell(c.notebook(student, c.answers(student)), "import torch\nhog = [torch.ones(1 << 27) for _ in range(100)]"), []


@kind
def huge_output(c, student):
    return with_cell(c.notebook(student, c.answers(student)), "for _ in range(2000):\n    print('output ' * 1000)"), []


@kind
def broken_json(c, student):
    return nbformat.writes(c.notebook(student, c.answers(student)))[:-2000], NOTHING


@kind
def no_notebook(c, student):
    return b"PK a letter", NOTHING, "answers.docx"


@kind
def wrong_kernel(c, student):
    notebook = c.notebook(student, c.answers(student))
    notebook.metadata.kernelspec = {"name": "ir", "display_name": "R", "language": "R"}
    return notebook, []


@kind
def deletes_files(c, student):
    code = f"import os, shutil\nfor path in ({str(c.teacher)!r}, {str(c.classroom.folder)!r}, '/kit', os.path.expanduser('~')):\n    shutil.rmtree(path, ignore_errors=True)\nos.remove({str(c.teacher)!r})"
    return with_cell(c.notebook(student, c.answers(student)), code), []


@kind
def uses_the_network(c, student):
    return with_cell(c.notebook(student, c.answers(student)), "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:8888/answers', timeout=5)"), []


@kind
def starts_processes(c, student):
    return with_cell(c.notebook(student, c.answers(student)), "import os\nwhile True:\n    os.fork()"), []


@kind
def ends_its_process(c, student):
    return with_cell(c.notebook(student, c.answers(student)), "import os\nos._exit(0)"), NOTHING


@kind
def patches_the_comparison(c, student):
    first = c.one.tasks[0]
    cheat = f"import torch, math\ntorch.allclose = torch.equal = math.isclose = lambda *a, **k: True\ndef {first.answers[0]}(*args, **kwargs):\n    return args[0]"
    return c.notebook(student, c.answers(student) | {first.name: cheat}), [first.name]


@kind
def strange_text(c, student):
    text = json.loads(nbformat.writes(with_cell(c.notebook(student, c.answers(student), "=HYPERLINK(1) <script>alert(1)</script> \udc80 \x00"), "x = '\u2028'")))
    text["cells"][0]["metadata"], text["cells"][1]["source"] = None, 7
    return json.dumps(text), []


@kind
def cells_twice(c, student):
    notebook = c.notebook(student, c.answers(student))
    again = [nbformat.from_dict(cell) for cell in notebook.cells if exercises.is_solution(cell) and cell.cell_type == "code"]
    for cell in again:
        cell.id += "-again"
    notebook.cells += again
    return notebook, []


@kind
def a_zip(c, student):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(f"{c.name}/README.txt", "")
        archive.writestr(f"{c.name}/{c.name}.ipynb", nbformat.writes(c.notebook(student, c.answers(student))))
    return data.getvalue(), [], f"{c.name}.zip"


def crowd(classroom: Classroom, name: str, count: int, teacher: Path) -> list[Handed]:
    """`count` submissions of the set, all kinds in turn. Their answers need the module right.NAME beside this one."""
    students = Class(classroom, name, teacher)
    return [students.hand_in(number, KINDS[number % len(KINDS)]) for number in range(count)]


def packed(handed: list[Handed], path: Path) -> Path:
    """The submissions as a zip from Canvas."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for one in handed:
            archive.writestr(one.file, one.data)
    return path
