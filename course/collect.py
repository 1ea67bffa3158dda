"""What students handed in, as learning systems export it, made into one notebook a student.

Canvas      a zip of files       doejane_LATE_12345_678901_origins-1.ipynb
Moodle      a zip of folders     Jane Doe_12345_assignsubmission_file_/origins.ipynb      or of files so named
otherwise   a folder or a zip    STUDENT/origins.ipynb, STUDENT/origins/origins.ipynb, or STUDENT.ipynb
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import nbformat
from nbformat import NotebookNode

from .exercises import grade_id, is_solution
from .task import ProblemSet

CANVAS = re.compile(r"(?P<name>[^_/]+)_(?P<late>LATE_)?(?P<id>\d+)_\d+_(?P<file>[^/]+)")
MOODLE = re.compile(r"(?P<name>[^/]+)_(?P<id>\d+)_assignsubmission_file_?/?(?P<file>.*)")
AGAIN = re.compile(r"-(\d+)(?=\.\w+$)")                # Canvas numbers a file that is handed in again
LARGEST = 20 << 20                                      # bytes of one file; a notebook without pictures has some 20 kB
LARGEST_ALL = 2 << 30
GONE = "# This cell is missing from what was handed in."


@dataclass(frozen=True)
class Submission:
    """What one student handed in: `data` of the file that is graded, and what a teacher should know of it."""

    student: str
    name: str = ""
    file: str = ""
    data: bytes = b""
    late: bool = False
    notes: list[str] = field(default_factory=list)


def collect(path: Path, name: str) -> tuple[str, dict[str, Submission]]:
    """The layout ("Canvas", "Moodle" or "folders") of a folder or zip, and what it holds of the set `name`, by student.

    Files of one student count together. Nothing that anybody handed in is left out: where no notebook can be graded, the submission
    says so. ValueError if there is nothing.
    """
    files = dict(archive(path) if path.is_file() else folder(path))
    layout = next((layout for layout, pattern in (("Canvas", CANVAS), ("Moodle", MOODLE)) if files and all(map(pattern.fullmatch, files))), "folders")
    by_student: dict[str, list[Submission]] = {}
    for file, data in files.items():
        one = named(layout, file, data)
        by_student.setdefault(one.student, []).append(one)
    if not by_student:
        raise ValueError(f"{path} holds no files")
    return layout, {student: chosen(found, name) for student, found in sorted(by_student.items())}


def folder(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(path.rglob("*")):
        if file.is_file() and not file.is_symlink() and not file.name.startswith(".") and "__MACOSX" not in file.parts:
            yield file.relative_to(path).as_posix(), file.read_bytes() if file.stat().st_size <= LARGEST else b""


def archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """The files of a zip, read into memory: nothing is written, so a name in it can point nowhere. ValueError for what is no zip."""
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is neither a folder nor a zip")
    with zipfile.ZipFile(path) as opened:
        left = LARGEST_ALL
        for info in opened.infolist():
            name = PurePosixPath(info.filename)
            if info.is_dir() or name.name.startswith(".") or "__MACOSX" in name.parts:
                continue
            left -= min(info.file_size, LARGEST)
            if left < 0:
                raise ValueError(f"{path} holds more than {LARGEST_ALL >> 30} GB")
            yield str(name).lstrip("/"), limited(opened, info)


def limited(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """A member's bytes; none if it is too large, whatever its entry claims, or damaged."""
    try:
        with opened.open(info) as member:
            data = member.read(LARGEST + 1)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError):
        return b""
    return data if len(data) <= LARGEST else b""


def named(layout: str, file: str, data: bytes) -> Submission:
    """Whose file it is, by its name."""
    if layout == "folders":
        first, *rest = PurePosixPath(file).parts
        return Submission(safe(first if rest else PurePosixPath(first).stem), file="/".join(rest) or first, data=data)
    found = (CANVAS if layout == "Canvas" else MOODLE).fullmatch(file)
    late = layout == "Canvas" and bool(found["late"])
    return Submission(found["id"], found["name"], found["file"] or file, data, late, ["handed in late"] if late else [])


def safe(name: str) -> str:
    """A name that can be a folder's."""
    return re.sub(r"[^\w.@-]", "_", name).lstrip(".") or "_"


def chosen(files: list[Submission], name: str) -> Submission:
    """Of one student's files the one to grade: a notebook of the set, the latest of several; a zip is looked into."""
    inside = [replace(file, file=member, data=data) for file in files if file.file.lower().endswith(".zip") and zipfile.is_zipfile(io.BytesIO(file.data))
              for member, data in members(file.data)]
    found = [file for file in files + inside if file.file.lower().endswith(".ipynb")]
    if not found:
        handed = ", ".join(sorted(PurePosixPath(file.file).name for file in files))
        return replace(files[0], data=b"", notes=[*files[0].notes, f"no notebook was handed in, but {handed}"])
    best = max(found, key=lambda file: (belongs(file.data, name), PurePosixPath(file.file).stem.startswith(name), again(file.file), file.file))
    notes = list(best.notes)
    if len(found) > 1:
        notes.append(f"{len(found)} notebooks were handed in; {PurePosixPath(best.file).name} is graded")
    elif AGAIN.sub("", PurePosixPath(best.file).name) != f"{name}.ipynb":
        notes.append(f"the file was renamed to {PurePosixPath(best.file).name}")
    return replace(best, notes=notes)


