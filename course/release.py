"""Problem sets as students get them: a folder that needs nothing else, made from the chapters through nbgrader.

The exercises of a section become the source notebook of an nbgrader assignment; nbgrader takes the solutions out and enters the
assignment into its gradebook; then each version gets its own sentences, and the package, the pins and a page of instructions are added.
"""

import shutil
import zipfile
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.converters import GenerateAssignment
from traitlets.config import Config

from . import engine, myst
from .classroom import Classroom, harmless, write
from .exercises import ROOT, Exercise
from .task import DIFFICULTY, Essay, ProblemSet, Task

# What students install, at the book's pins: what the package imports, and JupyterLab.
NEEDED = ("torch", "numpy", "matplotlib", "safetensors", "anywidget", "tqdm", "jupyterlab", "ipykernel")
# The package is copied without what draws in pages and without trained networks: the tasks use exact models.
LEFT_OUT = shutil.ignore_patterns("__pycache__", "weights", "web", "*.safetensors")
ANSWER = "YOUR ANSWER HERE"
README = """\
Problem set "{title}"
{line}

1. Install Python 3.11 or later, then in this folder:

       python -m venv .venv
       .venv/bin/pip install -r requirements.txt        (Windows: .venv\\Scripts\\pip)

2. Open the notebook:

       .venv/bin/jupyter lab {name}.ipynb

3. Write each answer into the cell that says YOUR CODE HERE, and the text into the one that says YOUR ANSWER HERE. Keep
   the names of the functions. You may add cells. The cell after an answer makes one example call.

4. Hand in {name}.ipynb. Only this file is graded. Your functions are called with other numbers than the example's.
"""


def entry(name: str, *, points: int | None = None, solution: bool = False, locked: bool = False) -> dict:
    """nbgrader's metadata of a cell; with `points` it is graded."""
    grade = {"grade": points is not None} | ({"points": points} if points is not None else {})
    return {"nbgrader": {"grade_id": name, "solution": solution, "locked": locked, "schema_version": 3, "task": False, **grade}}


def markdown(identity: str, text: str, **metadata) -> NotebookNode:
    return nbformat.v4.new_markdown_cell(text, id=identity, metadata=metadata)


def code(identity: str, text: str, **metadata) -> NotebookNode:
    return nbformat.v4.new_code_cell(text, id=identity, metadata=metadata)


def task_cells(number: int, task: Task, exercise: Exercise) -> list[NotebookNode]:
    """A task's statement, what it is given, the place for the answer, and an example call."""
    about = f"{task.points} points · {DIFFICULTY[task.difficulty]} · about {task.minutes} minutes"
    title = exercise.title.split(": ", 1)[-1]
    statement = f"## Task {number}. {title[0].upper()}{title[1:]}\n\n*{about}*\n\n{myst.plain(exercise.statement)}"
    given = [code(f"{task.name}-given-{i}", text, **entry(f"{task.name}-given-{i}", locked=True)) for i, text in enumerate(exercise.code, 1)]
    example = f"# One example call. The grader makes others, and checks properties of what comes back.\n{task.example}"
    return [markdown(f"{task.name}-statement", statement, course={"task": task.name}), *given,
            code(task.name, exercise.solution, **entry(task.name, solution=True)),
            code(f"{task.name}-check", example, **entry(f"{task.name}-check", points=task.points, locked=True))]


def essay_cells(name: str, number: int, essay: Essay) -> list[NotebookNode]:
    question = f"## Task {number}. In your own words\n\n*{essay.points} points · about {essay.minutes} minutes · read by a person*\n\n{myst.plain(essay.question)}"
    rubric = f"### BEGIN SOLUTION\n{essay.rubric}\n### END SOLUTION"
    return [markdown(f"{name}-question", question), markdown(f"{name}-essay", rubric, **entry(f"{name}-essay", points=essay.points, solution=True))]


