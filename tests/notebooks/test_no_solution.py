"""After the build: no file of the site, no copy for a learner, holds anything of what exercises hide.

What is looked for is every line of the solutions' code, every sentence and formula of explanations, and every line that checks and demonstrations
print, as far as it has some length and stands nowhere in the book's public text. Both sides are compared in one bare form, without blanks, quotes,
brackets and marks of emphasis, since a page sets these in its own way.
"""

import base64
import hashlib
import html
import json
import re
import symtable
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish
from sphinx.util.docutils import docutils_namespace, patch_docutils

import notebooks
import publish
from course import exercises, lab

SITE = notebooks.ROOT / "_build" / "html"
SHORTEST = {"code": 12, "sentence": 20, "formula": 12, "output": 12}  # characters, in bare form
WINDOW = 12
# Typographer's quotes, dashes and dots, which pages set.
IN_PAGES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2026": "..."})
DROPPED = b" \t\r\n\"'\\$`*_()"
# Where a sentence is cut: at its end, and at all that a page shows in another form than the source has it.
CUTS = re.compile(r"\{[\w:.-]+\}`[^`]*`|!?\[|\]\([^)]*\)|`|\||(?<=[.:;?!])\s|\n\s*\n|"             # roles, links, sentences, paragraphs
                  r"\n\s*(?=[-*:#>]|\d+\.)|^\s*(?:[-*#>]+|\d+\.)\s|^:+\{.*$|^:[\w-]+:.*$", re.M)  # items, titles, directives
FORMULA = re.compile(r"\$\$(.*?)\$\$(?:\s*\([\w-]+\))?|\$([^$\n]+)\$", re.S)
FENCE = re.compile(r"^(`{3,}).*?^\1\s*$", re.S | re.M)


def bare(text: str) -> bytes:
    return text.translate(IN_PAGES).encode("utf8", "ignore").translate(None, DROPPED).replace(b"--", b"-")


class Secrets:
    """What is looked for: bare form -> (kind, words for a message)."""

    def __init__(self, found: Iterator[tuple[str, str]]):
        self.known: dict[bytes, tuple[str, str]] = {}
        for kind, text in found:
            if len(form := bare(text)) >= SHORTEST[kind]:
                self.known.setdefault(form, (kind, " ".join(text.split())))
        self._prefixes: dict[bytes, list[bytes]] = defaultdict(list)
        for form in self.known:
            self._prefixes[form[:WINDOW]].append(form)
        self._marks = np.unique(hashes(b"".join(self._prefixes))[::WINDOW])
        self._filter = np.zeros(1 << 20, bool)
        self._filter[self._marks >> np.uint64(44)] = True

    def in_bytes(self, form: bytes) -> set[bytes]:
        """Those that a bare text holds: places whose next WINDOW bytes begin one, then each compared whole."""
        marks = hashes(form)
        places = np.flatnonzero(self._filter[marks >> np.uint64(44)])
        places = places[np.isin(marks[places], self._marks)]
        return {one for place in places.tolist() for one in self._prefixes.get(form[place : place + WINDOW], ()) if form.startswith(one, place)}

    def in_text(self, text: str) -> set[bytes]:
        return set().union(*(self.in_bytes(bare(view)) for view in views(text)))

    def without(self, forms: set[bytes]) -> "Secrets":
        return Secrets(value for form, value in self.known.items() if form not in forms)

    def counts(self) -> dict[str, int]:
        return dict(Counter(kind for kind, _ in self.known.values()))

    def named(self, forms: set[bytes]) -> list[tuple[str, str]]:
        return sorted(self.known[form] for form in forms)


def hashes(form: bytes) -> np.ndarray:
    """A number for each WINDOW of bytes, by the place where it begins."""
    raw = np.frombuffer(form, np.uint8).astype(np.uint64)
    size = max(len(raw) - WINDOW + 1, 0)
    value = np.zeros(size, np.uint64)
    for i in range(WINDOW):
        value = value * np.uint64(0x9E3779B97F4A7C15) + raw[i : i + size]
    return value


