"""For a learner without a teacher: check an answer, get a hint, see the book's."""

import re
import sys
from typing import Any

from . import exercises
from .task import Result

# A role of MyST, which no notebook knows, and the words in it.
ROLE, WORDS = re.compile(r"\{[\w:]+\}`([^`<]*[^`<\s])\s*(?:<[^`>]*>)?`"), r"\1"


def check(name: str) -> None:
    """Grade the answer to exercise `name` that the caller's notebook defines, and print what holds, what does not, and a hint.

    Raises ValueError for an exercise that the book does not have.
    """
    from .tasks import find

    print(report(grade(find(name), sys._getframe(1).f_globals)))


def grade(task: Any, namespace: dict[str, Any]) -> Result:
    return task.grade(task.local(namespace), task.case())


def report(result: Result, reveal: bool = True) -> str:
    """A result as lines of text, which end with how to see the book's answer if `reveal`."""
    lines = [f"{result.task}: {result.points} of {result.possible} points"]
    for outcome in result.outcomes:
        why = f": {outcome.message}" if outcome.message else ""
        lines.append(f"  {'yes' if outcome.points == outcome.possible else 'no ':3}  {outcome.says}{why}")
    if result.hint:
        lines.append(f"Hint: {result.hint}")
    if reveal and result.points < result.possible:
        lines.append(f'The book\'s answer: reveal("{result.task}")')
    return "\n".join(lines)


def reveal(name: str) -> None:
    """Show the book's answer to exercise `name`, and why. Raises ValueError for an exercise that the book does not have."""
    from .tasks import find

    find(name)
    exercise = exercises.everything().get(name)
    if exercise is None:
        print("The solutions are in the notebooks of the book's repository, below chapters/, and this installation has none of them.")
        return
    show(f"{ROLE.sub(WORDS, exercise.explanation)}\n\n```python\n{exercise.answer}\n```")


def show(markdown: str) -> None:
    """Show Markdown: with its formulas in a notebook, as text elsewhere."""
    notebook = sys.modules.get("IPython")
    if notebook and notebook.get_ipython():
        notebook.display.display(notebook.display.Markdown(markdown))
    else:
        print(markdown)
