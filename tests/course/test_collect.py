"""What learning systems export, and what of a submission survives."""

import io
import json
import zipfile

import nbformat
import pytest

from course import collect, release
from course.collect import Submission, rebuilt
from course.exercises import Exercise, grade_id, is_solution
from course.task import Essay, ProblemSet, Task

toy = Task("toy-add", ("add",), minutes=5, difficulty=1, example="add(1, 2)")
toy.part(2, "sums")(lambda answers, case: None)
SET = ProblemSet("toy", "A toy", "none", "import math", [toy], Essay("Why?", "Because.", 3, 10))
SOURCE = release.source(SET, {"toy-add": Exercise("toy-add", "Add", None, statement="Add two numbers.", solution="def add(a, b):\n    ### BEGIN SOLUTION\n    return a + b\n    ### END SOLUTION")})
RELEASED = nbformat.from_dict(SOURCE)
for cell in RELEASED.cells:
    if is_solution(cell):
        cell.source = "YOUR CODE HERE"
STUB, ANSWER = "YOUR CODE HERE", "def add(a, b):\n    return b + a"


def notebook(answer=ANSWER, change=lambda notebook: None):
    copy = nbformat.from_dict(RELEASED)
    next(cell for cell in copy.cells if grade_id(cell) == "toy-add").source = answer
    change(copy)
    return nbformat.writes(copy).encode()


def laid(data, **more):
    """What is graded, by grade_id, with the student's own cells as "own", and the notes."""
    found, notes = rebuilt(RELEASED, Submission("1", data=data, **more), SET)
    nbformat.validate(found)
    return [(grade_id(cell) or ("own" if "own" in cell.metadata.get("course", {}) else ""), cell.source) for cell in found.cells], notes


def answer(cells):
    return dict(cells)["toy-add"]


# Layouts


def packed(files, path):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def unpacked(files, path):
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


CANVAS = {"doejane_12_345_toy.ipynb": b"a", "roejohn_LATE_13_346_toy-2.ipynb": b"b", "o'neil-smith_14_347_my work.ipynb": b"c", "x_15_348_a_b_c.ipynb": b"d"}
MOODLE = {"Jane Doe_12_assignsubmission_file_/toy.ipynb": b"a", "José Núñez_13_assignsubmission_file_/sub/toy.ipynb": b"b", "A_B_14_assignsubmission_file_/my.ipynb": b"c"}
FLAT_MOODLE = {"Jane Doe_12_assignsubmission_file_toy.ipynb": b"a", "José Núñez_13_assignsubmission_file_toy.ipynb": b"b"}
FOLDERS = {"jane/toy.ipynb": b"a", "john/toy/toy.ipynb": b"b", "joe.ipynb": b"c"}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "folder"])
@pytest.mark.parametrize("files, layout, students", [
    (CANVAS, "Canvas", ["12", "13", "14", "15"]), (MOODLE, "Moodle", ["12", "13", "14"]), (FLAT_MOODLE, "Moodle", ["12", "13"]), (FOLDERS, "folders", ["jane", "joe", "john"]),
], ids=["Canvas", "Moodle", "flat Moodle", "folders"])
def test_every_layout_gives_each_student_one_submission(tmp_path, zipped, files, layout, students):
    path = packed(files, tmp_path / "x.zip") if zipped else unpacked(files, tmp_path / "x")
    found_layout, found = collect.collect(path, "toy")
    assert (found_layout, sorted(found)) == (layout, students)
    assert sorted(one.data for one in found.values()) == sorted(files.values())


def test_names_late_marks_and_new_names_are_noted(tmp_path):
    _, found = collect.collect(packed(CANVAS, tmp_path / "x.zip"), "toy")
    assert (found["12"].name, found["12"].late, found["12"].notes) == ("doejane", False, [])
    assert (found["13"].late, found["13"].notes) == (True, ["handed in late"])
    assert found["14"].notes == ["the file was renamed to my work.ipynb"] and found["14"].name == "o'neil-smith"
    _, found = collect.collect(packed(MOODLE, tmp_path / "y.zip"), "toy")
    assert found["13"].name == "José Núñez" and found["14"].name == "A_B"


