"""What a task is: its parts, which each earn points, and the mistakes it recognises.

A grader is a list of parts. A part calls the student's function with inputs of its own and asserts a property of what comes back: a
closed form, a conservation law, an oracle. The same grader serves `check` in a notebook, where the function is called directly,
and the grading of a class, where it lives in another process.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from diffusion_core import Prediction, Schedule

from .answers import AnswerError, Answers, LocalAnswers

DIFFICULTY = {1: "warm-up", 2: "core", 3: "challenge"}


class Case(SimpleNamespace):
    """One version of a task: the values of what varies (`case.kappa`), and a seed for the grader's own inputs."""

    def generator(self, stream: int = 0) -> torch.Generator:
        """A generator for draw number `stream` of this case."""
        return torch.Generator().manual_seed(number_from(self.seed, stream))

    def normal(self, *shape: int, stream: int = 0) -> Tensor:
        """Standard normal float64 draws."""
        return torch.randn(*shape, dtype=torch.float64, generator=self.generator(stream))

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0, stream: int = 0) -> Tensor:
        """Uniform float64 draws between low and high."""
        return low + (high - low) * torch.rand(*shape, dtype=torch.float64, generator=self.generator(stream))


def number_from(*words: Any) -> int:
    """A number below 2^48 that depends on all the words, the same on every machine."""
    return int.from_bytes(hashlib.sha256(":".join(map(str, words)).encode()).digest()[:6], "big")


@dataclass(frozen=True)
class Part:
    points: int
    says: str                                       # what holds, as a sentence without a full stop
    test: Callable[[Answers, Case], None]           # raises AssertionError where it does not


@dataclass(frozen=True)
class Mistake:
    name: str
    hint: str
    make: Callable[[Case], Any]                     # the wrong function, or a dict of them


@dataclass(frozen=True)
class Outcome:
    """What one part gave: `points` of `possible`, and why not all."""

    says: str
    points: int
    possible: int
    message: str = ""
    unexpected: bool = False                        # the grader could not use what came back


@dataclass(frozen=True)
class Result:
    task: str
    outcomes: list[Outcome]
    hint: str = ""

    @property
    def points(self) -> int:
        return sum(outcome.points for outcome in self.outcomes)

    @property
    def possible(self) -> int:
        return sum(outcome.possible for outcome in self.outcomes)


@dataclass(eq=False)
class Task:
    """An exercise of the book as a grader sees it.

    name        the exercise's label without "ex-", and the grade_id of its solution cell
    answers     the names that the student defines, in one cell
    minutes     expected time;  difficulty: 1 warm-up, 2 core, 3 challenge
    example     code that a student may run: one call of the answer, printed
    vary        name -> values; the first is the book's, the others are for classes
    twist       what a class's version says in addition, with {name} for what varies
    harness     code run after the student's, in the student's process, where an answer takes or gives what cannot pass as data; it
                defines functions that the parts call. It gives back data, never verdicts.
    """

    name: str
    answers: tuple[str, ...]
    minutes: int
    difficulty: int
    example: str
    vary: dict[str, tuple] = field(default_factory=dict)
    twist: str = ""
    harness: str = ""
    parts: list[Part] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)

    @property
    def points(self) -> int:
        return sum(part.points for part in self.parts)

    def part(self, points: int, says: str) -> Callable:
        """Decorator: the function (answers, case) is a part of the grader; it raises AssertionError where `says` does not hold."""
        return lambda test: self.parts.append(Part(points, says, test)) or test

    def mistake(self, hint: str) -> Callable:
        """Decorator: the function case -> wrong answer is a mistake, and `hint` names the misconception behind it."""
        return lambda make: self.mistakes.append(Mistake(make.__name__, hint, make)) or make

    def case(self, *seed: Any) -> Case:
        """The book's version without a seed; with one (a class's secret, a student), a version of a class."""
        if not seed:
            return Case(seed=0, **{name: values[0] for name, values in self.vary.items()})
        pick = lambda name, values: values[1 + number_from(*seed, self.name, name) % (len(values) - 1)]
        return Case(seed=number_from(*seed, self.name), **{name: pick(name, values) for name, values in self.vary.items()})

    def local(self, functions: Any) -> LocalAnswers:
        """Answers from this process: a namespace, or the one function that the task asks for."""
        return LocalAnswers(functions if isinstance(functions, dict) else {self.answers[0]: functions}, self.harness)

    def grade(self, answers: Answers, case: Case, more: tuple[Mistake, ...] = ()) -> Result:
        """Run every part, and look for a known mistake, ours or one `more`, where points are missing."""
        outcomes, transcript = self._run(answers, case)
        result = Result(self.name, outcomes)
        return result if result.points == result.possible else Result(self.name, outcomes, self._hint(transcript, case, more))

    def _run(self, answers: Answers, case: Case) -> tuple[list[Outcome], list]:
        outcomes, transcript = [], []
        for part in self.parts:
            answers.start()
            try:
                part.test(answers, case)
                outcomes.append(Outcome(part.says, part.points, part.points))
            except (AssertionError, AnswerError) as error:
                outcomes.append(Outcome(part.says, 0, part.points, str(error) or "this does not hold"))
            except Exception as error:  # noqa: BLE001  a student's value can break a grader in any way, and costs this part alone
                message = f"what came back could not be used: {type(error).__name__}: {error}"
                outcomes.append(Outcome(part.says, 0, part.points, message, unexpected=True))
            transcript.append(answers.transcript)
        return outcomes, transcript

    def _hint(self, transcript: list, case: Case, more: tuple[Mistake, ...]) -> str:
        """The hint of the mistake that gives the same results, call by call; nothing where none does."""
        if not any(transcript):
            return ""
        for mistake in (*self.mistakes, *more):
            _, other = self._run(self.local(mistake.make(case)), case)
            if same(transcript, other):
                return mistake.hint
        return ""


