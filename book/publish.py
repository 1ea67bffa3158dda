"""The notebooks as Colab opens them: copies with stubs for solutions, which first install the package, on a branch of their own.

    python book/publish.py            write the copies into _build/colab
    python book/publish.py --push     and make them, alone, the branch `colab` of the repository that this was cloned from

Both do nothing while `colab` is off in pyproject.toml. The copies install the commit that they were made from.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course.exercises import without_solutions
from ext import launch

ROOT = Path(__file__).resolve().parents[1]


def with_install(notebook: NotebookNode, package: str, repository: str, commit: str) -> NotebookNode:
    """A copy without solutions, with a new first code cell, which installs `package` from the commit of the repository."""
    copy = without_solutions(notebook)
    first = next(i for i, cell in enumerate(copy.cells) if cell.cell_type == "code")
    copy.cells.insert(first, nbformat.v4.new_code_cell(f'%pip install -q "{package} @ git+{repository}@{commit}"', id="install"))
    return copy


def git(root: Path, *arguments: str, **environment: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, env=os.environ | environment, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def write(folder: Path, root: Path = ROOT) -> list[Path]:
    """Write a copy of every notebook below `root`/chapters to the same place below `folder`, which is emptied first."""
    name, repository = launch.project(root)["project"]["name"], launch.settings(root)["repository"]
    commit = git(root, "rev-parse", "HEAD")
    shutil.rmtree(folder, ignore_errors=True)
    written = []
    for path in sorted(root.glob("chapters/*/*.ipynb")):
        target = folder / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(with_install(nbformat.read(path, 4), name, repository, commit), target)
        written.append(target)
    return written


def push(folder: Path, root: Path = ROOT) -> None:
    """Replace the branch `colab` of the remote `origin` with one commit that holds `folder`. The work tree stays as it is."""
    index = folder.with_suffix(".index")
    index.unlink(missing_ok=True)
    git(root, f"--work-tree={folder}", "add", "--all", "--force", str(folder), GIT_INDEX_FILE=str(index))
    tree = git(root, "write-tree", GIT_INDEX_FILE=str(index))
    author, made_from = ("-c", "user.name=book/publish.py", "-c", "user.email=none"), git(root, "rev-parse", "HEAD")
    commit = git(root, *author, "commit-tree", tree, "-m", f"The notebooks of {made_from}, for Colab")
    git(root, "push", "--force", "origin", f"{commit}:refs/heads/{launch.COPIES}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--push", action="store_true", help=f"make the copies the branch {launch.COPIES} of origin")
    arguments = parser.parse_args()
    if not launch.settings()["colab"]:
        print("colab: off in [tool.book] of pyproject.toml, nothing to do")
        return 0
    folder = ROOT / "_build" / "colab"
    print(f"colab: {len(write(folder))} notebooks in {folder.relative_to(ROOT)}")
    if arguments.push:
        push(folder)
        print(f"colab: pushed as the branch {launch.COPIES}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
