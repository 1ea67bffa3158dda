"""The learner's copies: written with stubs, refreshed while nobody changed them, never overwritten afterwards."""

import json
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course import exercises, lab

NAME = "01_one/01_first.ipynb"
ANSWER = "def f(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION"
STUB = "def f(x):\n    # YOUR CODE HERE\n    raise NotImplementedError()"
MARK = {"nbgrader": {"grade_id": "first-f", "solution": True}}


class Book:
    """Chapters of one notebook, and a learner's folder; `update` is what `make lab` runs."""

    def __init__(self, folder: Path):
        self.chapters, self.lab, self.copy = folder / "chapters", folder / "lab", folder / "lab" / NAME
        self.write("print('first')")

    def write(self, code: str, **cell) -> None:
        cells = [new_markdown_cell("# One", id="a"), new_code_cell(code, id="b", **cell), new_code_cell(ANSWER, id="c", metadata=MARK)]
        (self.chapters / NAME).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(new_notebook(cells=cells), self.chapters / NAME)

    def update(self) -> list[str]:
        return lab.write(self.chapters, self.lab)

    def learn(self, source: str, name: str = NAME) -> None:
        """Write an answer into a copy, as JupyterLab saves it."""
        notebook = nbformat.read(self.lab / name, 4)
        notebook.cells[2].source = source
        nbformat.write(notebook, self.lab / name)

    def sources(self, name: str = NAME) -> list[str]:
        return [cell.source for cell in nbformat.read(self.lab / name, 4).cells]

    def files(self) -> list[str]:
        return sorted(path.relative_to(self.lab).as_posix() for path in self.lab.rglob("*") if path.is_file() and path.name != lab.MADE_FROM)


@pytest.fixture
def book(tmp_path):
    book = Book(tmp_path)
    assert book.update() == []
    return book


NEW, NEW2 = NAME.replace(".ipynb", ".new.ipynb"), NAME.replace(".ipynb", ".new2.ipynb")
MINE = "def f(x):\n    return x + x"


def test_a_copy_has_stubs(book):
    assert book.sources() == ["# One", "print('first')", STUB]
    nbformat.validate(nbformat.read(book.copy, 4))


def test_an_untouched_copy_follows_its_chapter(book):
    book.write("print('second')")
    assert book.update() == [] and book.sources()[1] == "print('second')" and book.files() == [NAME]


def test_a_changed_copy_stays_and_the_chapters_new_version_comes_beside_it(book):
    book.learn(MINE)
    mine = book.copy.read_bytes()
    assert book.update() == [] and book.files() == [NAME]  # the chapter is what it was
    book.write("print('second')")
    [line] = book.update()
    assert line.startswith(NAME) and "01_first.new.ipynb" in line
    assert book.copy.read_bytes() == mine and book.files() == [NAME, NEW] and book.sources(NEW) == ["# One", "print('second')", STUB]
    assert book.update() == [] and book.files() == [NAME, NEW]  # said once


def test_the_version_beside_it_is_refreshed_until_it_is_changed_too(book):
    book.learn(MINE)
    book.write("print('second')")
    book.update()
    book.write("print('third')")
    assert len(book.update()) == 1 and book.files() == [NAME, NEW] and book.sources(NEW)[1] == "print('third')"
    book.learn(MINE, NEW)
    beside = (book.lab / NEW).read_bytes()
    book.write("print('fourth')")
    [line] = book.update()
    assert "01_first.new2.ipynb" in line and book.files() == [NAME, NEW, NEW2]
    assert book.sources(NEW2)[1] == "print('fourth')" and (book.lab / NEW).read_bytes() == beside and book.sources()[2] == MINE


def test_a_version_beside_it_that_was_thrown_away_stays_away(book):
    book.learn(MINE)
    book.write("print('second')")
    book.update()
    (book.lab / NEW).unlink()
    assert book.update() == [] and book.files() == [NAME]


def test_a_version_that_took_the_copys_place_is_the_copy(book):
    book.learn(MINE)
    book.write("print('second')")
    book.update()
    os.replace(book.lab / NEW, book.copy)
    assert book.update() == [] and book.files() == [NAME]
    book.write("print('third')")
    assert book.update() == [] and book.files() == [NAME] and book.sources()[1] == "print('third')"


def test_a_copy_that_was_deleted_is_written_afresh(book):
    book.learn(MINE)
    book.copy.unlink()
    assert book.update() == [] and book.sources()[2] == STUB


def run(book) -> None:
    """Outputs, counts and metadata, as JupyterLab saves them after running, and the empty cell that it appends."""
    notebook = nbformat.read(book.copy, 4)
    notebook.cells[1].update(outputs=[new_output("stream", name="stdout", text="first\n")], execution_count=7)
    notebook.cells[1].metadata["execution"] = {"iopub.status.busy": "now"}
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.cells.append(new_code_cell(""))
    book.copy.write_text(json.dumps(notebook))


def test_outputs_are_no_change(book):
    run(book)
    book.write("print('second')")
    assert book.update() == [] and book.sources() == ["# One", "print('second')", STUB] and book.files() == [NAME]


