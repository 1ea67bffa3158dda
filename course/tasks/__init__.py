"""The graders, one module a section, named like the section's notebook."""

from importlib import import_module

from ..task import ProblemSet, Task

SECTIONS = ("origins", "strengths", "markov_chains", "elbo", "autoregressive", "ddpm", "ddim", "guidance", "process", "objectives",
            "ddpm_pytorch", "ddim_pytorch", "guidance_pytorch")


def problem_set(name: str) -> ProblemSet:
    """The problem set of that name; ValueError names those that exist."""
    if name not in SECTIONS:
        raise ValueError(f"there is no problem set {name!r}: there are {', '.join(SECTIONS)}")
    return import_module(f".{name}", __name__).SET


def sets() -> list[ProblemSet]:
    return [problem_set(name) for name in SECTIONS]


def find(name: str) -> Task:
    """The task of that name; ValueError names those that exist."""
    tasks = {task.name: task for one in sets() for task in one.tasks}
    if name not in tasks:
        raise ValueError(f"the book has no exercise {name!r}: it has {', '.join(tasks)}")
    return tasks[name]
