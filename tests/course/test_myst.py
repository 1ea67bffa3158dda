"""MyST as Markdown and as HTML: every text of the chapters, and each thing that it is written with."""

import re
from xml.etree import ElementTree

import nbformat
import pytest

from course import mathml, myst
from course.exercises import CHAPTERS, ROOT

HERE = CHAPTERS / "05_practice" / "03_guidance_pytorch.ipynb"
OTHER = CHAPTERS / "05_practice" / "01_ddpm_pytorch.ipynb"
NOTEBOOKS = pytest.mark.parametrize("path", sorted(CHAPTERS.glob("*/*.ipynb")), ids=lambda path: path.stem)
MATHML = "{http://www.w3.org/1998/Math/MathML}"


def texts(path):
    return [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown"]


def without_code_and_formulas(markdown):
    return re.sub(r"^```.*?^```|\$\$.*?\$\$|(?<!\\)\$[^$]+\$|`[^`\n]+`", "", markdown, flags=re.S | re.M)


def tags(latex, display=False):
    """The formula's elements as (tag, text), in order."""
    return [(e.tag.removeprefix(MATHML), e.text or "") for e in ElementTree.fromstring(mathml.convert(latex, display)).iter()]


@NOTEBOOKS
@pytest.mark.parametrize("here", [True, False], ids=["in its section", "elsewhere"])
def test_nothing_of_myst_is_left_in_any_chapter(path, here):
    for text in texts(path):
        left = without_code_and_formulas(myst.plain(text, path if here else None))
        assert not re.search(r"\{[a-z:-]+\}|:::|\.ipynb|^\([\w-]+\)=|^\s*(>\s*)?:\w+:", left, re.M), left


@NOTEBOOKS
def test_every_formula_of_every_chapter_can_be_typeset(path):
    text = myst.plain("\n\n".join(texts(path)), path)
    formulas = [(token, child) for token in myst._parser().parse(text) for child in (token, *(token.children or ())) if "math" in child.type]
    assert len(formulas) > 50
    for _, formula in formulas:
        mathml.convert(formula.content, formula.type == "math_block")
    assert myst.html(text).count("<math ") == len(formulas)


@pytest.mark.parametrize("text, becomes", [
    ("a {term}`score` and {term}`kernels <transition kernel>`", "a score and kernels"),
    ("{cite:t}`ho2020ddpm` show", "Ho et al. (2020) show"),
    ("{cite:t}`ho2022cfg` show", "Ho and Salimans (2022) show"),
    ("found {cite}`anderson1982reverse,oord2016pixelrnn`", "found (Anderson, 1982; van den Oord et al., 2016)"),
    ("see [3.3](../03_algorithms/03_guidance.ipynb), [issue 1](https://example.org/1)", "see 3.3, [issue 1](https://example.org/1)"),
    ("`x[i](y)` stays", "`x[i](y)` stays"),
    ("(belief-x)=\n## Title", "## Title"),
    ("see {prf:ref}`prop-ddim-marginal`", "see the proposition “Same marginals” of 3.2"),
])
def test_roles_become_words(text, becomes):
    assert myst.plain(text, HERE) == becomes


def test_an_equation_has_the_number_of_its_page_and_elsewhere_says_where_it_is():
    text = "It falls {eq}`eq-practice-cfg-window`. By equation {eq}`eq-practice-cfg-rows`, yes."
    numbers = [myst.labels()[f"eq-practice-cfg-{name}"].words for name in ("window", "rows")]
    assert myst.plain(text, HERE) == f"It falls ({numbers[0]}). By equation ({numbers[1]}), yes."
    assert myst.plain(text, OTHER) == myst.plain(text) == f"It falls (eq. {numbers[0]} of 5.3). By equation ({numbers[1]} of 5.3), yes."
    display = "$$\nx = 1\n$$ (eq-practice-cfg-window)"
    assert myst.plain(display, HERE) == f"$$\nx = 1 \\tag{{{numbers[0]}}}\n$$"
    assert myst.plain(display) == "$$\nx = 1\n$$"
    assert f"<span>({numbers[0]})</span>" in myst.html(myst.plain(display, HERE)) and "tag" not in myst.html(myst.plain(display, HERE))


@pytest.mark.parametrize("text", ["{eq}`eq-no-such`", "{cite:t}`nobody1900`", "{ref}`ex-no-such`"])
def test_what_the_book_does_not_have_is_named(text):
    with pytest.raises(ValueError, match=re.search("`(.*)`", text)[1]):
        myst.plain(text)


def test_numbers_of_equations_are_those_of_the_built_pages():
    pages = sorted((ROOT / "_build" / "html" / "chapters").glob("*/[0-9]*.html"))
    if not pages:
        pytest.skip("needs the built book")
    found = dict(pair for page in pages for pair in re.findall(r'id="equation-(eq-[\w-]+)".*?<span class="eqno">\((\d+)\)', page.read_text("utf8"), re.S))
    assert found == {name: label.words for name, label in myst.labels().items() if label.kind == "equation"} and len(found) > 100


@pytest.mark.parametrize("open_, close", [("```{admonition}", "```"), (":::{admonition}", ":::"), ("````{admonition}", "````")])
def test_an_admonition_becomes_a_quote_with_its_title(open_, close):
    text = f"Before.\n\n{open_} A {{term}}`score`\n:class: tip\n:name: x\n\nBody with {{cite:t}}`ho2020ddpm`.\n\n$$\nx\n$$\n{close}\n\nAfter."
    assert myst.plain(text) == "Before.\n\n> **A score**\n>\n> Body with Ho et al. (2020).\n>\n> $$\n> x\n> $$\n\nAfter."
    quote = re.search("<blockquote>.*</blockquote>", myst.html(myst.plain(text)), re.S)[0]
    assert "<strong>A score</strong>" in quote and "<math " in quote


def test_a_directive_within_another_is_a_quote_within_a_quote():
    text = "````{warning}\nOne.\n```{admonition} Two\nThree.\n```\n````"
    assert myst.plain(text) == "> **Warning**\n>\n> One.\n>\n> > **Two**\n> >\n> > Three."


def test_marks_of_exercises_go_and_code_stays_as_it_is():
    text = "```{exercise-start} The bill\n:label: ex-x\n```\n\nText\n\n```python\nx = '{term}`a`'\n```\n\n```{exercise-end}\n```"
    assert myst.plain(text) == "**Exercise: The bill**\n\nText\n\n```python\nx = '{term}`a`'\n```"


def test_html_of_the_text_is_shown_and_not_passed_on():
    page = myst.html('<script>alert(1)</script>\n\na <img src=x onerror="y"> [x](javascript:alert(1)) $<b>$ `<i>`\n\n```html\n<u>\n```')
    assert not re.search(r"<(script|img|b|i|u)\b|href=.javascript", page), page


def test_what_is_no_formula_is_shown_as_it_was_written():
    with pytest.raises(ValueError, match="nosuchmacro"):
        mathml.convert(r"\nosuchmacro x")
    assert "<code>\\nosuchmacro x</code>" in myst.html(r"A $\nosuchmacro x$.")


@pytest.mark.parametrize("latex, holds", [
    (r"\mathbb E", ("mi", "𝔼")), (r"\mathcal N", ("mi", "𝒩")), (r"\mathcal L", ("mi", "ℒ")), (r"\infty", ("mi", "∞")),
    (r"\Big\| x \Big\|", ("mo", "‖")), (r"x \sim p", ("mo", "∼")), (r"\arg \min_x f", ("mi", "arg")), (r"\operatorname{std}(x)", ("mi", "std")),
])
def test_signs_that_the_converter_misses_or_that_browsers_do(latex, holds):
    assert holds in tags(latex)


def test_what_stands_below_a_name_does_so_in_displays_only():
    assert ("munder", "") in tags(r"\min_x f", display=True) and ("msub", "") in tags(r"\min_x f")
    assert ("msub", "") in tags(r"\log_2 f", display=True)


def test_there_is_a_space_between_a_name_and_what_follows_except_before_a_bracket():
    kinds = lambda latex: [kind for kind, _ in tags(latex)][2:]
    assert kinds(r"a \log p") == ["mi", "mspace", "mi", "mspace", "mi"]
    assert kinds(r"\log(p)") == ["mi", "mo", "mi", "mo"]


def test_a_sign_belongs_to_what_follows_it_where_nothing_precedes_it():
    form = lambda latex: next(e.get("form") for e in ElementTree.fromstring(mathml.convert(latex)).iter() if e.text == "−")
    assert [form(latex) for latex in ("-x", "a = -x", "(-x)", r"a =\; -x")] == ["prefix"] * 4
    assert [form(latex) for latex in ("a - x", "(a) - x", r"\|a\| - x")] == [None] * 3


def test_a_bracket_keeps_the_size_it_is_given_when_it_has_an_index():
    root = ElementTree.fromstring(mathml.convert(r"\Big( \frac{a}{b} \Big)^2"))
    power = root.find(f".//{MATHML}msup")
    assert power[0].tag == f"{MATHML}mrow" and power[0][0].get("minsize")


def test_the_style_brings_its_font_and_asks_no_host():
    assert "data:font/woff;base64," in myst.style() and "http" not in myst.style() and ".code" in myst.style()