@dataclass(frozen=True)
class Essay:
    """The task of a set that a person grades."""

    question: str
    rubric: str                                     # for the teacher; never in what students get
    points: int
    minutes: int


@dataclass(frozen=True)
class ProblemSet:
    """The exercises of one section, as a class gets them. `setup` is code that they share; `section` is the notebook below chapters/."""

    name: str
    title: str
    section: str
    setup: str
    tasks: list[Task]
    essay: Essay

    @property
    def points(self) -> int:
        return sum(task.points for task in self.tasks) + self.essay.points

    @property
    def minutes(self) -> int:
        return sum(task.minutes for task in self.tasks) + self.essay.minutes


# What parts use to look at answers


def number(value: Any) -> float:
    """A number, or a tensor of one element, as a float; AssertionError for anything else."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    assert isinstance(value, (bool, int, float)), f"a number is asked for, and {describe(value)} came back"
    return float(value)


def tensor(value: Any, *shape: int) -> Tensor:
    """A tensor of that shape in float64; AssertionError for anything else."""
    assert isinstance(value, Tensor), f"a tensor is asked for, and {describe(value)} came back"
    assert tuple(value.shape) == shape, f"a tensor of shape {shape} is asked for, and {describe(value)} came back"
    return value.double()


def sequence(value: Any, length: int | None = None) -> list:
    """A list or tuple, of `length` items if that is given, as a list; AssertionError for anything else."""
    assert isinstance(value, (list, tuple)), f"a list is asked for, and {describe(value)} came back"
    assert length is None or len(value) == length, f"{length} items are asked for, and {len(value)} came back"
    return list(value)


def close(value: Any, other: Any, tolerance: float = 1e-9) -> bool:
    """Whether two numbers, or tensors of one shape, differ by no more than the tolerance anywhere. A NaN is close to nothing."""
    value, other = (torch.as_tensor(item, dtype=torch.float64) for item in (value, other))
    return value.shape == other.shape and bool(((value - other).abs() <= tolerance).all())


def describe(value: Any) -> str:
    """A value in a few words, for messages."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"{type(value).__name__} {str(value)[:40]}"


def same(one: Any, other: Any) -> bool:
    """Whether two transcripts hold the same results, up to rounding."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.allclose(one.double(), other.double(), rtol=1e-6, atol=1e-9, equal_nan=True)
    if isinstance(one, Prediction) and isinstance(other, Prediction):
        return same(one.x0, other.x0)
    if isinstance(one, Schedule) and isinstance(other, Schedule):
        return same(one.alpha_bar, other.alpha_bar)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (int, float, Tensor)) and isinstance(other, (int, float, Tensor)):
        one, other = (float(x) if not isinstance(x, Tensor) or x.numel() == 1 else math.nan for x in (one, other))
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9) or (math.isnan(one) and math.isnan(other))
    return one == other