def views(text: str) -> Iterator[str]:
    """A text as it stands, without the marks of HTML, and without the escapes of strings in scripts and in JSON."""
    yield text
    if text.lstrip()[:1] in ("{", "["):
        try:
            yield "".join(strings(json.loads(text)))
        except ValueError:
            pass  # a script that begins like JSON
    plain = html.unescape(text)
    if "<" in text:
        yield html.unescape(re.sub(r"<[^>]*>", "", text))
    if plain != text:
        yield plain
    if "\\" in plain:
        plain = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), plain)
        yield html.unescape(re.sub(r"<[^>]*>", "", re.sub(r"\\[nrt]", " ", plain)))


def strings(value) -> Iterator[str]:
    """The strings of decoded JSON, in order: a notebook keeps a text as a list of its lines."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)
        yield "\0"


def text_of(path: Path) -> str:
    """What a file says. Of Sphinx's inventory the packed part too; nothing else is unpacked."""
    raw = path.read_bytes()
    if path.name == "objects.inv":
        raw += b"\n" + zlib.decompress(raw.split(b"\n", 4)[4])
    return raw.decode("utf8", "ignore")


def printed(cell) -> Iterator[str]:
    for output in cell.get("outputs", []):
        yield from (output.get("text", ""), "\n".join(output.get("traceback", [])), output.get("data", {}).get("text/plain", ""))


def of_markdown(text: str) -> Iterator[tuple[str, str]]:
    for block in FENCE.finditer(text):
        yield from (("code", line) for line in block[0].splitlines()[1:-1])
    text = FENCE.sub("\n\n", text)
    yield from (("formula", found[1] or found[2]) for found in FORMULA.finditer(text))
    yield from (("sentence", part) for part in CUTS.split(FORMULA.sub("\n\n", text)))


def of_solutions(notebook) -> Iterator[tuple[str, str]]:
    """All that the notebook hides, as (kind, text)."""
    for piece in exercises.pieces(notebook):
        cell = piece.cell
        if cell.cell_type == "markdown":
            if piece.region == "solution":
                yield from of_markdown(piece.text)
        elif piece.region == "solution" or exercises.is_check(cell):
            if piece.region == "solution":
                yield from (("code", line) for line in cell.source.splitlines())
            yield from (("output", line) for text in printed(cell) for line in text.splitlines() if not line.startswith("<Figure size"))
        elif exercises.is_solution(cell):
            yield from (("code", line) for body in exercises.SOLUTION.finditer(cell.source) for line in body[0].splitlines()[1:-1])


def public() -> Iterator[str]:
    """The book's text for everybody."""
    for path in notebooks.notebooks():
        for cell in exercises.without_solutions(nbformat.read(path, 4)).cells:
            yield from (cell.source, json.dumps(cell.metadata), *printed(cell))
    for path in sorted([*notebooks.ROOT.glob("book/**/*.md"), *notebooks.ROOT.glob("chapters/*/*.md"), notebooks.ROOT / "book" / "references.bib"]):
        yield path.read_text("utf8")
    for path in sorted(notebooks.ROOT.glob("diffusion_core/explorers/web/**/*.js")):
        yield path.read_text("utf8")


@pytest.fixture(scope="module")
def secrets() -> Secrets:
    everything = Secrets(found for path in notebooks.notebooks() for found in of_solutions(nbformat.read(path, 4)))
    return everything.without({form for text in public() for form in everything.in_text(text)})


@pytest.fixture(scope="module")
def files() -> list[Path]:
    assert (SITE / "index.html").exists(), "the book is not built: run `make book`"
    return sorted(path for path in SITE.rglob("*") if path.is_file())


def test_no_file_of_the_site_holds_anything_of_a_solution(secrets, files, capsys):
    counts = secrets.counts()
    with capsys.disabled():
        print(f"\n{len(files)} files, searched for {', '.join(f'{counts[kind]} of {kind}' for kind in SHORTEST)}")
    assert set(counts) == set(SHORTEST) and min(counts.values()) > 50
    leaks = {path.relative_to(SITE).as_posix(): secrets.named(found) for path in files if (found := secrets.in_text(text_of(path)))}
    assert leaks == {}


