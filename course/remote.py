"""A student's notebook in a sandbox, as graders see it."""

from typing import Any

from .answers import AnswerError, Answers
from .sandbox import Limits, Process


class SandboxAnswers(Answers):
    """The answers of a notebook whose cells run in a process of their own.

    `cells` run in order; a cell that raises does not stop those after it, and `errors` holds what it raised. A process that is killed is
    started again, once for each task, so that one answer does not take the others with it.
    """

    def __init__(self, cells: list[str], limits: Limits = Limits(), bwrap: str | None = None) -> None:
        super().__init__()
        self._cells, self._limits, self._bwrap, self._process, self._broken = cells, limits, bwrap, None, ""
        self.errors: list[str] = []
        self.log = ""

    def prepare(self, harness: str) -> None:
        """Make ready for a task: a running process that knows its harness. AnswerError where the notebook cannot even be loaded."""
        if self._process is None or not self._process.alive:
            self._load()
        if harness:
            self._process.ask("cell", self._limits.cell, source=harness)

    def _load(self) -> None:
        if self._broken:
            raise AnswerError(self._broken)
        self.close()
        self._process, self.errors = Process(self._limits, self._bwrap), []
        for number, cell in enumerate(self._cells, 1):
            try:
                self._process.ask("cell", self._limits.cell, source=cell)
            except AnswerError as error:
                self.errors.append(f"code cell {number}: {error}")
                if not self._process.alive:
                    self._broken = f"the notebook could not be run: code cell {number}: {error}"
                    raise AnswerError(self._broken) from error

    def _look_up(self, name: str) -> Any:
        if self._process is None or not self._process.alive:
            raise AnswerError("its process was stopped by an earlier call")
        return self._seen(self._process.ask("get", self._limits.call, name=name))

    def close(self) -> None:
        if self._process is not None:
            self._process.close()
            self.log = self._process.log
