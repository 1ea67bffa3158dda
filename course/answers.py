"""A student's answers as a grader sees them: functions to call by name, wherever they run."""

from collections.abc import Callable
from typing import Any

from . import wire

MISSING = "`{}` is not defined"


class AnswerError(Exception):
    """The answer is missing, its code raised, it took too long, or it gave back what is no data."""


class Answers:
    """`answers.name` is a function to call, or a plain value; `transcript` lists what came back since `start`."""

    def __init__(self) -> None:
        self.transcript: list = []

    def start(self) -> None:
        self.transcript = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._look_up(name)

    def _look_up(self, name: str) -> Any:
        raise NotImplementedError

    def _note(self, value: Any) -> Any:
        self.transcript.append(None if callable(value) else value)
        return value


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
        value = self._namespace[name]
        return self._function(value) if callable(value) else self._note(_passed(value))

    def _function(self, function: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            args, kwargs = wire.plain(list(args)), wire.plain(kwargs)
            try:
                value = _passed(function(*args, **kwargs))
            except (AnswerError, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001  whatever a student's code raises, SystemExit included, is its answer
                raise AnswerError(raised(error)) from error
            return self._function(value) if callable(value) else self._note(value)

        if hasattr(function, "schedule"):
            from diffusion_core.denoisers import FunctionDenoiser

            return FunctionDenoiser(function.schedule, lambda x_t, t, cond: call(x_t, t, cond))
        return call


def raised(error: BaseException) -> str:
    """What a student's code raised, in a line."""
    if isinstance(error, NotImplementedError) and not str(error):
        return "there is no answer yet"
    return f"your code raised {type(error).__name__}: {str(error)[:300]}"


def _passed(value: Any) -> Any:
    try:
        return wire.plain(value)
    except wire.WireError as error:
        raise AnswerError(f"your answer gave back what cannot be checked: {error}") from error
