"""MyST, the Markdown that the book is written in, for places that know no MyST: slides, problem sets, feedback.

    plain(text, here)     ordinary Markdown: roles as words, admonitions as quotes; formulas stay LaTeX
    html(markdown)        HTML of ordinary Markdown, with formulas as MathML; needs no network, and passes no HTML of the text on
    inline(markdown)      the same for a title or a sentence, without a paragraph around it
    highlight(code)       HTML of code
    style()               the CSS that these need, with a font for formulas

`here` is the notebook that the text stands in. Its equations are then numbered as on its page; without it, "(eq. 125 of 5.3)" says
where an equation is.
"""

import html as escape
import re
from dataclasses import dataclass
from functools import cache
from itertools import count, takewhile
from pathlib import Path

import nbformat
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import highlight as pygments_highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from . import mathml
from .exercises import CHAPTERS, ROOT

FENCE = re.compile(r"^(\s*)(`{3,}|:{3,})(?:\{([\w:-]+)\})?[ \t]*(.*)$")
OPTION = re.compile(r"^\s*:[\w-]+:")
TARGET = re.compile(r"^\([\w-]+\)=\s*$", re.M)
ROLE = re.compile(r"\{(eq|term|cite|cite:t|cite:p|ref|prf:ref)\}`([^`]+)`")
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)[^)\s]*\)")
LABELLED = re.compile(r"(\$\$)(.*?)(\$\$)[ \t]*\((eq-[\w-]+)\)", re.S)
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.S)
NAMES = {"admonition": "", "prf:proposition": "Proposition", "prf:proof": "Proof", "exercise-start": "Exercise"}
MARKS = ("exercise-end", "solution-start", "solution-end")     # they have no text of their own


@dataclass(frozen=True)
class Label:
    """What a name in the book stands for: an equation with its number on the page, an exercise or a proposition with its title."""

    kind: str
    words: str
    path: Path

    @property
    def section(self) -> str:
        return section(self.path)


def section(path: Path) -> str:
    """A notebook's number in the book: 5.3 of 05_practice/03_guidance_pytorch.ipynb."""
    return f"{int(path.parent.name[:2])}.{int(path.name[:2])}"


@cache
def labels(chapters: Path = CHAPTERS) -> dict[str, Label]:
    """Everything in the chapters that can be referred to, by name. Equations are numbered through the book, as on its pages."""
    found, numbers = {}, count(1)
    for path in sorted(chapters.glob("*/*.ipynb")):
        text = "\n\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
        for match in LABELLED.finditer(text):
            found[match[4]] = Label("equation", str(next(numbers)), path)
        for kind, title, name in re.findall(r"^`{3,}\{(exercise-start|prf:proposition)\}[ \t]*(.*)\n:label: (\S+)", text, re.M):
            found[name] = Label({"exercise-start": "exercise"}.get(kind, "proposition"), title, path)
    return found


def plain(text: str, here: Path | None = None, beside: bool = False) -> str:
    """MyST as ordinary Markdown. `beside`: for a copy that has the book's other files beside it, in JupyterLab: links to them stay, and what a
    page folds is folded. ValueError names a reference or a citation that the book does not have.
    """
    return re.sub(r"\n{3,}", "\n\n", "\n".join(_blocks(TARGET.sub("", text).split("\n"), here, beside))).strip()


def _blocks(lines: list[str], here: Path | None, beside: bool) -> list[str]:
    """Lines with their directives unwrapped, and roles resolved outside code."""
    out: list[str] = []
    prose: list[str] = []
    i = 0

    def flush() -> None:
        out.extend(_roles("\n".join(prose), here, beside).split("\n") if prose else [])
        prose.clear()

    while i < len(lines):
        fence = FENCE.match(lines[i])
        if fence is None:
            prose.append(lines[i])
            i += 1
            continue
        flush()
        end = next((j for j in range(i + 1, len(lines)) if _closes(fence[2], lines[j])), len(lines))
        body, name, title = lines[i + 1 : end], fence[3], fence[4]
        if name is None:
            out.extend(lines[i : end + 1])
        else:
            options = list(takewhile(OPTION.match, body))
            folded = beside and any("dropdown" in option for option in options)
            out.extend(_directive(name, title, body[len(options) :], here, beside, folded))
        i = end + 1
    flush()
    return out


def _closes(fence: str, line: str) -> bool:
    line = line.strip()
    return len(line) >= len(fence) and set(line) == {fence[0]}


def _directive(name: str, title: str, body: list[str], here: Path | None, beside: bool, folded: bool) -> list[str]:
    if name in MARKS:
        return []
    word = NAMES.get(name, name.capitalize())
    title = _roles(title, here, beside)
    head = title if not word else f"{word}: {title}" if title else word
    if name == "exercise-start":
        return [f"**{head}**", ""]
    content = _blocks(body, here, beside)
    content = "\n".join(content).strip("\n").split("\n")
    if folded:
        return ["", "<details>", f"<summary>{escape.escape(head)}</summary>", "", *content, "", "</details>", ""]
    return ["", *(f"> {line}".rstrip() for line in [f"**{head}**", "", *content]), ""]


