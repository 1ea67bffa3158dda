"""Every page of the built book, as a reader with and without much room opens it."""

import functools
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from built import HTML, pages

PAGES = pytest.mark.parametrize("name", pages())


def test_the_book_is_built():
    assert "chapters/03_algorithms/01_ddpm.html" in pages()


@PAGES
@pytest.mark.parametrize("width", [1280, 360])
def test_page_opens_cleanly(name, width, visit):
    page = visit(name, width)
    assert page.locator("article h1").count() == 1
    assert page.locator("mjx-merror").count() == 0, "MathJax could not read a formula"
    formulas = page.locator("article .math")
    assert formulas.count() == page.locator("article .math mjx-container").count()
    room = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert room[0] <= room[1], f"the page is {room[0]} px wide in a window of {room[1]} px"


@functools.cache
def places(page: Path) -> set[str]:
    """The ids of a page: many links lead to the glossary, which is long to read."""
    return {tag["id"] for tag in BeautifulSoup(page.read_text("utf8"), "html.parser").find_all(id=True)}


@PAGES
def test_links_lead_somewhere(name):
    folder = (HTML / name).parent
    for link in BeautifulSoup((HTML / name).read_text("utf8"), "html.parser").select("a[href]"):
        parts = urlsplit(link["href"])
        if parts.scheme or not (parts.path or parts.fragment):
            continue
        target = (folder / unquote(parts.path)).resolve() if parts.path else HTML / name
        assert target.is_file(), f"{link['href']} leads to no file"
        if parts.fragment and target.suffix == ".html":
            found = unquote(parts.fragment) in places(target)
            assert found or parts.fragment in ("", "main-content"), f"{link['href']} leads to no place on its page"


def test_glossary_terms_and_citations_are_linked():
    """Chapter 3 uses the glossary and the references; a page without such links would make the test above idle."""
    for target in ("book/glossary.html#term-", "book/references.html#id"):
        linking = [name for name in pages() if target.split("/")[1] in (HTML / name).read_text("utf8")]
        assert any(name.startswith("chapters/03") for name in linking), target


def test_icons_are_drawn_by_the_font(visit):
    page = visit("book/intro.html")
    drawn = page.evaluate("""document.fonts.load("900 16px 'Font Awesome 6 Free'").then(() => [document.fonts.check("900 16px 'Font Awesome 6 Free'"),
      ...[...document.querySelectorAll("i.fa-solid, i.fas")].map(i => /^".{1,2}"$/u.test(getComputedStyle(i, "::before").content))])""")
    assert len(drawn) > 5 and all(drawn)
    assert "fontawesome.js" not in page.content()


def test_the_root_leads_to_the_welcome_page(visit):
    page = visit("index.html")
    page.wait_for_url("**/book/intro.html")


def test_search_finds_a_page_by_its_words(visit):
    page = visit("search.html?q=guidance")
    page.wait_for_selector("#search-results li a")
    assert any("03_guidance" in link.get_attribute("href") for link in page.locator("#search-results li a").all())


def test_dark_mode_can_be_chosen_and_stays(visit):
    page = visit("book/notation.html")
    background = "getComputedStyle(document.body).backgroundColor"
    seen = {page.evaluate("document.documentElement.dataset.theme"): page.evaluate(background)}
    for _ in range(2):
        page.locator("button.theme-switch-button:visible").first.click()
        seen[page.evaluate("document.documentElement.dataset.theme")] = page.evaluate(background)
    assert set(seen) == {"light", "dark"}
    assert seen["light"] != seen["dark"]
    chosen = page.evaluate("document.documentElement.dataset.mode")
    page.reload()
    assert page.evaluate("document.documentElement.dataset.mode") == chosen
