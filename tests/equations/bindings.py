"""Binds a check to the label of a numbered equation: `@checks("eq-ddpm-xt")` above a test function."""

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import nbformat

CHAPTERS = Path(__file__).parents[2] / "chapters"
BOUND: dict[str, list[str]] = defaultdict(list)
LABEL = re.compile(r"\$\$\s*\((eq-[\w-]+)\)")


def checks(*labels: str) -> Callable:
    """Mark a test as the check of these equations."""

    def bind(test: Callable) -> Callable:
        for label in labels:
            BOUND[label].append(f"{test.__module__}.{test.__name__}")
        return test

    return bind


def labels(chapters: Path = CHAPTERS) -> dict[str, str]:
    """Every equation label of the notebooks, with the notebook that holds it; raises ValueError if two equations share one."""
    found: dict[str, str] = {}
    for path in sorted(chapters.rglob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for label in LABEL.findall(cell.source) if cell.cell_type == "markdown" else ():
                if label in found:
                    raise ValueError(f"{label} stands in {found[label]} and again in {path.name}")
                found[label] = path.name
    return found
