"""Run the book's notebooks once, in parallel, into the cache that the build and the tests both read.

    python book/notebooks.py                      fill the cache: what `make book` does before it builds
    python book/notebooks.py --store [NOTEBOOK]   run notebooks afresh and write their text outputs into them

The cache is jupyter-cache's, which knows a notebook by its code cells alone. Results also depend on the package,
its weights and its data, and on the exercises' graders, so `fill` keeps a fingerprint of those and empties the cache when it changes.
"""

import argparse
import hashlib
import os
import platform
import shutil
import sys
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.cache.db import NbProjectRecord
from jupyter_cache.executors import load_executor
from jupyter_cache.executors.utils import single_nb_execution
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "_build" / ".jupyter_cache"
CELL_TIMEOUT = 300  # seconds; a busy machine is no reason to fail
# One thread a kernel: two notebooks run side by side, and another thread count changes the last bits of sums.
ENVIRONMENT = {
    "BOOK_BUILD": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}
# What `check` in a notebook runs, beside course/tasks. The rest of the course kit runs in no notebook.
CHECKING = ("check", "answers", "task", "wire", "exercises")
# Stored notebooks keep text. Pictures make every difference unreadable, and model ids are random.
NOT_STORED = ("image/", "application/vnd.jupyter.widget-view+json")


def notebooks() -> list[Path]:
    """The book's notebooks in reading order."""
    return sorted(ROOT.glob("chapters/*/*.ipynb"))


def fingerprint(root: Path = ROOT) -> str:
    """SHA-256 over all that a cell's output depends on beside its code: package with weights and data, graders, pins, Python."""
    digest = hashlib.sha256(repr((platform.python_version(), platform.machine(), sorted(ENVIRONMENT.items()))).encode())
    # Scripts run in a page or in JupyterLab, not in a cell.
    package = (p for p in (root / "diffusion_core").rglob("*") if p.is_file() and p.suffix != ".js" and "__pycache__" not in p.parts)
    graders = [root / "course" / f"{name}.py" for name in CHECKING] + sorted((root / "course" / "tasks").glob("*.py"))
    for path in [root / "requirements.txt", *sorted(package), *graders]:
        digest.update(f"\n{path.relative_to(root).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def open_cache(folder: Path = CACHE, root: Path = ROOT):
    """The cache, emptied first if `fingerprint` is not the one it was filled under."""
    mark, current = folder / "fingerprint", fingerprint(root)
    if not mark.exists() or mark.read_text() != current:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        mark.write_text(current)
    return get_cache(folder)


def fill(paths: list[Path], folder: Path = CACHE, root: Path = ROOT) -> dict[Path, str]:
    """Execute those of `paths` that the cache lacks, as many at a time as there are cores.

    Returns the tracebacks of the notebooks that failed; an empty dict means that all are in the cache.
    """
    os.environ.update(ENVIRONMENT)
    cache = open_cache(folder, root)
    for record in cache.list_project_records():
        cache.remove_nb_from_project(record.pk)
    for path in paths:
        cache.add_nb_to_project(str(path))
    result = load_executor("local-parallel", cache).run_and_cache(timeout=CELL_TIMEOUT)
    for uri in result.succeeded:
        seconds = cache.match_cache_notebook(nbformat.read(uri, 4)).data["execution_seconds"]
        print(f"  ran {Path(uri).name} in {seconds:.0f} s", flush=True)
    failed = result.excepted + result.errored
    return {Path(uri): NbProjectRecord.record_from_uri(uri, cache.db).traceback or "see the log above" for uri in failed}


def executed(path: Path, folder: Path = CACHE, root: Path = ROOT) -> NotebookNode:
    """The notebook at `path` with the outputs that the cache holds for it; KeyError if it holds none."""
    return open_cache(folder, root).merge_match_into_notebook(nbformat.read(path, 4))[1]


def keep_text(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs without pictures and widget views, streams in one piece; an output that held nothing else goes."""
    kept = []
    for output in outputs:
        if "data" in output:
            data = {mime: value for mime, value in output.data.items() if not mime.startswith(NOT_STORED)}
            if not data:
                continue
            output = NotebookNode({**output, "data": data, "metadata": {}})
        if kept and output.output_type == "stream" == kept[-1].output_type and output.name == kept[-1].name:
            # Where a stream is cut into pieces depends on timing alone.
            kept[-1] = NotebookNode({**kept[-1], "text": kept[-1].text + output.text})
        else:
            kept.append(output)
    return kept


def store(path: Path) -> None:
    """Execute the notebook at `path` and write its text outputs and execution counts into it. A failing cell raises."""
    os.environ.update(ENVIRONMENT)
    notebook = nbformat.read(path, 4)
    result = single_nb_execution(
        nbformat.read(path, 4), cwd=str(path.parent), timeout=CELL_TIMEOUT, allow_errors=False, meta_override=False
    )
    if result.err:
        raise result.err
    for cell, done in zip(notebook.cells, result.nb.cells, strict=True):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = keep_text(done.outputs), done.execution_count
            cell.metadata.pop("execution", None)
    notebook.metadata.pop("widgets", None)
    nbformat.write(notebook, path)
    print(f"  stored the outputs of {path.name} ({result.time:.0f} s)", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", action="store_true", help="write the text outputs into the notebooks")
    parser.add_argument("notebook", nargs="*", type=Path, help="default: all of the book's")
    arguments = parser.parse_args()
    paths = [path.resolve() for path in arguments.notebook] or notebooks()
    if arguments.store:
        for path in paths:
            store(path)
        return 0
    failures = fill(paths)
    for path, traceback in failures.items():
        print(f"{path.relative_to(ROOT)} failed:\n{traceback}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
