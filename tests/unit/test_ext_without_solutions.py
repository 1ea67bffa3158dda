"""The extension that takes solutions out of pages, on a book of a page and a notebook that runs."""

import base64
import hashlib
import io
import json
import re

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import docutils_namespace, patch_docutils

import launch
import notebooks

STATEMENT = """Before the exercise.

```{exercise-start} Double it
:label: ex-toy-double
```

Write `double(x)`, a statement in plain view.

```{exercise-end}
```
"""
ANSWER = "def double(x):\n    ### BEGIN SOLUTION\n    return x + x + 0\n    ### END SOLUTION"
EXPLANATION = """````{solution-start} ex-toy-double
:class: dropdown
````

Addition suffices, says the zymurgist.
"""
AFTER = "That is shown inside.\n\n````{solution-end}\n````\n\nAfter the exercise."
DRAW = "import matplotlib.pyplot as plt; _ = plt.plot({}); plt.show()"
# What belongs to the solution: in code, in what the check and the demonstration print, in words, in the state of a widget.
SECRETS = ["x + x + 0", "3 of 3 points", "the demonstration prints 41", "zymurgist", "shown inside", "SECRET WIDGET", "demonstrate(", "SOLUTION"]
PUBLIC = ["Before the exercise", "a statement in plain view", "YOUR CODE HERE", "NotImplementedError", 'check("toy-double")', "After the exercise",
          "public output 40", "PUBLIC WIDGET"]


def marked(name: str, **kind) -> dict:
    return {"nbgrader": {"grade_id": name, "schema_version": 3, "solution": False, "grade": False, "locked": False} | kind}


