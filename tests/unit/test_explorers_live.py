"""Explorers in use: interruptible runs in a kernel, and what a page without one is given."""

import asyncio
import base64
import json
import logging

import numpy as np
import pytest
from explorer_toys import Counting, Sent, Student, all_kinds, explorers, grey, toy

from diffusion_core.explorers import Engine, Frame
from diffusion_core.explorers.render import png

# Live


def test_a_run_sends_its_frames_then_done(monkeypatch):
    explorer = toy()
    sent = Sent(explorer, monkeypatch)

    async def reader():
        await explorer.move(level=200, size=3)

    asyncio.run(reader())
    assert sent.kinds() == ["frame", "frame", "done"] and sent.captions() == ["rough 200", "level 200"]
    (content, buffers), ((panel,),) = sent.messages[0], sent.messages[0][0]["rows"]
    assert (panel["type"], panel["shape"]) == ("pictures", [3, 3]) and buffers[panel["data"]] == bytes([200] * 9)
    assert (explorer.completed, explorer.cancelled, explorer.indices) == (1, 0, [2, 1])


def test_a_newer_move_stops_the_older_run_before_its_next_evaluation(monkeypatch):
    student = Student()
    explorer = explorers(Counting(), student)["strength"]
    sent = Sent(explorer, monkeypatch)

    async def reader():
        older = explorer.move(w=4.0)
        while len(student.rows) < 7:
            await asyncio.sleep(0)
        before = len(student.rows)
        newer = explorer.move(w=3.0)
        await asyncio.gather(older, newer)
        return before

    before = asyncio.run(reader())
    assert before == 7 and len(student.rows) - before == 24  # the older run made no further call
    assert [weights[0] for weights in student.weights] == [4.0] * 7 + [3.0] * 24
    assert (explorer.completed, explorer.cancelled) == (1, 1)
    changes = ["w = 3" in caption for caption in sent.captions()]
    assert (
        changes == sorted(changes) and not changes[0] and changes[-1]
    )  # no picture of the older run after one of the newer
    assert sent.kinds().count("done") == 1


def test_many_moves_at_once_cost_one_run(monkeypatch):
    student = Student()
    explorer = explorers(Counting(), student)["strength"]
    Sent(explorer, monkeypatch)

    async def reader():
        await asyncio.gather(*[explorer.move(w=w) for w in (0.0, 0.25, 0.5, 1.5, 3.0)])

    asyncio.run(reader())
    assert student.weights == [[3.0] * 4] * 24 and (explorer.completed, explorer.cancelled) == (1, 4)


def test_a_view_that_appears_gets_a_picture(monkeypatch):
    explorer = toy()
    sent = Sent(explorer, monkeypatch)

    async def view():
        explorer._handle_custom_msg("ready", [])
        await explorer.task

    asyncio.run(view())
    assert sent.captions()[-1] == "level 100"


def test_an_exception_in_a_live_run_is_shown_logged_and_raised(monkeypatch, caplog):
    def draw(level, size):
        yield Frame(grey(0), "")
        raise ZeroDivisionError("half way")

    explorer = toy(draw)
    sent = Sent(explorer, monkeypatch)
    monkeypatch.setattr(explorer, "log", logging.getLogger("explorer-test"))

    async def reader():
        await explorer.move(level=0)

    with pytest.raises(ZeroDivisionError, match="half way"):
        asyncio.run(reader())
    assert sent.messages[-1][0] == {"kind": "error", "message": "ZeroDivisionError: half way"}
    assert "Explorer('Toy') failed" in caplog.text and "half way" in caplog.text
    assert explorer.completed == 0


# The page


def state(monkeypatch, building, **options):
    """What is synchronised of a toy, as text and back, as a page gets it."""
    monkeypatch.setenv("BOOK_BUILD", "1" if building else "0")
    kept = toy(**options).get_state()
    return json.loads(json.dumps({name: kept[name] for name in ("title", "alt", "controls", "indices", "stills", "engine")}))


def test_stills_only_when_the_book_is_built(monkeypatch):
    assert state(monkeypatch, building=False)["stills"] == {}
    stills = state(monkeypatch, building=True)["stills"]
    assert sorted(stills) == ["0,0", "0,1", "1,0", "1,1", "2,0", "2,1"]
    still, ((panel,),) = stills["2,1"], stills["2,1"]["rows"]
    assert still["caption"] == "level 200" and panel["shape"] == [3, 3]
    assert base64.b64decode(still["buffers"][panel["data"]]) == bytes([200] * 9)


def test_an_engine_only_when_the_book_is_built(monkeypatch):
    engine = Engine("toy", {"shade": 3}, {"levels": np.array([0, 100, 200], np.int32)})
    assert state(monkeypatch, building=False, engine=engine)["engine"] is None
    assert state(monkeypatch, building=True)["engine"] is None
    assert state(monkeypatch, building=True, engine=engine)["engine"] == engine.plain()
    assert toy(engine=engine).browser_engine is engine


def test_declared_stills_are_all_there_and_the_page_starts_on_one(monkeypatch):
    given = state(monkeypatch, building=True, stills={"level": (200, 100)})
    assert sorted(given["stills"]) == ["1,0", "1,1", "2,0", "2,1"]
    assert [control["stills"] for control in given["controls"]] == [[1, 2], [0, 1]]
    assert ",".join(map(str, given["indices"])) in given["stills"]


def test_controls_say_what_a_browsers_engine_needs(monkeypatch):
    level, size = state(monkeypatch, building=False)["controls"]
    assert (level["name"], level["label"], level["values"], level["labels"]) == ("level", "Level", [0, 100, 200], ["0", "100", "200"])
    assert (size["name"], size["values"], size["labels"]) == ("size", [2, 3], ["two", "three"])


def test_a_picture_for_editions_that_cannot_move_only_when_the_book_is_built(monkeypatch):
    def draw(level, size):
        yield Frame(grey(0), "rough")
        yield all_kinds() if level == 100 else Frame(grey(level, size), "")

    monkeypatch.delenv("BOOK_BUILD", raising=False)
    assert "image/png" not in toy(draw)._repr_mimebundle_()[0]
    monkeypatch.setenv("BOOK_BUILD", "1")
    data, _ = toy(draw)._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]) == png(all_kinds())  # what the sliders' start shows, at rest
    assert {"application/vnd.jupyter.widget-view+json", "text/plain", "image/png"} <= set(data)


def test_text_output_is_deterministic():
    data = [toy()._repr_mimebundle_()[0] for _ in range(2)]
    assert data[0]["text/plain"] == data[1]["text/plain"] == "Explorer('Toy')"
    assert (
        data[0]["application/vnd.jupyter.widget-view+json"]
        != data[1]["application/vnd.jupyter.widget-view+json"]
    )
