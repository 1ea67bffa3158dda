"""Running notebooks into the cache, and storing their text outputs."""

import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

import notebooks


@pytest.fixture
def project(tmp_path):
    """A small project: a package with one module and one array, the modules that check exercises, one of graders, and pins."""
    package = tmp_path / "diffusion_core"
    (package / "data").mkdir(parents=True)
    (package / "samplers.py").write_text("SIGN = 1\n")
    (package / "data" / "bundle.npz").write_bytes(b"\x00\x01")
    (tmp_path / "course" / "tasks").mkdir(parents=True)
    for name in (*notebooks.CHECKING, "tasks/one", "sandbox"):
        (tmp_path / "course" / f"{name}.py").write_text("SIGN = 1\n")
    (tmp_path / "requirements.txt").write_text("torch==2.13.0\n")
    return tmp_path


def write(path, *sources):
    cells = [new_code_cell(source) for source in sources]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "p"}}), path)
    return path


@pytest.mark.parametrize("name", ["diffusion_core/samplers.py", "diffusion_core/data/bundle.npz", "requirements.txt", "course/tasks/one.py", "course/task.py"])
def test_fingerprint_sees_code_data_graders_and_pins(project, name):
    before = notebooks.fingerprint(project)
    path = project / name
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    assert notebooks.fingerprint(project) != before


def test_fingerprint_sees_names_but_not_compiled_files(project):
    before = notebooks.fingerprint(project)
    compiled = project / "diffusion_core" / "__pycache__"
    compiled.mkdir()
    (compiled / "samplers.pyc").write_bytes(b"1")
    assert notebooks.fingerprint(project) == before
    (project / "diffusion_core" / "samplers.py").rename(project / "diffusion_core" / "sampler.py")
    assert notebooks.fingerprint(project) != before


def test_the_rest_of_the_course_kit_runs_in_no_notebook(project):
    """What `check` imports is listed, so that a change there runs the notebooks again."""
    before = notebooks.fingerprint(project)
    (project / "course" / "sandbox.py").write_text("SIGN = 2\n")
    assert notebooks.fingerprint(project) == before
    loaded = subprocess.run([sys.executable, "-c", "import course, sys; print(*(name for name in sys.modules if name.startswith('course.')))"],
                            cwd=notebooks.ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert {name.split(".")[1] for name in loaded} == set(notebooks.CHECKING)


def test_a_notebook_runs_once_until_the_package_changes(project, tmp_path):
    path = write(tmp_path / "a.ipynb", "import os, uuid; print(os.environ['BOOK_BUILD'], uuid.uuid4())")
    cache = project / "_build"

    def printed():
        assert notebooks.fill([path], cache, project) == {}
        return notebooks.executed(path, cache, project).cells[0].outputs[0].text

    first = printed()
    assert first.startswith("1 ")
    assert printed() == first
    (project / "diffusion_core" / "samplers.py").write_text("SIGN = -1\n")
    assert printed() != first


def test_a_failing_notebook_is_named_with_its_traceback(project, tmp_path):
    path = write(tmp_path / "a.ipynb", "raise ValueError('t out of range')")
    failures = notebooks.fill([path], project / "_build", project)
    assert list(failures) == [path]
    assert "t out of range" in failures[path]


def test_store_keeps_text_and_drops_pictures_and_widgets(tmp_path):
    draw = "import matplotlib.pyplot as plt; _ = plt.plot([1, 2]); print('drawn'); plt.show()"
    widget = "import ipywidgets; ipywidgets.IntSlider()"
    path = write(tmp_path / "a.ipynb", draw, widget)
    notebooks.store(path)
    stored = nbformat.read(path, 4)
    assert "widgets" not in stored.metadata
    assert [cell.execution_count for cell in stored.cells] == [1, 2]
    assert stored.cells[0].outputs[0].text == "drawn\n"
    assert list(stored.cells[0].outputs[1].data) == ["text/plain"]
    assert list(stored.cells[1].outputs[0].data) == ["text/plain"]


def test_store_changes_nothing_when_a_cell_fails(tmp_path):
    path = write(tmp_path / "a.ipynb", "print(1)", "1 / 0")
    before = path.read_bytes()
    with pytest.raises(Exception, match="ZeroDivisionError"):
        notebooks.store(path)
    assert path.read_bytes() == before


def test_stored_outputs_keep_text_alone_and_each_stream_in_one_piece():
    new = nbformat.v4.new_output
    outputs = [
        new("stream", name="stdout", text="a\n"),
        new("stream", name="stdout", text="b\n"),
        new("display_data", data={"image/png": "AAAA", "text/plain": "<Figure>"}),
        new("display_data", data={"image/png": "AAAA"}),
        new("stream", name="stdout", text="c\n"),
    ]
    kept = notebooks.keep_text(outputs)
    assert [o.get("text", o.get("data")) for o in kept] == ["a\nb\n", {"text/plain": "<Figure>"}, "c\n"]
    assert outputs[0].text == "a\n" and notebooks.keep_text(kept) == kept