def notebook():
    slider = "import ipywidgets; ipywidgets.IntSlider(description='{}')"
    alt = {"mystnb": {"image": {"alt": "A line."}}}
    cells = [
        new_markdown_cell("# A notebook"),
        new_code_cell("import uuid\n\n\ndef check(name):\n    print('3', 'of 3 points')\n\n\nprint('public output', 40, uuid.uuid4())"),
        new_code_cell(DRAW.format("[1, 2]"), metadata=alt),
        new_code_cell(slider.format("PUBLIC WIDGET")),
        new_markdown_cell(STATEMENT),
        new_code_cell(ANSWER, metadata=marked("toy-double", solution=True)),
        new_code_cell('check("toy-double")', metadata=marked("toy-double-check", grade=True, locked=True, points=3)),
        new_markdown_cell(EXPLANATION),
        new_code_cell("def demonstrate(x):\n    print('the demonstration prints', x + 1)\n\n\ndemonstrate(40)"),
        new_code_cell(DRAW.format("[2, 1]"), metadata=alt),
        new_code_cell(slider.format("SECRET WIDGET")),
        new_markdown_cell(AFTER),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python"}, "language_info": {"name": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=kernel)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Folder of the book; its notebook has run into the cache that is beside it."""
    folder = tmp_path_factory.mktemp("book")
    (folder / "source" / "chapters").mkdir(parents=True)
    (folder / "source" / "index.md").write_text("# A page\n\n```{toctree}\nchapters/one\n```\n")
    nbformat.write(notebook(), folder / "source" / "chapters" / "one.ipynb")
    assert notebooks.fill([folder / "source" / "chapters" / "one.ipynb"], folder / "cache") == {}
    return folder / "source"


def build(source, out, builder="html", extensions=("without_solutions",), **settings):
    config = {
        "extensions": ["myst_nb", "sphinx_exercise", *extensions], "source_suffix": {".md": "myst-nb", ".ipynb": "myst-nb"},
        "html_theme": "sphinx_book_theme", "nb_execution_mode": "cache", "nb_execution_cache_path": str(source.parent / "cache"), "version": "1",
        **settings,
    }
    warnings = io.StringIO()
    with patch_docutils(), docutils_namespace():
        Sphinx(source, None, out / builder, out / "doctrees", builder, config, status=None, warning=warnings).build()
    assert warnings.getvalue() == ""
    return out / builder


@pytest.fixture(scope="module")
def site(source, tmp_path_factory):
    return build(source, tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def unprotected(source, tmp_path_factory):
    """The same site without the extension: what the tests here look for is there."""
    return build(source, tmp_path_factory.mktemp("site"), extensions=())


def article(site) -> BeautifulSoup:
    return BeautifulSoup((site / "chapters" / "one.html").read_text("utf8"), "html.parser").select_one("article")


def everywhere(folder) -> str:
    """The text of every file: as it is, and of pages also without tags."""
    texts = [path.read_text("utf8", errors="replace") for path in folder.rglob("*") if path.is_file()]
    return "\n".join([*texts, *(BeautifulSoup(path.read_text("utf8"), "html.parser").get_text() for path in folder.rglob("*.*html"))])


def held(text: str, words: list[str]) -> list[str]:
    return [word for word in words if word in text]


def test_a_page_shows_statement_stub_and_check(site):
    text = article(site).get_text()
    assert held(text, PUBLIC[:-1]) == PUBLIC[:-1]
    places = [text.index(words) for words in ("plain view", "def double(x):", "YOUR CODE HERE", 'check("toy-double")', "After the exercise")]
    assert places == sorted(places)


def test_stub_and_check_show_no_output(site):
    stub, check = (cell for cell in article(site).select(".cell") if "double" in cell.get_text())
    assert not stub.select(".cell_output") and not check.select(".cell_output")
    assert not article(site).select(".solution")


def test_no_file_of_the_site_or_beside_it_holds_anything_of_a_solution(site, unprotected):
    text = everywhere(site.parent)  # with what myst-nb and Sphinx keep beside the pages
    assert held(text, PUBLIC) == PUBLIC and held(text, SECRETS) == []
    assert held(everywhere(unprotected), SECRETS) == SECRETS


def pictures(source) -> tuple[str, str]:
    """Names of the files that myst-nb makes of the notebook's pictures, the public one and the solution's."""
    executed = notebooks.executed(source / "chapters" / "one.ipynb", source.parent / "cache")
    drawn = [base64.b64decode(o.data["image/png"]) for cell in executed.cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    shown, secret = (f"{hashlib.sha256(raw).hexdigest()}.png" for raw in drawn)
    return shown, secret


def test_pictures_of_solutions_are_nowhere(site, source, unprotected):
    shown, secret = pictures(source)
    assert {path.name for path in site.parent.rglob("*.png")} >= {shown}
    assert not list(site.parent.rglob(secret)) and list(unprotected.rglob(secret))


def test_the_search_index_knows_the_words_of_statements_only(site, unprotected):
    terms, all_ = (set(json.loads(re.search(r"{.*}", (folder / "searchindex.js").read_text())[0])["terms"]) for folder in (site, unprotected))
    assert "statement" in terms and "zymurgist" in all_ - terms


def test_outputs_come_from_the_cache(site, source):
    """The cache knows a notebook by its code, so the code is what it was when outputs are looked up."""
    printed = notebooks.executed(source / "chapters" / "one.ipynb", source.parent / "cache").cells[1].outputs[0].text.strip()
    assert printed.startswith("public output 40 ") and printed in article(site).get_text()


def test_the_button_downloads_a_notebook_with_stubs_that_runs(site, source, tmp_path):
    page = BeautifulSoup((site / "chapters" / "one.html").read_text("utf8"), "html.parser")
    [address] = [link["href"] for link in page.select("a[href$='.ipynb']")]
    path = (site / "chapters" / address).resolve()
    copy = nbformat.read(path, 4)
    nbformat.validate(copy)
    assert path.name == "one.ipynb" and any("YOUR CODE HERE" in cell.source for cell in copy.cells)
    nbformat.write(copy, tmp_path / "copy.ipynb")
    assert notebooks.fill([tmp_path / "copy.ipynb"], tmp_path / "cache") == {}
    assert (site / "_sources" / "index.md").read_text() == (source / "index.md").read_text()


def test_an_epub_is_cut_too(source, tmp_path):
    pages = build(source, tmp_path, "epub", epub_copyright="x", epub_show_urls="no", suppress_warnings=["epub.unknown_project_files"])
    text = everywhere(tmp_path)
    assert held(text, PUBLIC) == PUBLIC and held(text, SECRETS) == []
    assert not list(tmp_path.rglob(pictures(source)[1])) and not (pages / "_sources").exists()


def test_binder_opens_the_learners_copy(source, tmp_path, monkeypatch):
    on = {"repository": "https://github.com/owner/name", "binder": True}
    monkeypatch.setattr(launch, "settings", lambda: launch.OFF | on)
    page = (build(source, tmp_path, extensions=("launch", "without_solutions")) / "chapters" / "one.html").read_text("utf8")
    assert "https://mybinder.org/v2/gh/owner/name/main?urlpath=lab/tree/lab/one.ipynb" in page and "lab/tree/chapters" not in page


def test_a_solution_that_cannot_be_told_from_the_text_stops_the_build(source, tmp_path):
    broken = tmp_path / "source"
    (broken / "chapters").mkdir(parents=True)
    (broken / "index.md").write_text((source / "index.md").read_text())
    wrong = notebook()
    wrong.cells[5].source = "def double(x):\n    return x + x + 0"
    nbformat.write(wrong, broken / "chapters" / "one.ipynb")
    with pytest.raises(ExtensionError, match="chapters/one: the solution cell toy-double does not say where its solution begins"):
        build(broken, tmp_path / "out", nb_execution_mode="off")
    assert not list((tmp_path / "out").rglob("one.*"))