def source(one: ProblemSet, found: dict[str, Exercise]) -> NotebookNode:
    """The set as nbgrader's source notebook, with solutions."""
    head = (f"# Problem set: {one.title}\n\n{one.points} points, about {one.minutes} minutes. Write each answer into the cell that says "
            f"`YOUR CODE HERE`, and keep the names of the functions. The cell after an answer makes one example call; the grader makes others. "
            f"You may add cells.\n\nRun the next cell first. What it defines, you may use in your answers.")
    cells = [markdown("head", head), code(f"{one.name}-setup", one.setup.strip(), **entry(f"{one.name}-setup", locked=True))]
    for number, task in enumerate(one.tasks, 1):
        cells += task_cells(number, task, found[task.name])
    cells += essay_cells(one.name, len(one.tasks) + 1, one.essay)
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}, "language_info": {"name": "python"},
                "course": {"set": one.name}}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def version(released: NotebookNode, classroom: Classroom, one: ProblemSet, student: str) -> NotebookNode:
    """The released notebook with the sentences of the student's version, and the student's id in its metadata where versions differ."""
    tasks = {task.name: task for task in one.tasks}
    copy = nbformat.from_dict(released)
    for cell in copy.cells:
        task = tasks.get(cell.metadata.get("course", {}).get("task"))
        if task is not None and task.vary:
            twist = task.twist.format_map(vars(classroom.case(task, student)))
            cell.source += f"\n\n**Your version of this task.** {myst.plain(twist)}"
    if classroom.versions == "student":
        copy.metadata.course["student"] = student
    return copy


def generate(classroom: Classroom, name: str) -> NotebookNode:
    """Write source/ and release/ of one set, enter it into the gradebook, and return what nbgrader made of it."""
    one, found = classroom.problem_set(name), classroom.exercises(name)
    shutil.rmtree(classroom.folder / "release" / name, ignore_errors=True)
    write(classroom.folder / "source" / name / f"{name}.ipynb", nbformat.writes(source(one, found)))
    engine.run(GenerateAssignment, classroom, name, GenerateAssignment=Config(force=True))
    with Gradebook(engine.database(classroom)) as book:
        for student in classroom.roster.values():
            first, _, last = harmless(student.name.replace(",", " ")).rpartition(" ")         # nbgrader's table does not quote
            book.update_or_create_student(student.id, first_name=first, last_name=last, email=student.email)
    return released(classroom, name)


def released(classroom: Classroom, name: str) -> NotebookNode:
    """What nbgrader made of the source; ValueError if the set was never released."""
    path = classroom.folder / "release" / name / f"{name}.ipynb"
    if not path.exists():
        raise ValueError(f"the set {name!r} was not released from {classroom.folder}: release it first")
    return nbformat.read(path, 4)


def requirements(root: Path = ROOT) -> str:
    """The book's pins of what students need."""
    lines = (root / "requirements.txt").read_text("utf8").splitlines()
    return "".join(f"{line}\n" for line in lines if line.split("==")[0] in NEEDED)


def kit(classroom: Classroom, one: ProblemSet, notebook: NotebookNode, target: Path) -> Path:
    """A zip that holds all a student needs for one set: notebook, package, pins, instructions."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.draft")
    readme = README.format(title=one.title, name=one.name, line="=" * (len(one.title) + 14))
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in ((f"{one.name}.ipynb", nbformat.writes(notebook)), ("README.txt", readme), ("requirements.txt", requirements()),
                           ("LICENSE", (ROOT / "LICENSE").read_text("utf8")), ("NOTICE", (ROOT / "NOTICE").read_text("utf8"))):
            archive.writestr(f"{one.name}/{name}", text)
        for path in package(ROOT / "diffusion_core"):
            archive.write(path, f"{one.name}/{path.relative_to(ROOT).as_posix()}")
    draft.replace(target)
    return target


def package(folder: Path) -> list[Path]:
    """The files of the package that students get."""
    names = [path.name for path in folder.iterdir()]
    found = []
    for name in sorted(set(names) - LEFT_OUT(str(folder), names)):
        path = folder / name
        found += package(path) if path.is_dir() else [path]
    return found


def release(classroom: Classroom, name: str) -> list[Path]:
    """Release one set: the zips to hand out, one for the class or one a student."""
    one, notebook = classroom.problem_set(name), generate(classroom, name)
    if classroom.versions == "class":
        return [kit(classroom, one, version(notebook, classroom, one, "class"), classroom.folder / "handout" / f"{name}.zip")]
    return [kit(classroom, one, version(notebook, classroom, one, student), classroom.folder / "handout" / name / f"{student}.zip")
            for student in classroom.roster]