def test_no_picture_of_a_solution_is_in_the_site(files, executed):
    """myst-nb names a picture by the checksum of what the cell drew. What a widget falls back on is no picture of the site."""
    names, shown, hidden = {path.stem for path in files}, set(), set()
    for path in notebooks.notebooks():
        for piece in exercises.pieces(executed(path)):
            for output in piece.cell.get("outputs", []):
                data = output.get("data", {})
                if (picture := data.get("image/png")) and (exercises.VIEW not in data or piece.region == "solution"):
                    secret = piece.region == "solution" or exercises.is_check(piece.cell)
                    (hidden if secret else shown).add(hashlib.sha256(base64.b64decode(picture)).hexdigest())
    assert len(shown) > 20 and shown <= names
    assert not (hidden - shown) & names


def stems(text: str) -> set[str]:
    english = SearchEnglish({})
    return {english.stem(word.lower()) for word in english.split(text)}


def test_the_search_index_knows_no_word_of_solutions_alone():
    index = json.loads(re.search(r"{.*}", (SITE / "searchindex.js").read_text("utf8"), re.S)[0])
    terms = {*index["terms"], *index["titleterms"]}
    known = set().union(*map(stems, public()))
    alone = set().union(*(stems(text) for path in notebooks.notebooks() for _, text in of_solutions(nbformat.read(path, 4)))) - known
    assert len(alone) > 50 and len(terms & known) > 2000
    assert terms & alone == set()


def test_no_copy_for_a_learner_holds_anything_of_a_solution(secrets, tmp_path):
    lab.write(lab=tmp_path)
    copies = {path.relative_to(tmp_path).as_posix(): path.read_text("utf8") for path in tmp_path.rglob("*") if path.is_file()}
    for path in notebooks.notebooks():
        copy = publish.with_install(nbformat.read(path, 4), "package", "https://github.com/owner/name", "0" * 40)
        copies[f"Colab: {path.name}"] = nbformat.writes(copy)
    assert len(copies) == 2 * len(notebooks.notebooks()) + 1
    assert {name: secrets.named(found) for name, text in copies.items() if (found := secrets.in_text(text))} == {}


def names(code: str) -> tuple[set[str], set[str]]:
    """Global names that a cell binds, and those that it uses."""
    code = re.sub(r"^[%!].*$", "", code, flags=re.M)
    tables, bound, used = [symtable.symtable(code, "cell", "exec")], set(), set()
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            if table.get_type() == "module" or symbol.is_global():
                bound |= {symbol.get_name()} if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace() else set()
                used |= {symbol.get_name()} if symbol.is_referenced() else set()
    return bound, used


def lacking(notebook) -> set[str]:
    """Names that cells for everybody use and that only answers and demonstrations bind."""
    bound, used, hidden = set(), set(), set()
    for piece in exercises.pieces(notebook):
        if piece.cell.cell_type == "code":
            binds, uses = names(piece.cell.source)
            if piece.region == "solution" or exercises.is_solution(piece.cell):
                hidden |= binds
            else:
                bound, used = bound | binds, used | uses
    return used & (hidden - bound)


@pytest.mark.parametrize("path", notebooks.notebooks(), ids=lambda path: path.stem)
def test_a_copy_without_answers_runs_on_below_an_exercise(path):
    assert lacking(nbformat.read(path, 4)) == set()


def test_a_cell_that_needs_an_answer_is_found():
    answer = nbformat.v4.new_code_cell("def add(a, b):\n    x = a + b\n    return x", metadata={"nbgrader": {"solution": True, "grade_id": "add"}})
    free, needs = (nbformat.v4.new_code_cell(code) for code in ("x = [a for a in 'b']", "def twice(a):\n    return add(a, a)"))
    assert lacking(nbformat.v4.new_notebook(cells=[answer, free])) == set()
    assert lacking(nbformat.v4.new_notebook(cells=[answer, free, needs])) == {"add"}


# The search itself


def test_the_chapters_hold_all_that_is_looked_for(secrets):
    found = set().union(*(secrets.in_text(path.read_text("utf8")) for path in notebooks.notebooks()))
    assert secrets.named(set(secrets.known) - found) == []


