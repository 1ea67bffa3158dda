"""Lecture slides of the chapters' notebooks: a page each, which opens from a file and asks no host for anything.

    python -m course.slides [NOTEBOOK ..]     decks into _build/slides/, with an index; without a notebook, of all

Slides follow from structure. A heading begins one. On it are the first sentence of what follows, sentences with bold words, displayed
formulas, lists, tables and boxes; each figure and each cell of code is a slide with the words that introduce it. A quiz question is one,
and its answer the next. All prose is in the notes of its slide, and solutions of exercises are nowhere.
"""

import argparse
import html
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from . import exercises, myst
from .blocks import blocks, essence, kind, pages, sentences, weight

OUT = exercises.ROOT / "_build" / "slides"
ASSETS = Path(__file__).parent / "assets"
BOOK = "Diffusion Models, Step by Step"
CODE_LINES = 24                 # of code on a slide
WIDE = 112                      # characters of code in a line
PRINTED_LINES = 12              # of what it prints
VIEW, STATE = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"
POLICY = "default-src 'none'; img-src data:; font-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
EXPLORER = re.compile(r"Explorer\(['\"](.*)['\"]\)$")
QUESTION = re.compile(r"^\*\*(\d+)\.\*\*\s+")


@dataclass
class Slide:
    """`title` is Markdown, `body` HTML; `notes` is Markdown of all that is said with it."""

    title: str
    body: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    kind: str = ""

    def page(self, number: int, of: int, section: str) -> str:
        level, where = ("h1", "") if self.kind == "title" else ("h2", f"<small>{section}</small>")
        head = f"<{level}>{myst.inline(self.title)}</{level}>"
        head = f"<header>{head}{where}</header>" if where else head
        said = "".join(map(myst.html, self.notes)) or "<p>No notes.</p>"
        label = f'aria-roledescription="slide" aria-label="{number} of {of}" tabindex="-1"'
        return (f'<section class="{self.kind}" role="group" {label}>{head}\n<div class="content">{"".join(self.body)}</div></section>\n'
                f'<aside aria-label="Notes for slide {number}"><h2>Notes for slide {number}</h2>{said}</aside>\n')


# Cells


def picture(cell: NotebookNode, notebook: NotebookNode) -> str:
    """The figure of a cell with its alt text; the text alone where outputs hold no picture, as in stored notebooks; "" for a cell that draws none."""
    alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
    image = ""
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if VIEW in data:
            states = notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
            alt = states.get(data[VIEW]["model_id"], {}).get("state", {}).get("alt", alt)
        image = data.get("image/png", image)
        explorer = EXPLORER.match(data.get("text/plain", ""))
        if explorer and not alt:
            alt = f"An explorer in the book's page and in its notebook: {explorer[1]}"
    if image:
        return f'<figure><img src="data:image/png;base64,{"".join(image.split())}" alt="{html.escape(alt)}"></figure>'
    return f'<figure><p class="missing" role="img" aria-label="{html.escape(alt)}">{html.escape(alt)}</p></figure>' if alt else ""


def printed(cell: NotebookNode) -> str:
    """What a cell printed, or its value."""
    texts = []
    for output in cell.get("outputs", []):
        if output.output_type == "stream" and output.name == "stdout":
            texts.append(output.text)
        elif output.output_type == "execute_result" and not {VIEW, "image/png"} & output.data.keys():
            texts.append(EXPLORER.sub("", output.data["text/plain"]))
    return "\n".join(text.rstrip("\n") for text in texts if text)


def clipped(text: str, lines: int) -> str:
    rows = text.split("\n")
    return text if len(rows) <= lines else "\n".join([*rows[: lines - 1], f".. and {len(rows) - lines + 1} lines more"])