def _roles(text: str, here: Path | None, beside: bool) -> str:
    def number(match: re.Match) -> str:
        known = labels()[match[4]] if match[4] in labels() else None
        mark = f" \\tag{{{known.words}}}" if known and here and known.path.resolve() == here.resolve() else ""
        return f"$${match[2].rstrip()}{mark}\n$$" if match[2].endswith("\n") else f"$${match[2]}{mark}$$"

    def role(match: re.Match) -> str:
        kind, content = match.groups()
        if kind == "term":
            return re.sub(r"\s*<[^>]*>$", "", content)
        if kind.startswith("cite"):
            return cited(content.split(","), textual=kind == "cite:t")
        return _reference(content, here, match.string[: match.start()])

    text = LABELLED.sub(number, text)
    text = ROLE.sub(role, text)
    return text if beside else _outside_code(text, lambda part: LINK.sub(r"\1", part))


def _outside_code(text: str, change) -> str:
    parts, start = [], 0
    for code in CODE.finditer(text):
        parts += [change(text[start : code.start()]), code[0]]
        start = code.end()
    return "".join([*parts, change(text[start:])])


def _reference(name: str, here: Path | None, before: str) -> str:
    if name not in labels():
        raise ValueError(f"the book has no label {name!r}")
    label = labels()[name]
    at_home = here is not None and label.path.resolve() == here.resolve()
    if label.kind == "equation":
        word = "" if at_home or re.search(r"[Ee]quations?\s$", before) else "eq. "
        return f"({word}{label.words})" if at_home else f"({word}{label.words} of {label.section})"
    the = "The" if re.search(r"(^|[.!?]\s|\n\n)$", before) else "the"
    return f"{the} {label.kind} “{label.words}”" + ("" if at_home else f" of {label.section}")


@cache
def _authors() -> dict[str, tuple[str, str]]:
    """Authors and year of every entry of the bibliography, as a text names them."""
    from pybtex.database import parse_file
    from pybtex.richtext import Text

    found = {}
    for key, entry in parse_file(ROOT / "book" / "references.bib").entries.items():
        people = entry.persons.get("author") or entry.persons["editor"]
        last = [str(Text.from_latex(" ".join(person.prelast_names + person.last_names))) for person in people]
        names = last[0] if len(last) == 1 else f"{last[0]} and {last[1]}" if len(last) == 2 and last[1] != "others" else f"{last[0]} et al."
        found[key] = names, entry.fields["year"]
    return found


def cited(keys: list[str], textual: bool = True) -> str:
    """Works as a text names them: Ho et al. (2020), or (Ho et al., 2020). ValueError names one that the bibliography lacks."""
    missing = [key for key in keys if key.strip() not in _authors()]
    if missing:
        raise ValueError(f"the bibliography has no {', '.join(missing)}")
    works = [_authors()[key.strip()] for key in keys]
    if textual:
        return " and ".join(f"{names} ({year})" for names, year in works)
    return "(" + "; ".join(f"{names}, {year}" for names, year in works) + ")"


def style() -> str:
    """CSS for formulas and code."""
    return mathml.style() + HtmlFormatter(style="a11y-high-contrast-light").get_style_defs(".code")


def highlight(code: str, language: str = "python") -> str:
    """Code as <pre>, its parts marked for `style`; without marks where the language is not known."""
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return f'<pre class="code"><code>{escape.escape(code)}</code></pre>'
    return f'<pre class="code"><code>{pygments_highlight(code, lexer, HtmlFormatter(nowrap=True)).rstrip()}</code></pre>'


def _formula(latex: str, options: dict) -> str:
    """A formula as MathML, a numbered one with its number. What is no formula stays as it was written."""
    display = options["display_mode"]
    try:
        converted = mathml.convert(latex, display)
    except ValueError:
        return f"<code>{escape.escape(latex)}</code>"
    if not display:
        return converted
    number = mathml.tag(latex)
    return f'<div class="formula">{converted}{f"<span>({number})</span>" if number else ""}</div>'


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").use(dollarmath_plugin, renderer=_formula)
    parser.options["highlight"] = None
    parser.add_render_rule("fence", lambda self, tokens, i, options, env: highlight(tokens[i].content.rstrip("\n"), tokens[i].info.strip() or "text"))
    return parser


def html(markdown: str) -> str:
    """Ordinary Markdown as HTML. HTML in the text is shown as text; a formula that cannot be read is shown as code."""
    return _parser().render(markdown)


def inline(markdown: str) -> str:
    """One line of Markdown as HTML, without a paragraph around it."""
    return _parser().renderInline(markdown)