def test_a_page_that_is_not_cut_is_found_out(secrets, tmp_path):
    """A page of the book, built without the extension, with the outputs that it stores."""
    path = notebooks.notebooks()[0]
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "index.ipynb").write_bytes(path.read_bytes())
    settings = {
        "extensions": ["myst_nb", "sphinx_exercise"], "source_suffix": {".ipynb": "myst-nb"}, "nb_execution_mode": "off", "html_copy_source": False,
        "myst_enable_extensions": ["amsmath", "colon_fence", "deflist", "dollarmath", "html_image", "tasklist"],
    }
    with patch_docutils(), docutils_namespace():
        Sphinx(tmp_path / "source", None, tmp_path / "out", tmp_path / "doctrees", "html", settings, status=None, warning=None).build()
    its = Secrets(of_solutions(nbformat.read(path, 4)))
    its = its.without(set(its.known) - set(secrets.known))
    missed = Counter(kind for kind, _ in its.named(set(its.known) - its.in_text(text_of(tmp_path / "out" / "index.html"))))
    assert set(its.counts()) == set(SHORTEST)
    assert missed["code"] == missed["output"] == 0 and missed["sentence"] + missed["formula"] <= 0.1 * len(its.known), missed


CODE = "keep = math.exp(-kappa * dh)"
WORDS = "It isn't the Euler step -- that one fails \"already\" at the mean."
ONE = Secrets(iter([("code", CODE), ("sentence", WORDS), ("formula", r"e^{-\kappa h/2} < 1"), ("output", "two halves: 0.25 & 0.5")]))


@pytest.mark.parametrize("text, kinds", [
    (highlight(CODE, PythonLexer(), HtmlFormatter()), {"code"}),
    (json.dumps({"source": [f"x = 1\n\t{CODE}\n"]}), {"code"}),
    (f"const page = 'x = 1;\\n    {CODE}\\n';", {"code"}),
    ("<p>It isn\u2019t the <em>Euler step</em> \u2013 that one\nfails \u201calready\u201d at the mean.</p>", {"sentence"}),
    (r'<span class="math">\(e^{-\kappa h/2} &lt; 1\)</span>', {"formula"}),
    (r'<math alttext="e^{-\kappa h/2} &lt; 1">', {"formula"}),
    ("<pre>two halves: 0.25 &amp; 0.5</pre>", {"output"}),
    (json.dumps(f"<pre>{html.escape(CODE)}</pre>\u2028").replace("<", "\\u003c"), {"code"}),
    (WORDS + CODE, {"code", "sentence"}),
    (CODE.replace("-kappa", "kappa"), set()),
    (CODE[:-3], set()),
    ("<p>Public text.</p>", set()),
    ("", set()),
])
def test_what_is_planted_is_found(text, kinds):
    assert {kind for kind, _ in ONE.named(ONE.in_text(text))} == kinds


def test_a_label_in_the_inventory_is_found(tmp_path):
    (tmp_path / "objects.inv").write_bytes(b"# 1\n# 2\n# 3\n# 4\n" + zlib.compress(f"solution std:label -1 chapters/x.html {CODE}".encode()))
    assert ONE.in_text(text_of(tmp_path / "objects.inv")) and not ONE.in_text((tmp_path / "objects.inv").read_bytes().decode("utf8", "ignore"))


def test_sentences_are_cut_where_pages_differ():
    text = "First {eq}`eq-a`, then **bold** words. Next $x^2 + y^2 = z^2$ ends it; see [the link](a.md).\n\n- an item\n- `code` here\n\n"
    text += "```python\nprint('in a fence')\n```"
    found = defaultdict(list)
    for kind, part in of_markdown(text):
        if part.strip():
            found[kind].append(part.strip())
    assert found["code"] == ["print('in a fence')"] and found["formula"] == ["x^2 + y^2 = z^2"]
    assert found["sentence"] == ["First", ", then **bold** words.", "Next", "ends it;", "see", "the link", ".", "an item", "code", "here"]
