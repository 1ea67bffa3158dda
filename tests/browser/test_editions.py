"""EPUB and PDF of a book of two pages: what a reader without a browser gets."""

import base64
import re
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from posixpath import normpath
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import nbformat
import pytest
from bs4 import BeautifulSoup

import editions
from ext import launch

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
ADDRESS = "https://owner.github.io/name"
XHTML = "{http://www.w3.org/1999/xhtml}"
INTRO = """# A small book

See {ref}`the equation's section <there>`, [its summary](../chapters/one.ipynb#summary) and {eq}`eq-one`.

## Summary

Before $x_t$, an answer:

```{admonition} Answer
:class: dropdown
Forty-two.
```
"""
PART = r"""# A notebook

(there)=
## Where it is

$$
a &= b_t \\
c &= \sqrt{d < e}
$$ (eq-one)

\begin{align*} p &= \frac{1}{2} \end{align*}

```{exercise-start} Add
:label: ex-one
```
How much is 1 + 1?
```{exercise-end}
```

```{solution-start} ex-one
:class: dropdown
```
Two, of course.
```{solution-end}
```

```{exercise-start} Add more
:label: ex-two
```
How much is 1 + 2?
```{exercise-end}
```

## Summary

Links to [the front](../book/intro.md).
"""


def aside(function, *arguments):
    """The function's result, from a thread of its own: Playwright allows one browser a thread, and other tests keep one open."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


def notebook() -> nbformat.NotebookNode:
    state = {"alt": "What the slider moves."}
    model = {"m" * 32: {"model_name": "AnyModel", "model_module": "anywidget", "model_module_version": "0", "state": state}}
    view = {"version_major": 2, "version_minor": 0, "model_id": "m" * 32}
    data = {"text/plain": "Explorer('x')", "image/png": PNG, editions.WIDGET: view}
    moving = nbformat.v4.new_code_cell("explorer()", outputs=[nbformat.v4.new_output("display_data", data)])
    folded = nbformat.v4.new_code_cell(f"folded = '{'long ' * 60}'", metadata={"tags": ["hide-input"]})
    widgets = {"application/vnd.jupyter.widget-state+json": {"version_major": 2, "version_minor": 0, "state": model}}
    metadata = {"widgets": widgets, "language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(PART), moving, folded], metadata=metadata)


@pytest.fixture(scope="module")
def edition(tmp_path_factory):
    """Folder of the unpacked EPUB of a small book, which has the settings of ours but runs nothing."""
    source = tmp_path_factory.mktemp("book")
    (source / "book").mkdir()
    (source / "chapters").mkdir()
    (source / "book" / "intro.md").write_text(INTRO)
    (source / "book" / "references.bib").write_text("")
    nbformat.write(notebook(), source / "chapters" / "one.ipynb")
    (source / "_toc.yml").write_text("format: jb-book\nroot: book/intro\nparts:\n  - chapters:\n      - file: chapters/one\n")
    ours = (editions.ROOT / "_config.yml").read_text()
    config = ours.replace("execute_notebooks: cache", "execute_notebooks: 'off'").replace("favicon: book/assets/favicon.svg", "favicon: ''")
    (source / "_config.yml").write_text(config.replace("book/ext", str(editions.ROOT / "book/ext")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "settings", lambda: launch.OFF | {"address": ADDRESS})
        yield aside(editions.build_epub, source).parent


def pages(edition: Path) -> dict[str, ElementTree.Element]:
    """The pages that a reader of the EPUB gets, by name. They must be XML."""
    with zipfile.ZipFile(edition / "book.epub") as archive:
        return {name: ElementTree.fromstring(archive.read(name)) for name in archive.namelist() if name.endswith(".xhtml")}


def test_the_epub_lists_all_that_it_holds(edition):
    with zipfile.ZipFile(edition / "book.epub") as archive:
        names, package = archive.namelist(), ElementTree.fromstring(archive.read("content.opf"))
        first = archive.infolist()[0]
        assert (first.filename, first.compress_type, archive.read(first)) == ("mimetype", zipfile.ZIP_STORED, b"application/epub+zip")
        table = ElementTree.fromstring(archive.read("toc.ncx"))
    items = {item.get("id"): item for item in package.iterfind(".//{*}item")}
    assert set(names) == {"mimetype", "META-INF/container.xml", "content.opf", *(item.get("href") for item in items.values())}
    read = [items[ref.get("idref")].get("href") for ref in package.iterfind(".//{*}itemref")]
    assert read[:2] == ["book/intro.xhtml", "chapters/one.xhtml"]
    assert {*read, "nav.xhtml"} == {name for name in names if name.endswith(".xhtml")}
    assert {name for name in names if name.startswith(("_static", "_images")) and not name.endswith(".png")} == {
        "_static/editions.css", "_static/pygments.css"}  # and no style sheet that no page uses
    formulas = {name for name, page in pages(edition).items() if page.find(f".//{{{editions.MATHML}}}math") is not None}
    assert {item.get("href") for item in items.values() if item.get("properties") == "mathml"} == formulas == set(read)
    [uid] = [meta.get("content") for meta in table.iterfind(".//{*}meta") if meta.get("name") == "dtb:uid"]
    assert package.findtext(f".//{{{editions.DC}}}identifier") == uid


def test_the_epub_needs_no_host_and_no_script(edition):
    held = set(zipfile.ZipFile(edition / "book.epub").namelist())
    for name, page in pages(edition).items():
        assert not list(page.iter(f"{XHTML}script")) and not list(page.iter(f"{XHTML}iframe"))
        for tag in page.iter():
            for address in filter(None, (tag.get("src"), tag.get("href") if tag.tag == f"{XHTML}link" else None)):
                assert normpath(Path(name).parent / address.split("?")[0]) in held, address


def test_links_and_ids_of_the_epub_are_whole(edition):
    found = pages(edition)
    ids = {name: [tag.get("id") for tag in page.iter() if tag.get("id")] for name, page in found.items()}
    followed = 0
    for name, page in found.items():
        assert len(ids[name]) == len(set(ids[name])), name
        for link in page.iter(f"{XHTML}a"):
            parts = urlsplit(link.get("href", ""))
            if not parts.scheme:
                target = normpath(Path(name).parent / unquote(parts.path)) if parts.path else name
                assert target in found and (not parts.fragment or parts.fragment in ids[target]), link.get("href")
                followed += 1
    assert followed > 5


def test_nothing_is_folded_and_an_explorer_is_its_still_picture(edition):
    page = pages(edition)["chapters/one.xhtml"]
    text = " ".join("".join(page.itertext()).split())
    assert "How much is 1 + 1?" in text and "Two, of course." not in text  # the solution of an exercise
    assert "folded = " in text and "Forty-two." in "".join(pages(edition)["book/intro.xhtml"].itertext())
    assert not list(page.iter(f"{XHTML}details"))
    [image] = page.iter(f"{XHTML}img")
    assert image.get("alt") == "What the slider moves."
    assert (edition / "chapters" / image.get("src")).read_bytes() == base64.b64decode(PNG)
    assert "On this book's web page, sliders change this figure." in text.replace("\u2019", "'")
    assert "Explorer('x')" not in text
    assert f"{ADDRESS}/chapters/one.html" in [link.get("href") for link in page.iter(f"{XHTML}a")]


def test_formulas_are_mathml_with_their_numbers(edition):
    page = pages(edition)["chapters/one.xhtml"]
    block, unnumbered = page.findall(f".//{{{editions.MATHML}}}math[@display='block']")
    assert block.get("alttext") == r"\begin{split} a &= b_t \\ c &= \sqrt{d < e} \end{split}"
    assert len(block.findall(".//{*}mtr")) == 2 and len(unnumbered.findall(".//{*}mfrac")) == 1
    assert [tag.text for tag in page.iter(f"{XHTML}span") if tag.get("class") == "eqno"] == ["(1)"]
    [inline] = pages(edition)["book/intro.xhtml"].iter(f"{{{editions.MATHML}}}math")
    assert inline.find("{*}msub") is not None and inline.get("display") is None


def test_a_formula_that_mathjax_cannot_read_is_named():
    def read() -> None:
        mathml = editions.MathML()
        try:
            mathml(r"\frac{1}", False)
        finally:
            mathml.close()

    with pytest.raises(ValueError, match=r"could not read '\\\\frac\{1\}': Missing argument"):
        aside(read)


def test_links_in_the_joined_page_lead_to_their_place(edition):
    page = BeautifulSoup(editions.join(edition), "html.parser")
    ids = [tag["id"] for tag in page.find_all(id=True)]
    assert len(ids) == len(set(ids))
    inner = [link["href"][1:] for link in page.select("a[href^='#']")]
    assert {"book-intro", "chapters-one", "chapters-one--summary", "chapters-one--there"} <= set(inner) <= set(ids)
    assert [link["href"] for link in page.select("a[href]") if not link["href"].startswith("#")] == [f"{ADDRESS}/chapters/one.html"]
    assert [section["id"] for section in page.select("section.page")] == ["nav", "book-intro", "chapters-one"]
    assert page.select_one(".cover h1").text == "Diffusion Models, Step by Step"


def test_the_pdf_has_its_pages_links_and_outline(edition, tmp_path):
    content = aside(editions.print_pdf, edition, tmp_path / "new" / "book.pdf").read_bytes()
    assert len(re.findall(rb"/Type\s*/Page\b", content)) >= 4  # cover, contents, two pages
    assert len(re.findall(rb"/Subtype\s*/Link\b", content)) > 6
    assert b"/Outlines" in content and b"MathJax" in content, "no outline, or formulas were printed before MathJax had set them"


def test_what_the_pdf_lacks_is_an_error(edition, tmp_path):
    text = (edition / "chapters" / "one.xhtml").read_text()
    try:
        (edition / "chapters" / "one.xhtml").write_text(text.replace(".png", ".gone.png"))
        with pytest.raises(RuntimeError, match=r"the PDF lacks \['_images/.*gone.png'\]"):
            aside(editions.print_pdf, edition, tmp_path / "book.pdf")
    finally:
        (edition / "chapters" / "one.xhtml").write_text(text)
