"""Stored text outputs against freshly computed ones, by nbval: exactly on Linux x86-64, elsewhere marked cells only.

nbval would run every cell in a kernel of its own. Here it asks a stand-in that answers from the executed notebook in
the book's cache, so that nothing runs twice while comparison, tags and sanitising stay nbval's.
"""

import platform
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output
from nbval.plugin import IPyNbFile

import notebooks

EXACT = (platform.system(), platform.machine()) == ("Linux", "x86_64")


class ExecutedKernel:
    """Speaks to nbval like its kernel, and replays the outputs of `notebook` instead of running code."""

    def __init__(self, notebook: NotebookNode):
        self.cells = iter([cell for cell in notebook.cells if cell.cell_type == "code"])
        self.messages = iter(())

    def is_alive(self) -> bool:
        return True

    def execute_cell_input(self, source: str, allow_stdin: bool = False) -> str:
        cell = next(cell for cell in self.cells if cell.source == source)  # nbval leaves out the cells it skips
        replies = [{"msg_type": output.output_type, "content": output} for output in cell.outputs]
        idle = {"msg_type": "status", "content": {"execution_state": "idle"}}
        self.messages = iter([{**reply, "parent_header": {"msg_id": "replay"}} for reply in [*replies, idle]])
        return "replay"

    def get_message(self, _stream: str, timeout: float | None = None) -> dict:
        return next(self.messages)

    def await_reply(self, _msg_id: str, timeout: float | None = None) -> None:
        pass

    await_idle = await_reply


def differences(request: pytest.FixtureRequest, path: Path, computed: NotebookNode, exact: bool = True) -> list[str]:
    """nbval's report on each cell of the notebook at `path` whose stored outputs are not those of `computed`."""
    stored = IPyNbFile.from_parent(request.session, path=path)
    stored.compare_outputs = exact
    stored.kernel = ExecutedKernel(computed)
    stored.get_sanitize_files = lambda: [Path(__file__).with_name("sanitize.cfg")]
    stored.setup_sanitize_files()
    reports = []
    for cell in stored.collect():
        if cell.options["skip"]:
            continue
        try:
            cell.runtest()
        except Exception:
            reports.append(str(cell.repr_failure(pytest.ExceptionInfo.from_current())))
    return reports


@pytest.mark.parametrize("path", notebooks.notebooks(), ids=lambda path: path.stem)
def test_stored_outputs_are_those_computed(path, executed, request):
    reports = differences(request, path, executed(path), EXACT)
    assert not reports, "\n\n".join(["stored and computed outputs differ", *reports])


def code(source: str, *outputs: NotebookNode, tags: tuple[str, ...] = ()) -> NotebookNode:
    return new_code_cell(source, outputs=list(outputs), execution_count=1, metadata={"tags": list(tags)})


@pytest.mark.parametrize(
    ("stored", "computed", "tags", "found"),
    [
        ("0.125\n", "0.125\n", (), 0),
        ("0.125\n", "0.126\n", (), 1),
        ("<f at 0x7f00aa11bb>\n", "<f at 0x7f99cc22dd>\n", (), 0),
        ("3.2 s\n", "4.1 s\n", ("nbval-ignore-output",), 0),
        ("0.125\n", None, (), 1),
        (None, "0.125\n", (), 1),
    ],
)
def test_the_comparison_tells_numbers_apart(stored, computed, tags, found, tmp_path, request):
    def notebook(text):
        outputs = [] if text is None else [new_output("stream", name="stdout", text=text)]
        return new_notebook(cells=[code("skipped()", tags=("nbval-skip",)), code("show()", *outputs, tags=tags)])

    path = tmp_path / "a.ipynb"
    nbformat.write(notebook(stored), path)
    assert len(differences(request, path, notebook(computed))) == found


def test_an_error_in_a_computed_cell_is_reported(tmp_path, request):
    error = new_output("error", ename="ValueError", evalue="t out of range", traceback=["t out of range"])
    path = tmp_path / "a.ipynb"
    nbformat.write(new_notebook(cells=[code("step()")]), path)
    assert len(differences(request, path, new_notebook(cells=[code("step()", error)]))) == 1
