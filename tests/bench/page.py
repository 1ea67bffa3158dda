"""How long a reader waits: the guidance slider of the built page, in headless Chromium, from a move to the first pictures and to the refined ones.

`make bench` runs it after building the book, and the book shows the table that it writes.
"""

import datetime
import os
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "browser"), str(ROOT / "book" / "ext")]

from conftest import served  # noqa: E402
from playwright.sync_api import Page  # noqa: E402

import chrome  # noqa: E402

PAGE, RESULTS, RUNS = "chapters/03_algorithms/03_guidance.html", ROOT / "book" / "benchmarks" / "page.md", 7
# Times of moves and of answers, and the tasks of more than 50 ms of the page itself.
RECORD = """globalThis.log = []; const Own = Worker, note = (kind, time = performance.now()) => log.push([kind, time]);
globalThis.Worker = class extends Own { constructor(...a) { super(...a); this.addEventListener("message", (e) => note(e.data.kind)); } };
addEventListener("input", () => note("move"), true);
globalThis.watch = () => new PerformanceObserver((list) => list.getEntries().forEach((e) => note("long", e.duration))).observe({ type: "longtask" });"""


def moved(page: Page, key: str) -> tuple[float, float]:
    """Milliseconds from one press of a key to the first frame and to the last."""
    page.evaluate("void (log.length = 0)")
    page.keyboard.press(key)
    page.wait_for_function("() => log.some(([kind]) => kind === 'done')")
    times = page.evaluate("log")
    start, first, last = (next(time for kind, time in times if kind == wanted) for wanted in ("move", "frame", "done"))
    return first - start, last - start


def waits(page: Page, sliders: list, who: str) -> str:
    """A row of the table: the strength is moved up and down, after moves that are not counted."""
    while sliders[2].get_attribute("aria-valuetext").split(":")[0] != who:
        sliders[2].focus()
        moved(page, "ArrowRight")
    sliders[0].focus()
    moved(page, "ArrowRight")
    runs = [moved(page, "ArrowRight" if k % 2 else "ArrowLeft") for k in range(RUNS)]
    cells = [f"{statistics.median(values):.0f} | {min(values):.0f} to {max(values):.0f}" for values in zip(*runs, strict=True)]
    return f"| {who} | " + " | ".join(cells) + " |"


def main() -> None:
    with served() as address, chrome.opened() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.add_init_script(RECORD)
        page.goto(address + PAGE)
        host = page.wait_for_selector("[data-mounted]")
        page.wait_for_load_state("networkidle")
        page.evaluate("watch()")
        sliders = host.query_selector_all("input")
        rows, longest = [], 0.0
        for who in ("distilled", "undistilled"):
            rows.append(waits(page, sliders, who))
            longest = max([longest, *(time for kind, time in page.evaluate("log") if kind == "long")])
        version = browser.version
    text = "\n".join([
        f"Measured on {datetime.date.today().isoformat()}: Chromium {version}, {os.cpu_count()} cores, one thread, {RUNS} moves each.", "",
        "| network | first nine pictures, median (ms) | least to greatest | refined, median (ms) | least to greatest |", "|---|---|---|---|---|", *rows, "",
        f"Longest task of the page itself during these moves: {f'{longest:.0f} ms' if longest else 'none above 50 ms'}.", ""])
    print(text)
    RESULTS.write_text(text, "utf8")


if __name__ == "__main__":
    main()