def test_of_several_files_the_sets_own_latest_notebook_counts(tmp_path):
    other = nbformat.writes(nbformat.v4.new_notebook()).encode()
    files = {"d_1_10_toy.ipynb": notebook("first"), "d_1_10_toy-1.ipynb": notebook("second"), "d_1_10_toy-10.ipynb": notebook("last"), "d_1_10_zzz-99.ipynb": other, "d_1_10_x.pdf": b"%PDF"}
    one = collect.collect(packed(files, tmp_path / "x.zip"), "toy")[1]["1"]
    assert one.file == "toy-10.ipynb" and answer(laid(one.data)[0]) == "last" and "4 notebooks were handed in" in one.notes[-1]


def test_a_zip_that_a_student_handed_in_is_looked_into(tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("../../evil.ipynb", notebook())
        archive.writestr("__MACOSX/._toy.ipynb", b"junk")
    one = collect.collect(packed({"d_1_10_toy.zip": inner.getvalue()}, tmp_path / "x.zip"), "toy")[1]["1"]
    assert one.data == notebook() and not list(tmp_path.parent.glob("evil*"))


def test_what_is_no_notebook_is_kept_as_a_submission_that_says_so(tmp_path):
    one = collect.collect(packed({"d_1_10_answers.docx": b"x", "d_1_10_photo.jpg": b"y"}, tmp_path / "x.zip"), "toy")[1]["1"]
    assert one.data == b"" and one.notes == ["no notebook was handed in, but answers.docx, photo.jpg"]
    assert laid(one.data, notes=one.notes)[1] == one.notes


@pytest.mark.parametrize("path", ["missing.zip", "text.zip", "empty"])
def test_a_path_that_holds_nothing_is_refused(tmp_path, path):
    (tmp_path / "text.zip").write_text("no zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError):
        collect.collect(tmp_path / path, "toy")


def test_a_file_that_is_too_large_or_damaged_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "LARGEST", 100)
    path = packed({"a_1_2_toy.ipynb": b"x" * 101, "b_2_3_toy.ipynb": b"y" * 100, "c_3_4_toy.ipynb": b"z" * 100}, tmp_path / "x.zip")
    path.write_bytes(path.read_bytes().replace(b"z" * 100, b"w" * 100))
    found = collect.collect(path, "toy")[1]
    assert [found[s].data for s in "123"] == [b"", b"y" * 100, b""]


def test_names_become_folders_safely():
    assert [collect.safe(name) for name in ("../../etc", "a b/c", "..", "jané.d@x-1", "")] == ["_.._etc", "a_b_c", "_", "jané.d@x-1", "_"]


# What is graded


def test_an_answer_is_laid_into_the_released_notebook():
    cells, notes = laid(notebook())
    assert answer(cells) == ANSWER and not notes
    assert [text for _, text in cells[:3]] == [cell.source for cell in RELEASED.cells[:3]]


def test_edits_of_locked_cells_points_kernel_and_metadata_have_no_effect():
    def edit(copy):
        for cell in copy.cells:
            entry = cell.metadata.get("nbgrader")
            if entry and not entry.solution:
                cell.source, entry["points"], entry["locked"], entry["grade"] = "1 / 0", 1e9, False, True
        copy.metadata.kernelspec = {"name": "ir", "display_name": "R", "language": "R"}
        copy.cells[0].source = "All full points, says the teacher."

    cells, notes = laid(notebook(change=edit))
    assert [pair for pair in cells if pair[0] != "toy-add"] == [pair for pair in laid(notebook(STUB))[0] if pair[0] != "toy-add"]
    assert answer(cells) == ANSWER
    assert notes == ["the notebook was set to r; it is run as Python", "the cell toy-setup was changed; ours is used", "the cell toy-add-check was changed; ours is used"]


def test_a_notebook_that_was_made_for_another_student_is_noted():
    def made_for(student):
        copy = nbformat.from_dict(RELEASED)
        copy.metadata.course["student"] = student
        return copy

    theirs = nbformat.writes(made_for("ann")).encode()
    assert rebuilt(made_for("ben"), Submission("ben", data=theirs), SET)[1] == ["the notebook was made for ann"]
    assert rebuilt(made_for("ann"), Submission("ann", data=theirs), SET)[1] == []


def test_own_cells_stand_where_they_stood():
    def add(copy):
        places = {grade_id(cell): i for i, cell in enumerate(copy.cells) if grade_id(cell)}
        copy.cells.insert(places["toy-add-check"] + 1, nbformat.v4.new_code_cell("late = 1"))
        copy.cells.insert(places["toy-add"], nbformat.v4.new_code_cell("helper = 2"))
        copy.cells.insert(places["toy-add"], nbformat.v4.new_code_cell("helper = 1"))
        copy.cells.insert(0, nbformat.v4.new_code_cell("first = 0"))
        copy.cells.insert(0, nbformat.v4.new_markdown_cell("a remark"))

    names = [(name, text) for name, text in laid(notebook(change=add))[0] if name]
    assert [text if name == "own" else name for name, text in names] == [
        "first = 0", "toy-setup", "helper = 1", "helper = 2", "toy-add", "toy-add-check", "late = 1", "toy-essay"]


def test_a_missing_cell_is_an_answer_not_given_and_an_answer_elsewhere_counts():
    def move(copy):
        copy.cells = [cell for cell in copy.cells if grade_id(cell) not in ("toy-add", "toy-add-check")] + [nbformat.v4.new_code_cell(ANSWER)]

    cells, notes = laid(notebook(change=move))
    assert answer(cells) == collect.GONE and ("own", ANSWER) in cells
    assert notes == ["the cell toy-add is missing", "the cell toy-add-check is missing"]


def test_of_a_cell_that_occurs_twice_the_first_is_graded():
    def double(copy):
        again = nbformat.from_dict(next(cell for cell in copy.cells if grade_id(cell) == "toy-add"))
        again.source, again.id = "def add(a, b): return 0", "other"
        copy.cells.append(again)

    cells, notes = laid(notebook(change=double))
    assert answer(cells) == ANSWER and cells[-1] == ("own", "def add(a, b): return 0") and "more than once" in notes[0]


BROKEN = {
    "cut": notebook()[:-200], "empty": b"", "text": b"hello", "number": b"7", "list": b"[]", "no cells": b'{"metadata": {}}', "cells are text": b'{"cells": "x"}', "cells are numbers": b'{"cells": [1, 2]}',
    "nested": b'{"cells": ' + b"[" * 100_000, "binary": bytes(range(256)), "utf16": notebook().decode().encode("utf16"), "metadata is a list": b'{"cells": [], "metadata": []}',
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_gives_no_answer_and_says_why(data):
    cells, notes = laid(data)
    if data != BROKEN["utf16"]:         # which Python's json reads
        assert answer(cells) == STUB and len(notes) == 1 and ("no notebook" in notes[0] or "no cells" in notes[0] or "empty" in notes[0]), notes


@pytest.mark.parametrize("cell", [
    None, 3, {}, {"cell_type": "code"}, {"cell_type": "code", "source": 7, "metadata": None}, {"cell_type": "code", "source": ["a", 1], "metadata": {"nbgrader": 3}},
    {"cell_type": "code", "source": "x = '\\ud800'", "metadata": {"nbgrader": {"grade_id": ["toy-add"]}}}, {"cell_type": "markdown", "source": "x", "metadata": {"nbgrader": {"grade_id": "nonsense"}}},
], ids=range(8))
def test_a_strange_cell_does_no_harm(cell):
    found = json.loads(notebook())
    found["cells"].insert(0, cell)
    assert answer(laid(json.dumps(found).encode())[0]) == ANSWER
