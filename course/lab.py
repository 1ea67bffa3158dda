"""The notebooks as a learner opens them: copies with stubs, below lab/, which are the learner's to change.

    python -m course.lab              write the copies, or refresh those that nobody changed

A copy that was changed stays as it is. When its chapter changes, the new version comes beside it, as NAME.new.ipynb. Outputs alone are no change.
What each copy was made from stands in lab/.copies.json.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import nbformat

from . import myst
from .exercises import CHAPTERS, ROOT, without_solutions

LAB = ROOT / "lab"
MADE_FROM = ".copies.json"  # path of a copy below lab/ -> fingerprint of what was written there


def fingerprint(text: str) -> str:
    """SHA-256 over the kinds and sources of a notebook's cells, empty ones left out; "" for a text that is no notebook."""
    try:
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
    except (ValueError, TypeError, KeyError):
        return ""
    return hashlib.sha256(repr([cell for cell in cells if cell[1].strip()]).encode()).hexdigest()


def write(chapters: Path = CHAPTERS, lab: Path = LAB) -> list[str]:
    """Bring the copies below `lab` up to date; returns a line for each copy that was changed and whose chapter changed since."""
    lab.mkdir(parents=True, exist_ok=True)
    made, lines = made_from(lab), []
    for path in sorted(chapters.glob("*/*.ipynb")):
        lines += refresh(lab, path.relative_to(chapters), nbformat.writes(copy_of(path)), made)
    replace(lab / MADE_FROM, json.dumps(made, indent=1, sort_keys=True) + "\n")
    return lines


def copy_of(path: Path) -> nbformat.NotebookNode:
    """The notebook with stubs, its text in the Markdown that JupyterLab knows."""
    copy = without_solutions(nbformat.read(path, 4))
    for cell in copy.cells:
        if cell.cell_type == "markdown":
            cell.source = myst.plain(cell.source, path, beside=True)
    return copy


def made_from(lab: Path) -> dict[str, str]:
    """What copies were made from. Without the file, or with a damaged one, every copy that differs counts as changed."""
    try:
        found = json.loads((lab / MADE_FROM).read_text("utf8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def refresh(lab: Path, name: Path, text: str, made: dict[str, str]) -> list[str]:
    """Write the notebook `text` to lab/name, or beside it where that was changed, and note it in `made`."""
    new = fingerprint(text)
    for place in places(name):
        path, key = lab / place, place.as_posix()
        if path.exists():
            held = fingerprint(path.read_text("utf8", errors="replace"))
            if made.get(key) == new or held == new:  # this version was given out, changed since or not
                made[key] = new
                return []
            if held != made.get(key):
                continue
        elif made.get(key) == new and place != name:  # a version put beside the copy, and thrown away
            return []
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, text + "\n")
        made[key] = new
        return [] if place == name else [f"{name.as_posix()} has your changes and stays; the chapter changed too: its new version is {place.name}"]


def places(name: Path) -> Iterator[Path]:
    """NAME.ipynb, NAME.new.ipynb, NAME.new2.ipynb, ..."""
    yield name
    for number in count(1):
        yield name.with_suffix(f".new{number if number > 1 else ''}.ipynb")


def replace(path: Path, text: str) -> None:
    """Write the file whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, "utf8")
    os.replace(partial, path)


def main() -> int:
    if not CHAPTERS.is_dir():
        print("lab: there are no chapters here; a clone of the book's repository has them", file=sys.stderr)
        return 1
    for line in write():
        print(f"lab: {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
