"""Explorers in the built page: no kernel, no network, the same numbers as Python, by keyboard and by pointer, and honest where a browser cannot compute."""

import base64
import functools
import gzip
import json

import numpy as np
import pytest
from books_explorers import EXPLORERS
from bs4 import BeautifulSoup
from built import HTML, pages
from conftest import Handler, Visitor, served
from engines import assert_same, shown

import chrome

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
WITH_EXPLORER = [name for name in pages() if VIEW in (HTML / name).read_text("utf8")]
ON_PAGES = pytest.mark.parametrize("name", WITH_EXPLORER)
NETWORK, CURVES = "chapters/03_algorithms/03_guidance.html", "chapters/04_mathematics/01_process.html"
HEAVY = ("_static/models/", "_static/vendor/onnxruntime", "_static/explorers/engine.js")
PICTURE = "host => host.querySelector('canvas').toDataURL()"


@functools.cache
def made() -> dict:
    """The book's explorers as Python makes them, by title."""
    return {explorer.title: explorer for explorer in (maker() for maker in EXPLORERS.values())}


def states(name: str) -> list[dict]:
    """What a page holds of its explorers."""
    page = BeautifulSoup((HTML / name).read_text("utf8"), "html.parser")
    models = {k: m for script in page.find_all("script", type=STATE) for k, m in json.loads(script.string)["state"].items()}
    return [models[json.loads(script.string)["model_id"]]["state"] for script in page.find_all("script", type=VIEW)]


def hosts(page):
    """Each explorer of an open page, with the Python object of the same title."""
    for host in page.locator("[data-mounted]").element_handles():
        yield host, made()[host.eval_on_selector(".explorer-title", "p => p.textContent")]


def stands(host, explorer) -> dict:
    """Where the explorer's sliders stand, as a point of its grid."""
    places = host.eval_on_selector_all("input[type=range]", "inputs => inputs.map(input => Number(input.value))")
    return {name: control.values[k] for (name, control), k in zip(explorer._controls.items(), places, strict=True)}


def note(host) -> str:
    return host.eval_on_selector(".explorer-note", "p => p.textContent")


def test_each_section_has_one():
    sections = [name for name in pages() if name.startswith("chapters/") and not name.endswith("index.html")]
    assert sections and set(sections) <= set(WITH_EXPLORER)


@ON_PAGES
def test_a_page_holds_the_explorers_that_python_makes(name):
    for state in states(name):
        explorer = made()[state["title"]]
        given, wanted = state["engine"], json.loads(json.dumps(explorer.browser_engine.plain()))
        for name, array in wanted.pop("arrays").items():  # not to the bit: a notebook may have another number of threads
            found = given["arrays"].pop(name)
            assert found["dtype"] == array["dtype"]
            np.testing.assert_allclose(*(np.frombuffer(base64.b64decode(a["base64"]), a["dtype"]) for a in (found, array)), rtol=1e-6, atol=1e-9)
        assert given.pop("arrays") == {} and given == wanted
        assert state["controls"] == json.loads(json.dumps(explorer.controls)) and state["alt"] == explorer.alt
        assert len(state["stills"]) == len(explorer.still_points) and ",".join(map(str, state["indices"])) in state["stills"]


@ON_PAGES
@pytest.mark.parametrize(("width", "way"), [(1280, "keyboard"), (360, "pointer")])
def test_every_control_computes_what_python_computes(name, width, way, visit):
    page = visit(name, width)
    assert page.locator("[data-mounted]").count() == len(states(name))
    for host, explorer in hosts(page):
        for control in host.query_selector_all("input[type=range]"):
            assert control.evaluate("c => c.labels.length > 0"), "a control without a label"
            before, last = control.input_value(), control.get_attribute("max")
            if way == "keyboard":
                control.focus()
                page.keyboard.press("ArrowLeft" if before == last else "ArrowRight")
            else:
                box = control.bounding_box()
                control.click(position={"x": 1 if 2 * int(before) > int(last) else box["width"] - 1, "y": box["height"] / 2})
            assert control.input_value() != before
            frame = shown(page, host)
            assert_same(frame, explorer.final(**stands(host, explorer)))
            assert host.eval_on_selector("canvas", "c => c.ariaLabel").endswith(frame["caption"]), "the picture's description did not follow it"
            assert host.eval_on_selector(".explorer-spoken", "p => p.textContent") == frame["caption"]
        assert "compute in your browser" in note(host)


class WithDisk:
    """A browser that keeps what it has loaded on disk, as readers' do; the usual contexts of tests keep little."""

    def __init__(self, browser, folder):
        self.kind, self.folder = browser.browser_type, folder

    def new_context(self, **options):
        return self.kind.launch_persistent_context(self.folder, executable_path=chrome.program(), args=chrome.QUIET, **options)


def test_nothing_heavy_is_loaded_before_the_first_touch_and_nothing_twice(browser, tmp_path):
    class Counted(Handler):
        sent = Handler.sent.copy()

    Counted.sent.clear()
    with served(Counted) as address:
        visitor = Visitor(WithDisk(browser, tmp_path), address)
        page = visitor.open(NETWORK)
        assert not [path for path, _ in Counted.sent if path.startswith(HEAVY)]
        for _ in range(2):
            host, explorer = next(hosts(page))
            host.query_selector("input").focus()
            page.keyboard.press("ArrowRight")
            assert_same(shown(page, host), explorer.final(**stands(host, explorer)))
            page.reload()
        whole = {path: n for (path, code), n in Counted.sent.items() if code == 200 and path.endswith((".onnx", ".wasm"))}
        visitor.close()
    assert len(whole) == 2 and set(whole.values()) == {1}, whole


