"""A student's answers as a grader sees them: functions to call by name, wherever they run."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from diffusion_core.denoisers import FunctionDenoiser

from . import wire

MISSING = "`{}` is not defined"


class AnswerError(Exception):
    """The answer is missing, its code raised, it took too long, or it gave back what is no data."""


class Answers(ABC):
    """`answers.name` is a function to call, or a plain value; `transcript` lists what came back since `start`."""

    def __init__(self) -> None:
        self.transcript: list = []

    def start(self) -> None:
        self.transcript = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._look_up(name)

    @abstractmethod
    def _look_up(self, name: str) -> Any:
        """What the student's notebook calls `name`, as parts get it (`_seen`). AnswerError where there is nothing."""

    def _seen(self, value: Any) -> Any:
        """What a part gets of a value: the value, noted, or a function whose results will be noted."""
        if not callable(value):
            self.transcript.append(value)
            return value
        return _like(value, lambda *args, **kwargs: self._seen(value(*args, **kwargs)))


class LocalAnswers(Answers):
    """Answers in this process. Arguments and results are copied as they would be on their way between two processes."""

    def __init__(self, namespace: dict[str, Any], harness: str = "") -> None:
        super().__init__()
        self._namespace = dict(namespace)
        if harness:
            exec(compile(harness, "<harness>", "exec"), self._namespace)

    def _look_up(self, name: str) -> Any:
        if name not in self._namespace:
            raise AnswerError(MISSING.format(name))
        return self._seen(_passed(self._namespace[name]))


def _passed(value: Any) -> Any:
    """A student's value on its way to the grader: data copied, a function with its arguments and results copied and its exceptions caught."""
    try:
        value = wire.plain(value)
    except wire.WireError as error:
        raise AnswerError(f"your answer gave back what cannot be checked: {error}") from error
    if not callable(value):
        return value

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            found = value(*wire.plain(list(args)), **wire.plain(kwargs))
            # What iterates lazily runs a student's code when it is read.
            found = wire.plain(found) if isinstance(found, wire.LAZY) else found
        except (AnswerError, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  whatever a student's code raises, SystemExit included, is its answer
            raise AnswerError(raised(error)) from error
        return _passed(found)

    return _like(value, call)


def _like(function: Callable, call: Callable) -> Callable:
    """`call`, as a denoiser if `function` is one."""
    schedule = getattr(function, "schedule", None)
    return call if schedule is None else FunctionDenoiser(schedule, lambda x_t, t, cond: call(x_t, t, cond))


def raised(error: BaseException) -> str:
    """What a student's code raised, in a line."""
    if isinstance(error, NotImplementedError) and not str(error):
        return "there is no answer yet"
    return f"your code raised {type(error).__name__}: {str(error)[:300]}"