def test_outputs_stay_while_the_chapter_does(book):
    run(book)
    ran = book.copy.read_bytes()
    book.write("print('first')", outputs=[new_output("stream", name="stdout", text="stored\n")], execution_count=1)
    assert book.update() == [] and book.copy.read_bytes() == ran


@pytest.mark.parametrize("text", ["", "[]", "{}", "no notebook", '{"cells": 1}', '{"cells": [1]}', '{"cells": [{}]}',
                                  '{"cells": [{"cell_type": "code", "source": null}]}'])
def test_a_copy_that_cannot_be_read_is_the_learners(book, text):
    book.copy.write_text(text)
    book.write("print('second')")
    assert len(book.update()) == 1 and book.copy.read_text() == text and book.files() == [NAME, NEW]


@pytest.mark.parametrize("damage", [None, "", "{", "[]"])
def test_without_its_notes_a_copy_that_differs_is_the_learners(book, damage):
    (book.lab / lab.MADE_FROM).unlink() if damage is None else (book.lab / lab.MADE_FROM).write_text(damage)
    assert book.update() == [] and book.files() == [NAME]  # as the chapter has it
    book.learn(MINE)
    (book.lab / lab.MADE_FROM).unlink() if damage is None else (book.lab / lab.MADE_FROM).write_text(damage)
    assert len(book.update()) == 1 and book.sources()[2] == MINE and book.files() == [NAME, NEW]


def test_a_write_that_breaks_off_leaves_the_copy_whole(book, monkeypatch):
    before = book.copy.read_bytes()
    book.write("print('second')")

    def full(path, text, encoding):
        with open(path, "w") as file:
            file.write(text[:10])
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="no space"):
            book.update()
    assert book.copy.read_bytes() == before
    assert book.update() == [] and book.sources()[1] == "print('second')"


def test_every_file_is_written_under_another_name_first(book, monkeypatch):
    names, write_text = [], Path.write_text
    monkeypatch.setattr(Path, "write_text", lambda path, *text: names.append(path.name) or write_text(path, *text))
    book.write("print('second')")
    names.clear()
    book.update()
    assert len(names) == 2 and all(name.endswith(".partial") for name in names) and not list(book.lab.rglob("*.partial"))


def test_an_update_that_breaks_off_before_its_notes_goes_on(book, monkeypatch):
    write = lab.replace

    def only_copies(path, text):
        if path.name == lab.MADE_FROM:
            raise KeyboardInterrupt
        write(path, text)

    book.write("print('second')")
    with monkeypatch.context() as patch:
        patch.setattr(lab, "replace", only_copies)
        with pytest.raises(KeyboardInterrupt):
            book.update()
    assert book.sources()[1] == "print('second')"
    assert book.update() == []
    book.write("print('third')")
    assert book.update() == [] and book.sources()[1] == "print('third')" and book.files() == [NAME]


def test_links_of_the_books_copies_lead_to_files():
    copies = {path: lab.LAB / path.relative_to(exercises.CHAPTERS) for path in exercises.CHAPTERS.glob("*/*.ipynb")}
    followed = 0
    for path, copy in copies.items():
        for cell in lab.copy_of(path).cells:
            for address in re.findall(r"\]\(([^)\s]+)\)", cell.source) if cell.cell_type == "markdown" else ():
                if not urlsplit(address).scheme and urlsplit(address).path:
                    target = Path(os.path.normpath(copy.parent / unquote(urlsplit(address).path)))
                    assert target in copies.values() or (exercises.ROOT in target.parents and target.is_file()), f"{path.name}: {address}"
                    followed += 1
    assert followed > 20


def test_without_chapters_it_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(lab, "CHAPTERS", tmp_path / "chapters")
    assert lab.main() == 1 and "no chapters" in capsys.readouterr().err


def test_each_change_is_one_line(book, monkeypatch, capsys):
    monkeypatch.setattr(lab, "CHAPTERS", book.chapters)
    monkeypatch.setattr(lab, "write", lambda: ["x has your changes"])
    assert lab.main() == 0 and capsys.readouterr().out == "lab: x has your changes\n"


def test_make_lab_updates_the_copies_and_opens_them():
    rule = re.search(r"^lab:.*\n((?:\t.*\n)+)", (exercises.ROOT / "Makefile").read_text(), re.M)[1]
    update, opens = rule.index("-m course.lab"), rule.index(f"--ServerApp.root_dir=. --LabApp.default_url=/lab/tree/{lab.LAB.name}")
    assert update < opens and f"/{lab.LAB.name}/\n" in (exercises.ROOT / ".gitignore").read_text()


@pytest.mark.parametrize("path", sorted(exercises.CHAPTERS.glob("*/*.ipynb")), ids=lambda path: path.stem)
def test_a_copy_reads_well_in_jupyterlab(path):
    """Roles are words, and answers of the quiz are folded."""
    text = "\n\n".join(cell.source for cell in lab.copy_of(path).cells if cell.cell_type == "markdown")
    assert not re.search(r"\{[a-z:]+\}`", text) and not re.search(r"^(:::|```\{)|^:[a-z]+:", text, re.M)
    folded = sum(cell.source.count(":class: dropdown") for cell in exercises.without_solutions(nbformat.read(path, 4)).cells if cell.cell_type == "markdown")
    assert text.count("<details>") == text.count("</details>") == folded >= 3