def high(rows: list[str]) -> int:
    """The lines that code takes when long ones are wrapped."""
    return sum(max(1, -(-len(row) // WIDE)) for row in rows)


def code_pages(code: str) -> list[str]:
    """Code in pieces that a slide can hold, cut at blank lines where there are any."""
    found: list[list[str]] = [[]]
    for chunk in re.split(r"\n{2,}(?=\S)", code.strip("\n")):
        rows = chunk.split("\n")
        if found[-1] and high(found[-1]) + high(rows) + 1 > CODE_LINES:
            found.append([])
        found[-1] += ([""] if found[-1] else []) + rows
        while high(found[-1]) > CODE_LINES + 10:
            found.append(found[-1][CODE_LINES:])
            found[-2] = found[-2][:CODE_LINES]
    return ["\n".join(rows) for rows in found]


def output(text: str) -> str:
    return f'<pre class="printed" aria-label="printed">{html.escape(clipped(text, PRINTED_LINES))}</pre>' if text else ""


# A deck


class Deck:
    """Slides in the making: `title` is the heading that they stand under."""

    def __init__(self, notebook: NotebookNode, path: Path) -> None:
        self.notebook, self.path = notebook, path
        self.slides: list[Slide] = []
        self.title = ""
        self.pending: list[str] = []            # notes that the next slide gets
        self.part: list[str] = []               # blocks since the last cell of code or heading
        self.quiz = False

    def build(self) -> list[Slide]:
        for cell in self.notebook.cells:
            if cell.cell_type == "markdown":
                for block in blocks(myst.plain(cell.source, self.path)):
                    self.take(block)
            elif not exercises.is_check(cell):
                self.code(cell)
        self.flush()
        if self.pending:
            self.slides[-1].notes += self.pending
        return self.slides

    def add(self, body: list[str], kind: str = "") -> None:
        self.slides.append(Slide(self.title, body, self.pending, kind))
        self.pending = []

    def take(self, block: str) -> None:
        what = kind(block)
        if what == "heading":
            self.flush()
            level, words = re.match(r"(#+)\s+(.*)", block).groups()
            self.quiz = words == "Quiz"
            self.title = words
            if len(level) == 1:
                self.part = ["# "]              # its text becomes the title slide
        elif what == "exercise":
            self.flush()
            self.title = block.strip("*")
        else:
            self.part.append(block)

    def flush(self) -> None:
        """Slides of the text that has come together."""
        part, self.part = self.part, []
        if part[:1] == ["# "]:
            self.opening(part[1:])
        elif self.quiz:
            self.questions(part)
        elif part:
            whole = self.title.startswith("Exercise")
            self.text(part, part if whole else essence(part))

    def text(self, part: list[str], shown: list[str]) -> None:
        self.pending += part
        for heap in pages(shown):
            self.add([myst.html("\n\n".join(heap))])

    def opening(self, part: list[str]) -> None:
        """The title, the question that the section opens with, and what it teaches."""
        lead = next((block for block in part if kind(block) == "text"), "")
        self.pending += part
        license_line = f"<p><small>{BOOK}. Text: CC BY 4.0. Code: MIT.</small></p>"
        self.add([myst.html(" ".join(sentences(lead)[:3])), license_line], "title")
        for block, before in zip(part[1:], part, strict=False):
            if kind(block) == "list":
                self.title = before.strip("*:. ") if len(before) < 60 else "In this section"
                for heap in pages([block]):
                    self.add([myst.html("\n".join(heap))])

    def questions(self, part: list[str]) -> None:
        """A slide a question, and after it one with its answer."""
        asked: list[str] = []
        for block in part:
            if QUESTION.match(block):
                self.title = f"Quiz, question {QUESTION.match(block)[1]}"
                block = QUESTION.sub("", block)
                asked = [block]
                self.pending += [block]
                self.add([f'<div class="question">{myst.html(block)}</div>'])
            elif kind(block) == "quote" and block.startswith("> **Answer**"):
                self.title = self.title.replace("question", "answer")
                self.pending += [block]
                self.add([myst.html("\n\n".join([*(text for text in asked if kind(text) != "list" or weight(text) < 5), block]))])
            elif asked:                         # a question of several blocks
                asked.append(block)
                self.slides[-1].body.append(myst.html(block))
                self.slides[-1].notes.append(block)
            else:
                self.pending.append(block)

    def code(self, cell: NotebookNode) -> None:
        figure, source = picture(cell, self.notebook), f"```python\n{cell.source}\n```"
        if cell is next(c for c in self.notebook.cells if c.cell_type == "code"):
            self.flush()
            self.slides[-1].notes.append(source)        # imports are no slide
            return
        lead = self.lead()
        if figure:
            self.pending.append(source)
            self.add([lead, figure, output(printed(cell))])
            return
        sheets = code_pages(cell.source)
        for i, sheet in enumerate(sheets):
            last = i == len(sheets) - 1
            text = printed(cell) if last else ""
            together = high(sheet.split("\n")) + min(PRINTED_LINES, high(text.split("\n"))) <= CODE_LINES + 2
            self.add([lead if i == 0 else "", myst.highlight(sheet), output(text) if together else ""])
            if not together:
                self.add([output(text)])

    def lead(self) -> str:
        """The words that introduce a cell. A short text before it is on its slide, a long one has slides of its own but for its last sentence."""
        part, self.part = self.part, []
        if not part:
            return ""
        shown = part if self.title.startswith("Exercise") else essence(part)
        if sum(map(weight, shown)) <= 4 and all(kind(block) == "text" for block in shown):
            self.pending += part
            return myst.html("\n\n".join(shown))
        last = sentences(part[-1])[-1] if kind(part[-1]) == "text" else ""
        self.text(part, [text for text in shown if text != last])
        said = any(last in text and text != last for text in shown) or last.count("(") != last.count(")")
        return myst.html(last) if last and len(last) < 240 and not said else ""


def deck(notebook: NotebookNode, path: Path) -> list[Slide]:
    """The slides of a notebook that stands at `path`. Solutions of exercises are left out first, whatever the notebook holds."""
    return Deck(exercises.without_solutions(notebook), path).build()


def title(path: Path) -> str:
    """The section's number and name."""
    return re.search(r"^# (.*)$", nbformat.read(path, 4).cells[0].source, re.M)[1]


def page(slides: list[Slide], name: str) -> str:
    """A deck as one HTML page that needs nothing beside it."""
    body = "".join(slide.page(i, len(slides), html.escape(name)) for i, slide in enumerate(slides, 1))
    keys = ('<footer><button type="button" aria-label="Slide before">‹</button><span aria-live="polite"></span>'
            '<button type="button" aria-label="Next slide">›</button><button type="button" aria-pressed="false" title="key N">Notes</button>'
            '<a href="index.html">Decks</a></footer>')
    script = (ASSETS / "slides.js").read_text("utf8")
    return _html(name, f"<main>{body}</main>{keys}<script>{script}</script>")


def _html(name: str, body: str) -> str:
    style = myst.style() + (ASSETS / "slides.css").read_text("utf8")
    return (f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n<title>{html.escape(name)}</title>\n<style>{style}</style>\n</head>\n'
            f"<body>\n{body}\n</body>\n</html>\n")


def name_of(path: Path) -> str:
    """The file of a notebook's deck: 05_03_guidance_pytorch.html of 05_practice/03_guidance_pytorch.ipynb."""
    return f"{path.parent.name[:2]}_{path.stem}.html"


def index(out: Path) -> str:
    """A page that lists the decks there are."""
    rows = []
    for path in sorted(exercises.CHAPTERS.glob("*/*.ipynb")):
        if (out / name_of(path)).exists():
            rows.append(f'<li><a href="{name_of(path)}">{myst.inline(title(path))}</a></li>')
    help_ = "Arrow keys, space and page keys turn pages, Home and End go to the first and the last, N shows notes. Notes that are shown are printed."
    body = f'<section><h1>{BOOK}: slides</h1><div class="content"><p>{help_}</p><ul>{"".join(rows)}</ul></div></section>'
    return _html(f"{BOOK}: slides", f"<main>{body}</main>")


def executed(path: Path) -> NotebookNode:
    """The notebook with outputs and pictures from the build's cache; where that has none, as it is stored, with text alone."""
    sys.path.insert(0, str(exercises.ROOT / "book"))
    import notebooks

    try:
        return notebooks.executed(path) if notebooks.CACHE.exists() else nbformat.read(path, 4)
    except KeyError:
        return nbformat.read(path, 4)


def write(path: Path, out: Path = OUT) -> Path:
    """Write the deck of the notebook at `path`, and return its file."""
    slides = deck(executed(path), path)
    out.mkdir(parents=True, exist_ok=True)
    file = out / name_of(path)
    file.write_text(page(slides, title(path)), "utf8")
    return file


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", nargs="*", type=Path, help="default: all of the book's")
    paths = [path.resolve() for path in parser.parse_args().notebook] or sorted(exercises.CHAPTERS.glob("*/*.ipynb"))
    for path in paths:
        print(f"  {write(path).relative_to(exercises.ROOT)}")
    (OUT / "index.html").write_text(index(OUT), "utf8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
