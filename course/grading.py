"""Grade submissions: each in a sandbox, graded from a process of its own, its verdict written to disk before the next begins.

A verdict depends on the submission, the version that its author got and the graders, and on nothing else. A run that is
killed goes on where it stopped: verdicts that are on disk, and were made of the same things, are kept.
"""

import hashlib
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import wait
from pathlib import Path

import nbformat
import torch
from nbformat import NotebookNode

from .answers import AnswerError
from .classroom import Classroom, write
from .exercises import is_check
from .remote import SandboxAnswers
from .sandbox import Limits
from .task import Case, Mistake, Outcome, ProblemSet, Result, Task

HERE = Path(__file__).resolve().parent
TOTAL = 600.0                                   # seconds that one submission may take, graders included
MEMORY = 6 << 30                                # bytes that its grader may take: a student's process can ask for costly work


@dataclass(frozen=True)
class Verdict:
    """What the graders found in one submission."""

    student: str
    digest: str
    results: dict[str, Result]
    notes: list[str] = field(default_factory=list)      # for the student and the teacher: cells that failed, and what they printed
    attention: list[str] = field(default_factory=list)  # for the teacher: what a person should look at
    seconds: float = 0.0

    @property
    def points(self) -> int:
        return sum(result.points for result in self.results.values())

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Verdict":
        found = json.loads(text)
        results = {name: Result(result["task"], [Outcome(**outcome) for outcome in result["outcomes"]], result["hint"])
                   for name, result in found["results"].items()}
        return cls(**found | {"results": results})


def fingerprint(private: Path) -> str:
    """SHA-256 over the course kit, the package and a teacher's own graders, if there are: what a verdict depends on beside the submission."""
    digest = hashlib.sha256()
    for path in [*sorted([*HERE.rglob("*.py"), *(HERE.parent / "diffusion_core").rglob("*.py")]), *sorted(private.glob("*.py"))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def digest(notebook: bytes, case: str, graders: str) -> str:
    return hashlib.sha256(b"\0".join((notebook, case.encode(), graders.encode()))).hexdigest()


def code_of(notebook: NotebookNode) -> list[str]:
    """The cells that run: all code but the check cells."""
    return [cell.source for cell in notebook.cells if cell.cell_type == "code" and not is_check(cell)]


def unanswered(task: Task, why: str) -> Result:
    return Result(task.name, [Outcome(part.says, 0, part.points, why) for part in task.parts])


def grade(classroom: Classroom, one: ProblemSet, student: str, notebook: NotebookNode, mark: str, limits: Limits, bwrap: str | None) -> Verdict:
    """The verdict on one submission, `notebook` as `collect.rebuilt` gives it. Starts the student's process and waits for it."""
    start, results, attention = time.monotonic(), {}, []
    answers = SandboxAnswers(code_of(notebook), limits, bwrap)
    try:
        for task in one.tasks:
            case = classroom.case(task, student)
            try:
                answers.prepare(task.harness)
            except AnswerError as error:
                results[task.name] = unanswered(task, str(error))
                continue
            result = results[task.name] = task.grade(answers, case, (books_answer(classroom, one, task),))
            attention += [f"{task.name}: {outcome.message}" for outcome in result.outcomes if outcome.unexpected]
    finally:
        answers.close()
    notes = list(answers.errors) + ([f"it printed: {answers.log.strip()[:2000]}"] if answers.log.strip() else [])
    return Verdict(student, mark, results, notes, attention, round(time.monotonic() - start, 2))


def books_answer(classroom: Classroom, one: ProblemSet, task: Task) -> Mistake:
    """The published solution, as an answer to a version that asks for something else."""
    def make(case: Case) -> dict:
        exercise, namespace = classroom.exercises(one.name)[task.name], {}
        for code in (one.setup, *exercise.code, exercise.solution):
            exec(compile(code, f"<{task.name}>", "exec"), namespace)
        return namespace

    return Mistake("book", "This is right for the book's version of the task. Yours asks for something else: read the end of its statement again.", make)


def work(classroom: Classroom, name: str, student: str, path: Path, mark: str, target: Path, limits: Limits, bwrap: str | None) -> None:
    """What the process of one submission does: grade it, write the verdict."""
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    torch.set_num_threads(1)
    write(target, grade(classroom, classroom.problem_set(name), student, nbformat.read(path, 4), mark, limits, bwrap).to_json())


def grade_all(classroom: Classroom, name: str, submissions: dict[str, Path], limits: Limits, bwrap: str | None, workers: int) -> Iterator[tuple[Verdict, bool]]:
    """The verdict on each of `submissions` (student -> rebuilt notebook), as they come, and whether it was on disk already.

    A grader that ends without a verdict, or takes longer than TOTAL, gives a verdict of no points that asks for a person.
    """
    one, graders = classroom.problem_set(name), fingerprint(classroom.folder / "private")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["course.grading", "course.tasks"])
    waiting, running = [], {}
    for student, path in submissions.items():
        case = repr([sorted(vars(classroom.case(task, student)).items()) for task in one.tasks]) + repr(limits)
        mark, target = digest(path.read_bytes(), case, graders), classroom.folder / "verdicts" / name / f"{student}.json"
        kept = Verdict.from_json(target.read_text("utf8")) if target.exists() else None
        if kept and kept.digest == mark:
            yield kept, True
        else:
            waiting.append((student, path, mark, target))
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                student, path, mark, target = waiting.pop(0)
                process = context.Process(target=work, args=(classroom, name, student, path, mark, target, limits, bwrap))
                process.start()
                running[process.sentinel] = (process, time.monotonic(), student, mark, target)
            wait(list(running), timeout=1.0)
            for sentinel, (process, since, student, mark, target) in list(running.items()):
                late = time.monotonic() - since > TOTAL
                if process.is_alive() and not late:
                    continue
                if late:
                    process.kill()
                process.join()
                del running[sentinel]
                yield verdict_of(one, student, mark, target, "it took too long" if late else f"its grader ended (code {process.exitcode})"), False
    finally:
        for process, *_ in running.values():
            process.kill()


def verdict_of(one: ProblemSet, student: str, mark: str, target: Path, otherwise: str) -> Verdict:
    """The verdict that a grader wrote, or one that says why it did not, and does not keep the next run from trying again."""
    if target.exists() and (found := Verdict.from_json(target.read_text("utf8"))).digest == mark:
        return found
    why = f"it could not be graded, and a person has to look at it: {otherwise}"
    verdict = Verdict(student, f"{mark}, not graded", {task.name: unanswered(task, why) for task in one.tasks}, attention=[why])
    write(target, verdict.to_json())
    return verdict
