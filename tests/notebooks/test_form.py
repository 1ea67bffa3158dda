"""What every notebook in the book keeps to, beside its numbers."""

import re

import nbformat
import pytest
import yaml

import notebooks
from course import exercises, tasks

NOTEBOOKS = pytest.mark.parametrize("path", notebooks.notebooks(), ids=lambda path: path.stem)
ABSOLUTE_PATH = re.compile(r"(?<![\w/.:])/(?:home|root|tmp|Users|usr|var|opt|mnt|work)/\w|[A-Z]:\\\\\w")  # in JSON text a backslash is written twice
WIDGET = "application/vnd.jupyter.widget-view+json"
INSTALL = re.compile(r"^\s*[!%]?\s*(?:pip3?|conda|mamba|apt(?:-get)?|brew)\s+install", re.M)


def read(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    return notebook, [cell for cell in notebook.cells if cell.cell_type == "code"]


@NOTEBOOKS
def test_stored_outputs_are_text_of_one_run_from_top_to_bottom(path):
    notebook, cells = read(path)
    assert "widgets" not in notebook.metadata, "widget state is stored: run `make outputs`"
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run `make outputs`"
    assert any(cell.outputs for cell in cells), "no stored output, so nothing is compared"
    for number, cell in enumerate(cells, 1):
        assert cell.outputs == notebooks.keep_text(cell.outputs), f"code cell {number} stores a picture or a widget"
        kinds = {output.output_type for output in cell.outputs}
        assert "error" not in kinds or "raises-exception" in cell.metadata.get("tags", []), f"code cell {number}"


@NOTEBOOKS
def test_nothing_in_it_depends_on_a_machine(path):
    _, cells = read(path)
    for number, cell in enumerate(cells, 1):
        assert not INSTALL.search(cell.source), f"code cell {number} installs something"
        found = ABSOLUTE_PATH.search(nbformat.writes(nbformat.v4.new_notebook(cells=[cell])))
        assert not found, f"code cell {number} holds an absolute path: {found and found[0]}"


@NOTEBOOKS
def test_every_drawing_cell_has_alt_text(path, executed):
    for number, cell in enumerate((c for c in executed(path).cells if c.cell_type == "code"), 1):
        # A widget describes itself, and so its picture.
        pictures = [o for o in cell.outputs if any(mime.startswith("image/") for mime in o.get("data", {})) and WIDGET not in o.data]
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        assert not pictures or alt.strip(), f"code cell {number} draws but has no metadata mystnb.image.alt"
        assert len(pictures) <= 1, f"code cell {number} draws {len(pictures)} pictures, which share one alt text"


@NOTEBOOKS
def test_nothing_is_written_to_stderr(path, executed):
    for number, cell in enumerate((c for c in executed(path).cells if c.cell_type == "code"), 1):
        errors = [output.text for output in cell.outputs if output.get("name") == "stderr"]
        assert not errors, f"code cell {number}: {errors}"


@NOTEBOOKS
def test_exercises_are_solved_and_checked_in_cells_that_nbgrader_knows(path):
    notebook, cells = read(path)
    marked = [cell for cell in cells if "nbgrader" in cell.metadata]
    ids = [cell.metadata.nbgrader.grade_id for cell in marked]
    labels = re.findall(r":label: ex-([\w-]+)", "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown"))
    assert len(labels) >= 3 and ids == [name for label in labels for name in (label, f"{label}-check")]
    for solution, check, label in zip(marked[::2], marked[1::2], labels, strict=True):
        a, b = solution.metadata.nbgrader, check.metadata.nbgrader
        assert (a.solution, a.grade, a.locked, a.schema_version) == (True, False, False, 3) and not solution.outputs, a.grade_id
        assert (b.solution, b.grade, b.locked, b.schema_version) == (False, True, True, 3), b.grade_id
        assert exercises.stub(solution.source) != solution.source, f"{a.grade_id} marks no solution"
        compile(exercises.stub(solution.source), a.grade_id, "exec")
        # That the check was full is in its stored output.
        points = tasks.find(label).points
        assert check.source == f'check("{label}")' and b.points == points, b.grade_id
        assert check.outputs[0].text.startswith(f"{label}: {points} of {points} points"), b.grade_id


def test_the_table_of_contents_lists_every_notebook_and_no_other():
    toc = yaml.safe_load((notebooks.ROOT / "_toc.yml").read_text())
    listed = set(re.findall(r"'(?:file|root)': '(chapters/[^']*/\d\d_\w+)'", repr(toc)))
    assert listed == {path.relative_to(notebooks.ROOT).with_suffix("").as_posix() for path in notebooks.notebooks()}
