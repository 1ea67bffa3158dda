"""Slides: what is on them, what is nowhere in them, and that a browser shows them without a network, in a window, on a phone and on paper."""

import html
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import chrome
from course import blocks, exercises, myst, slides

PATHS = sorted(exercises.CHAPTERS.glob("*/*.ipynb"))
NOTEBOOKS = pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])
HERE = exercises.CHAPTERS / "05_practice" / "03_guidance_pytorch.ipynb"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture(scope="module")
def decks():
    """Slides of every notebook, with its stored outputs."""
    return {path: slides.deck(nbformat.read(path, 4), path) for path in PATHS}


def deck(*cells, path=HERE):
    return slides.deck(new_notebook(cells=list(cells)), path)


def on(made):
    return "\n".join("".join(slide.body) for slide in made)


def said(made):
    return "\n\n".join(note for slide in made for note in slide.notes)


def squeezed(text):
    return re.sub(r"\s+", "", text)


@NOTEBOOKS
def test_no_solution_is_on_a_slide_or_in_its_notes(path, decks):
    words = lambda page: squeezed(html.unescape(re.sub(r"<[^>]*>", "", page)))
    everything = words(on(decks[path])) + squeezed(said(decks[path]))
    for exercise in exercises.read(path).values():
        explanation = max(slides.sentences(myst.plain(exercise.explanation, path).replace("\n", " ")), key=len)
        assert squeezed(explanation) not in everything and words(myst.inline(explanation)) not in everything, exercise.name
        bodies = re.findall(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", exercise.solution, re.S)
        assert bodies and not any(squeezed(body) in everything for body in bodies), exercise.name
        assert squeezed(exercises.stub(exercise.solution)) in everything, f"{exercise.name}: the stub is on no slide"


@NOTEBOOKS
def test_all_prose_that_readers_get_is_in_the_notes(path, decks):
    notes = squeezed(said(decks[path]))
    for cell in exercises.without_solutions(nbformat.read(path, 4)).cells:
        if cell.cell_type == "markdown":
            for block in slides.blocks(myst.plain(cell.source, path)):
                text = slides.QUESTION.sub("", block)
                assert slides.kind(block) in ("heading", "exercise") or squeezed(text) in notes, block


@NOTEBOOKS
def test_every_figure_formula_question_and_exercise_has_its_slide(path, decks):
    notebook, shown = exercises.without_solutions(nbformat.read(path, 4)), on(decks[path])
    for cell in notebook.cells:
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt")
        assert not alt or html.escape(alt) in shown
        for name in re.findall(r"^\$\$ \((eq-[\w-]+)\)", cell.source, re.M) if cell.cell_type == "markdown" else ():
            assert f"<span>({myst.labels()[name].words})</span>" in shown, name
    titles = [slide.title for slide in decks[path]]
    quiz = [title for title in titles if title.startswith("Quiz")]
    assert quiz == [f"Quiz, {what} {n}" for n in range(1, len(quiz) // 2 + 1) for what in ("question", "answer")] and len(quiz) >= 6
    for exercise in exercises.read(path).values():
        assert (f"Exercise: {exercise.title}" if exercise.title else "Exercise") in titles


@NOTEBOOKS
def test_a_question_comes_without_its_answer(path, decks):
    for slide in decks[path]:
        assert "Answer" not in on([slide]) or slide.title.startswith("Quiz, answer")


@NOTEBOOKS
def test_a_page_is_whole_and_asks_no_host(path, decks):
    page = slides.page(decks[path], slides.title(path))
    assert not re.search(r"(?:src|srcset|poster|data)\s*=\s*[\"'](?!data:)", page) and "@import" not in page and "<link" not in page
    assert not re.search(r"url\((?![\"']?data:)", page)
    assert f'content="{slides.POLICY}"' in page and page.count("<section") == page.count("<aside") == len(decks[path])


def test_a_figure_is_a_picture_with_its_alt_text():
    cell = new_code_cell("plot()", outputs=[new_output("display_data", {"image/png": PIXEL, "text/plain": "<Figure>"})])
    cell.metadata = {"mystnb": {"image": {"alt": 'A "dot" < 1.'}}}
    shown = on(deck(new_markdown_cell("# T\n\nText.\n\n## A"), new_code_cell("import x"), cell))
    assert f'<img src="data:image/png;base64,{PIXEL}" alt="A &quot;dot&quot; &lt; 1.">' in shown and "Figure" not in shown


def test_a_widget_is_its_still_picture_with_its_own_alt_text():
    view = {slides.VIEW: {"model_id": "m"}, "image/png": PIXEL, "text/plain": "Explorer('Strength')"}
    cell = new_code_cell("explore()", outputs=[new_output("execute_result", view, execution_count=1)])
    notebook = new_notebook(cells=[new_markdown_cell("# T\n\nText."), new_code_cell("import x"), cell])
    notebook.metadata["widgets"] = {slides.STATE: {"state": {"m": {"state": {"alt": "Two sliders."}}}}}
    shown = on(slides.deck(notebook, HERE))
    assert PIXEL in shown and 'alt="Two sliders."' in shown and "Explorer" not in shown


def test_a_stored_explorer_is_named():
    cell = new_code_cell("explore()", outputs=[new_output("execute_result", {"text/plain": "Explorer('Strength')"}, execution_count=1)])
    assert "An explorer in the book&#x27;s page and in its notebook: Strength" in on(deck(new_markdown_cell("# T\n\nText."), new_code_cell("import x"), cell))


def test_text_comes_in_short_and_whole_in_the_notes():
    text = "## A\n\nFirst things first, in a sentence that is long enough to stand. Then more. **This is it**, said so. And so on."
    made = deck(new_markdown_cell(f"# T\n\nText.\n\n{text}"))
    assert "First things first" in on(made[1:]) and "This is it" in on(made[1:]) and "Then more" not in on(made[1:]) and "And so on" not in on(made[1:])
    assert "And so on." in said(made)


@pytest.mark.parametrize("text, parts", [
    ("One. Two? Three!", ["One.", "Two?", "Three!"]),
    ("Let $C > c$. Then go.", ["Let $C > c$.", "Then go."]),
    ("Use $a. B$ and `x. Y`. End.", ["Use $a. B$ and `x. Y`.", "End."]),
    ("**A title.** Then text.", ["**A title.**", "Then text."]),
    ("Ho et al. (2020) say so. Yes.", ["Ho et al. (2020) say so.", "Yes."]),
    ("Times 40, 80, .., 1000 are many.", ["Times 40, 80, .., 1000 are many."]),
])
def test_sentences(text, parts):
    assert slides.sentences(text) == parts


@NOTEBOOKS
def test_nothing_is_lost_when_text_and_code_are_cut(path):
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "code":
            pieces = slides.code_pages(cell.source)
            assert squeezed("".join(pieces)) == squeezed(cell.source) and all(piece.strip() for piece in pieces)
        else:
            parts = slides.blocks(myst.plain(cell.source, path))
            assert squeezed("".join(parts)) == squeezed(myst.plain(cell.source, path))
            heaps = list(slides.pages(parts))
            assert squeezed("".join(part for heap in heaps for part in heap)) == squeezed("".join(parts))
            assert all(len(heap) == 1 or sum(map(slides.weight, heap)) <= blocks.LINES + 4 for heap in heaps)


def test_the_index_lists_the_decks_there_are(tmp_path):
    (tmp_path / slides.name_of(HERE)).write_text("x")
    found = re.findall(r'<a href="([^"]+)">([^<]+)</a>', slides.index(tmp_path))
    assert found == [("05_03_guidance_pytorch.html", "5.3 Classifier-free guidance in PyTorch")]


# In a browser


@pytest.fixture(scope="module")
def browser():
    try:
        with chrome.opened() as found:
            yield found
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def folder(decks, tmp_path_factory):
    out = tmp_path_factory.mktemp("slides")
    for path, made in decks.items():
        (out / slides.name_of(path)).write_text(slides.page(made, slides.title(path)), "utf8")
    return out


@pytest.fixture
def opened(browser, folder):
    """open(path of a notebook, width, height) -> its deck in a window; errors and requests of the page are collected in page.trouble."""
    pages = []

    def open_(path=HERE, width=1280, height=720, touch=False):
        page = browser.new_page(viewport={"width": width, "height": height}, has_touch=touch)
        page.trouble = []
        page.on("pageerror", lambda error: page.trouble.append(str(error)))
        page.on("console", lambda message: page.trouble.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: page.trouble.append(request.url) if not request.url.startswith(("file:", "data:")) else None)
        page.goto((folder / slides.name_of(path)).as_uri())
        pages.append(page)
        return page

    yield open_
    for page in pages:
        page.close()


def now(page):
    return page.evaluate("[...document.querySelectorAll('section')].findIndex((s) => s.classList.contains('shown')) + 1")


OVERFLOWING = """() => [...document.querySelectorAll("section .content")].map((box, i) =>
    [i + 1, box.scrollHeight - box.clientHeight, ...[box, ...box.querySelectorAll(".formula")].map((e) => e.scrollWidth - e.clientWidth)])
    .filter(([, ...over]) => over.some((pixels) => pixels > 1))"""


@NOTEBOOKS
def test_all_that_is_on_a_slide_can_be_seen(path, opened):
    page = opened(path)
    assert page.evaluate(OVERFLOWING) == []
    assert min(float(size) for size in page.evaluate("[...document.querySelectorAll('section')].map((s) => s.dataset.fits)")) >= 0.6
    assert page.trouble == []


def test_keys_and_the_address_turn_pages(opened, decks):
    page, last = opened(), len(decks[HERE])
    steps = [("ArrowRight", 2), ("PageDown", 3), (" ", 4), ("ArrowDown", 5), ("ArrowLeft", 4), ("PageUp", 3), ("Shift+ ", 2), ("End", last), ("ArrowRight", last),
             ("Home", 1), ("ArrowLeft", 1)]
    for key, number in steps:
        page.keyboard.press(key)
        assert now(page) == number == int(page.evaluate("location.hash.slice(1)")), key
    page.evaluate("location.hash = '#7'")
    page.wait_for_function("document.querySelectorAll('section')[6].classList.contains('shown')")
    page.reload()
    assert now(page) == 7
    page.keyboard.press("Control+ArrowRight")
    assert now(page) == 7, "a browser's own shortcut was taken"


def test_notes_are_shown_on_demand(opened):
    page = opened()
    note = page.locator("aside").first
    assert not note.is_visible()
    page.keyboard.press("n")
    assert note.is_visible() and page.get_by_role("button", name="Notes").get_attribute("aria-pressed") == "true"
    box, slide = note.bounding_box(), page.locator("section.shown").bounding_box()
    assert slide["y"] + slide["height"] <= box["y"] + 1
    page.keyboard.press("N")
    assert not note.is_visible()


def test_a_buttons_focus_is_seen_and_keys_work_on_it(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.ariaLabel") == "Next slide"      # the one before it is disabled on the first slide
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press(" ")
    assert now(page) == 2


def test_paper_gets_a_slide_a_page_and_notes_if_they_are_shown(opened, decks):
    page, pages = opened(), lambda pdf: len(re.findall(rb"/Type\s*/Page[^s]", pdf))
    assert pages(page.pdf(prefer_css_page_size=True)) == len(decks[HERE])
    page.keyboard.press("n")
    assert pages(page.pdf(prefer_css_page_size=True)) >= 2 * len(decks[HERE])


def test_a_phone_scrolls_down_only_and_taps_and_swipes_turn_pages(opened, decks):
    page = opened(width=360, height=740, touch=True)
    for number in range(1, len(decks[HERE]) + 1):
        assert now(page) == number
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, number
        page.get_by_role("button", name="Next slide").click(force=number == len(decks[HERE]), timeout=2000) if number < len(decks[HERE]) else None
    page.keyboard.press("Home")
    page.evaluate("location.hash = '#2'")
    page.wait_for_function("document.querySelectorAll('section')[1].classList.contains('shown')")
    page.touchscreen.tap(300, 500)
    assert now(page) == 3
    page.touchscreen.tap(20, 500)
    assert now(page) == 2
    swipe = """([from, to]) => { const at = (x) => [new Touch({ identifier: 1, target: document.querySelector("section.shown"), clientX: x, clientY: 400 })];
        const target = document.querySelector("section.shown");
        target.dispatchEvent(new TouchEvent("touchstart", { bubbles: true, touches: at(from) }));
        target.dispatchEvent(new TouchEvent("touchend", { bubbles: true, changedTouches: at(to) })); }"""
    page.evaluate(swipe, [300, 100])
    assert now(page) == 3
    page.evaluate(swipe, [100, 300])
    assert now(page) == 2