def test_threads_are_used_where_the_page_is_isolated_and_change_nothing(browser):
    class Isolated(Handler):
        extra = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}

    with served(Isolated) as address:
        visitor = Visitor(browser, address)
        page = visitor.open(NETWORK)
        assert page.evaluate("crossOriginIsolated")
        host, explorer = next(hosts(page))
        host.query_selector("input").focus()
        page.keyboard.press("ArrowRight")
        assert_same(shown(page, host), explorer.final(**stands(host, explorer)))
        assert len(page.workers) > 1
        visitor.close()


def test_a_newer_move_stops_the_older(visit):
    record = """globalThis.answers = []; const Own = Worker;
    globalThis.Worker = class extends Own { constructor(...a) { super(...a); this.addEventListener("message", (e) => answers.push([e.data.run, e.data.kind])); } };"""
    page = visit(NETWORK, script=record)
    host, explorer = next(hosts(page))
    host.query_selector("input").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowRight"):
        page.keyboard.press(key)
    frame = shown(page, host)
    assert_same(frame, explorer.final(**stands(host, explorer)))
    answers = [(run, kind) for run, kind in page.evaluate("answers") if kind != "loading"]
    assert [run for run, kind in answers if kind == "done"] == [4] and [run for run, _ in answers] == sorted(run for run, _ in answers)
    assert sum(run < 4 for run, _ in answers) < 3 * 24, "older runs went on"


def test_with_reduced_motion_only_the_final_picture_is_painted(visit):
    page = visit(NETWORK, reduced_motion="reduce")
    host, _ = next(hosts(page))
    page.evaluate("""host => { globalThis.seen = new Set(); new MutationObserver(() => seen.add(host.querySelector("canvas").toDataURL()))
      .observe(host.querySelector(".explorer-caption"), { childList: true, characterData: true, subtree: true }); }""", host)
    before = host.evaluate(PICTURE)
    host.query_selector("input").focus()
    page.keyboard.press("ArrowRight")
    shown(page, host)
    assert set(page.evaluate("[...seen]")) <= {before} and host.evaluate(PICTURE) != before


def test_in_the_dark_axes_and_words_of_a_plot_are_light(visit):
    page = visit(CURVES)
    host, _ = next(hosts(page))
    brightest = """host => { const c = host.querySelector("canvas"), d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
      let sum = 0, n = 0; for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 200 && Math.abs(d[i] - d[i + 2]) < 20) { sum += d[i]; n++; } return sum / n; }"""
    page.evaluate("Object.assign(document.documentElement.dataset, { theme: 'light', mode: 'light' })")
    page.wait_for_function(f"host => ({brightest})(host) < 120", arg=host)
    page.evaluate("Object.assign(document.documentElement.dataset, { theme: 'dark', mode: 'dark' })")
    page.wait_for_function(f"host => ({brightest})(host) > 150", arg=host)


# Where a browser cannot compute


def moved_through_stored(page, host) -> None:
    """Every slider with a choice steps through stored frames; the picture changes and there is no error."""
    for control in host.query_selector_all("input[type=range]:enabled"):
        before = host.evaluate(PICTURE)
        control.focus()
        page.keyboard.press("ArrowLeft" if control.input_value() == control.get_attribute("max") else "ArrowRight")
        page.wait_for_function(f"([host, before]) => ({PICTURE})(host) != before", arg=[host, before])
        assert "error" not in shown(page, host)


@ON_PAGES
def test_from_a_file_stored_frames_are_shown_and_the_page_says_so(name, browser):
    visitor = Visitor(browser, HTML.as_uri() + "/")
    page = visitor.open(name)
    for host, _ in hosts(page):
        assert "computed beforehand" in note(host) and "opened from a file" in note(host)
        moved_through_stored(page, host)
    visitor.close()


@pytest.mark.parametrize(("script", "why"), [("delete globalThis.WebAssembly;", "no WebAssembly"), ("delete globalThis.Worker;", "cannot compute here")])
def test_a_browser_that_lacks_something_shows_stored_frames(script, why, visit):
    page = visit(NETWORK, script=script)
    host, _ = next(hosts(page))
    assert "computed beforehand" in note(host) and why in note(host)
    moved_through_stored(page, host)


def test_curves_need_no_webassembly(visit):
    page = visit(CURVES, script="delete globalThis.WebAssembly;")
    host, _ = next(hosts(page))
    assert "compute in your browser" in note(host)


def test_a_site_without_the_runtime_shows_stored_frames(visit):
    page = visit(NETWORK, extra={"_static/models/models.json": '{"runtime": null, "networks": {}}'})
    host, _ = next(hosts(page))
    host.query_selector("input").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("host => host.querySelector('.explorer-note').textContent.includes('without the runtime')", arg=host)
    moved_through_stored(page, host)


# Weight


@ON_PAGES
def test_a_page_without_its_model_is_below_a_megabyte(name, visit):
    received = {}
    page = visit(name, watch=lambda response: received.setdefault(response.url, response))
    page.wait_for_load_state("networkidle")
    weights = {url: len(gzip.compress(response.body())) for url, response in received.items() if response.ok}
    assert sum(weights.values()) < 1e6, sorted(weights.items(), key=lambda item: -item[1])[:8]
