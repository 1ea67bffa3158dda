"""The exercises as the chapters' notebooks hold them, and the notebooks as readers get them: stubs in place of solutions.

In a notebook an exercise is written so:

    ```{exercise-start} Title                 the statement, in one or more cells, code cells among them
    :label: ex-NAME
    ```
    ...
    ```{exercise-end}
    ```
    a code cell of grade_id NAME              the answer, its body between ### BEGIN SOLUTION and ### END SOLUTION
    a code cell of grade_id NAME-check        check("NAME")
    ```{solution-start} ex-NAME               the explanation, code cells among it
    :class: dropdown
    ```
    ...
    ```{solution-end}
    ```
"""

import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = ROOT / "chapters"
FENCE = re.compile(r"^(`{3,})\{(exercise|solution)-(start|end)\}[ \t]*(.*)\n((?::.*\n)*)\1[ \t]*$", re.M)
SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION.*?### END SOLUTION[^\n]*$", re.S | re.M)
STUB = "# YOUR CODE HERE\nraise NotImplementedError()"
WIDGETS, VIEW = "application/vnd.jupyter.widget-state+json", "application/vnd.jupyter.widget-view+json"


@dataclass
class Exercise:
    """One exercise; texts are MyST. `code` is what the statement shows, `explanation` and `demonstration` belong to the solution."""

    name: str
    title: str
    path: Path
    statement: str = ""
    code: list[str] = field(default_factory=list)
    solution: str = ""
    check: str = ""
    explanation: str = ""
    demonstration: list[NotebookNode] = field(default_factory=list)

    @property
    def answer(self) -> str:
        """The solution's code without its marks."""
        return "\n".join(line for line in self.solution.splitlines() if not line.strip().startswith(("### BEGIN", "### END")))


def stub(code: str) -> str:
    """`code` with each marked solution replaced by a line to fill in."""
    return SOLUTION.sub(lambda found: textwrap.indent(STUB, found[1]), code)


def grade_id(cell: NotebookNode) -> str:
    return cell.get("metadata", {}).get("nbgrader", {}).get("grade_id", "")


def is_solution(cell: NotebookNode) -> bool:
    return bool(cell.get("metadata", {}).get("nbgrader", {}).get("solution"))


def is_check(cell: NotebookNode) -> bool:
    return grade_id(cell).endswith("-check")


@dataclass(frozen=True)
class Piece:
    """A cell, or the part of a markdown cell that lies in one region: "" for the text, else "exercise" or "solution" of `name`."""

    cell: NotebookNode
    text: str
    region: str
    name: str
    title: str = ""


def pieces(notebook: NotebookNode) -> Iterator[Piece]:
    """The notebook cut at the marks of exercises and solutions; the marks themselves are left out."""
    region = name = title = ""
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            yield Piece(cell, cell.source, region, name, title)
            continue
        start = 0
        for fence in FENCE.finditer(cell.source):
            yield Piece(cell, cell.source[start : fence.start()].strip(), region, name, title)
            start, (_, kind, edge, words, options) = fence.end(), fence.groups()
            if edge == "end":
                region = name = title = ""
            elif kind == "exercise":
                region, name, title = kind, re.search(r":label: ex-(\S+)", options)[1], words
            else:
                region, name, title = kind, words.removeprefix("ex-"), ""
        yield Piece(cell, cell.source[start:].strip(), region, name, title)


def read(path: Path) -> dict[str, Exercise]:
    """The exercises of the notebook at `path`, in its order."""
    found: dict[str, Exercise] = {}
    for piece in pieces(nbformat.read(path, 4)):
        cell, name = piece.cell, piece.name
        if piece.region == "exercise":
            exercise = found.setdefault(name, Exercise(name, piece.title, path))
            if cell.cell_type == "markdown":
                exercise.statement = f"{exercise.statement}\n\n{piece.text}".strip()
            else:
                exercise.code.append(cell.source)
        elif piece.region == "solution":
            if cell.cell_type == "markdown":
                found[name].explanation = f"{found[name].explanation}\n\n{piece.text}".strip()
            else:
                found[name].demonstration.append(cell)
        elif is_solution(cell):
            found[grade_id(cell)].solution = cell.source
        elif is_check(cell):
            found[grade_id(cell).removesuffix("-check")].check = cell.source
    return found


@cache
def everything(chapters: Path = CHAPTERS) -> dict[str, Exercise]:
    """Every exercise of the book, by its name."""
    return {name: exercise for path in sorted(chapters.glob("*/*.ipynb")) for name, exercise in read(path).items()}


def without_solutions(notebook: NotebookNode) -> NotebookNode:
    """A copy with stubs for solutions, and neither explanations nor what checks printed, nor widgets that only explanations show.

    Raises ValueError where a solution would stay: marks that do not pair, or a solution cell without marks.
    """
    cells = []
    for cell, text in hidden(notebook):
        if cell.cell_type == "markdown":
            cell = NotebookNode({**cell, "source": text})
        elif is_solution(cell) or is_check(cell):
            cell = NotebookNode({**cell, "source": stub(cell.source), "outputs": [], "execution_count": None})
            if is_solution(cell) and STUB.splitlines()[0] not in cell.source:
                raise ValueError(f"the solution cell {grade_id(cell)} does not say where its solution begins and ends")
        if "{solution" in cell.source or "### BEGIN SOLUTION" in cell.source or "### END SOLUTION" in cell.source:
            raise ValueError(f"a mark of a solution cannot be read in the cell {cell.get('id')}: {cell.source[:80]!r}")
        if cell.cell_type != "markdown" or text:
            cells.append(cell)
    copy = NotebookNode({**notebook, "cells": cells, "metadata": NotebookNode(notebook.metadata)})
    if WIDGETS in copy.metadata.get("widgets", {}):
        widgets = copy.metadata.widgets[WIDGETS]
        copy.metadata.widgets = NotebookNode({**copy.metadata.widgets, WIDGETS: {**widgets, "state": shown_widgets(widgets["state"], cells)}})
    return copy


def hidden(notebook: NotebookNode) -> Iterator[tuple[NotebookNode, str]]:
    """Each cell that readers get, with its text: markdown loses what belongs to solutions, and keeps its marks of exercises."""
    region = ""
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            if region != "solution":
                yield cell, cell.source
            continue
        kept, start = "", 0
        for fence in FENCE.finditer(cell.source):
            if region != "solution":
                kept += cell.source[start : fence.end() if fence[2] == "exercise" else fence.start()]
            if region != ("" if fence[3] == "start" else fence[2]):
                raise ValueError(f"a mark that does not pair, {fence[0].splitlines()[0]!r}, in the cell {cell.get('id')}")
            region, start = fence[2] if fence[3] == "start" else "", fence.end()
        if region != "solution":
            kept += cell.source[start:]
        yield cell, re.sub(r"\n{3,}", "\n\n", kept).strip()
    if region:
        raise ValueError(f"the last {region} does not end")


def shown_widgets(state: dict, cells: list[NotebookNode]) -> dict:
    """Of the widgets' state, the part that the outputs of the cells show, and what that refers to."""
    wanted = [output.data[VIEW]["model_id"] for cell in cells for output in cell.get("outputs", []) if VIEW in output.get("data", {})]
    kept = {}
    while wanted:
        name = wanted.pop()
        if name in state and name not in kept:
            kept[name] = state[name]
            wanted += re.findall(r"IPY_MODEL_(\w+)", json.dumps(state[name]))
    return kept