def members(data: bytes) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        for info in opened.infolist()[:1000]:
            if info.filename.lower().endswith(".ipynb") and "__MACOSX" not in info.filename:
                yield info.filename, limited(opened, info)


def again(file: str) -> int:
    found = AGAIN.search(file)
    return int(found[1]) if found else 0


def belongs(data: bytes, name: str) -> bool:
    """Whether a notebook says that it is of the set, in its metadata or by the ids of its cells."""
    try:
        notebook = json.loads(data)
        if notebook["metadata"].get("course", {}).get("set") == name:
            return True
        return any(grade_id(cell) in (f"{name}-setup", f"{name}-essay") for cell in notebook["cells"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False


# A submission laid into the released notebook


def rebuilt(released: NotebookNode, submission: Submission, one: ProblemSet) -> tuple[NotebookNode, list[str]]:
    """The released notebook with the student's answers in it and the student's own cells where they stood, and notes on what was wrong.

    Everything else is the teacher's: locked cells, points, ids, kernel. So no edit outside the answers has an effect, a missing cell is
    an answer not given, and a file that is no notebook gives no answer at all.
    """
    copy, notes = nbformat.from_dict(released), list(submission.notes)
    cells, language, owner, problem = readable(submission.data)
    if language != "python":
        notes.append(f"the notebook was set to {language[:40]}; it is run as Python")
    if owner and owner != copy.metadata.get("course", {}).get("student"):
        notes.append(f"the notebook was made for {owner[:40]}")
    if problem:
        return copy, [*notes, problem] if submission.data or not notes else notes
    ours = {cell.metadata.nbgrader.grade_id: cell for cell in copy.cells if "nbgrader" in cell.metadata}
    known, own, before = set(), [], ""
    for cell in cells:
        name, text = identity(cell), source_of(cell)
        if name in ours and name not in known:
            known.add(name)
            before = name
            if is_solution(ours[name]):
                ours[name].source = text
            elif text.strip() != ours[name].source.strip():
                notes.append(f"the cell {name} was changed; ours is used")
        elif cell.get("cell_type") == "code" and text.strip():
            if name in ours:
                notes.append(f"the cell {name} occurs more than once; the first is graded")
            own.append((before, text))
    for name, cell in ours.items():
        if name not in known:
            notes.append(f"the cell {name} is missing")
            if is_solution(cell):
                cell.source = GONE          # no stub, which would stand in the way of an answer in another cell
    return with_own(copy, own), notes


def with_own(notebook: NotebookNode, own: list[tuple[str, str]]) -> NotebookNode:
    """The notebook with the student's own code cells, each after the cell of ours that it followed, and before the answer it may serve."""
    for number, (before, text) in enumerate(own, 1):
        cell = nbformat.v4.new_code_cell(text, id=f"own-{number}", metadata={"course": {"own": True}})
        place = next((i for i, other in enumerate(notebook.cells) if grade_id(other) == before), 0) + 1
        while place < len(notebook.cells) and notebook.cells[place].metadata.get("course", {}).get("own"):
            place += 1
        notebook.cells.insert(place, cell)
    return notebook


def readable(data: bytes) -> tuple[list[dict], str, str, str]:
    """The cells of a notebook file, whatever else is wrong with it, its language, whom it was handed out to, and why there are no cells."""
    if not data:
        return [], "python", "", "the file is empty, damaged or too large"
    try:
        found = json.loads(data)
        cells, metadata = [cell for cell in found["cells"] if isinstance(cell, dict)], found.get("metadata", {})
        language = metadata.get("kernelspec", {}).get("language") or "python"
        owner = metadata.get("course", {}).get("student") or ""
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        return [], "python", "", f"the file is no notebook that can be read ({type(error).__name__}: {str(error)[:100]})"
    return cells, str(language).lower(), str(owner), "" if cells else "the notebook has no cells"


def identity(cell: dict) -> str:
    metadata = cell.get("metadata")
    entry = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    found = entry.get("grade_id") if isinstance(entry, dict) else None
    return found if isinstance(found, str) else ""


def source_of(cell: dict) -> str:
    source = cell.get("source", cell.get("input", ""))
    if isinstance(source, list):
        source = "".join(map(str, source))
    # A lone surrogate is JSON and is no text: it could not be written out again.
    return str(source).encode("utf8", "replace").decode("utf8")
