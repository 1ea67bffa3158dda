"""nbgrader as a library: one course folder, one assignment, nothing on the screen, and errors that say what went wrong."""

import logging
import os
import sys
import warnings
from pathlib import Path

from nbgrader.converters import BaseConverter, NbGraderException
from nbgrader.coursedir import CourseDirectory
from sqlalchemy.exc import SAWarning
from traitlets.config import Config

from .classroom import Classroom

LOGGER = logging.getLogger("course.nbgrader")
LOGGER.propagate = False


class Messages(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def database(classroom: Classroom) -> str:
    return f"sqlite:///{classroom.folder / 'gradebook.db'}"


def run(converter: type[BaseConverter], classroom: Classroom, name: str, student: str = "*", **settings: Config | dict) -> None:
    """Start one of nbgrader's converters on an assignment. RuntimeError, with what nbgrader logged, where it fails."""
    config = Config(settings)
    config.CourseDirectory = Config(root=str(classroom.folder), assignment_id=name, student_id=student, db_url=database(classroom))
    # A new gradebook is set up by a command, alembic, that nbgrader looks for on the PATH; it lies beside our Python.
    beside = str(Path(sys.executable).parent)
    if beside not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = beside + os.pathsep + os.environ["PATH"]
    messages = Messages()
    LOGGER.addHandler(messages)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SAWarning)      # nbgrader's queries of objects that it is still making
            converter(coursedir=CourseDirectory(config=config, log=LOGGER), config=config, log=LOGGER).start()
    except NbGraderException as error:
        raise RuntimeError("\n".join([f"nbgrader: {converter.__name__} of {name}, student {student}, failed", *messages.lines])) from error
    finally:
        LOGGER.removeHandler(messages)
