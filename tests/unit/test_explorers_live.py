"""Explorers in use: interruptible runs in a kernel, and stills in a page without one."""

import asyncio
import base64
import io
import logging

import numpy as np
import pytest
from explorer_toys import Counting, Sent, explorers, toy
from PIL import Image

from diffusion_core.explorers import Frame

# Live


def test_a_run_sends_its_frames_then_done(monkeypatch):
    explorer = toy()
    sent = Sent(explorer, monkeypatch)

    async def reader():
        await explorer.move(level=200, size=3)

    asyncio.run(reader())
    assert sent.kinds() == ["frame", "frame", "done"] and sent.captions() == ["rough 200", "level 200"]
    assert np.asarray(Image.open(io.BytesIO(sent.messages[0][1][0]))).tolist() == [[200] * 3] * 3
    assert (explorer.completed, explorer.cancelled, explorer.indices) == (1, 0, [2, 1])


def test_a_newer_move_stops_the_older_run_before_its_next_evaluation(monkeypatch):
    denoiser = Counting()
    explorer = explorers(denoiser)["strength"]
    sent = Sent(explorer, monkeypatch)

    async def reader():
        older = explorer.move(w=4.0)
        while len(denoiser.rows) < 7:
            await asyncio.sleep(0)
        before = len(denoiser.rows)
        newer = explorer.move(w=8.0)
        await asyncio.gather(older, newer)
        return before

    before = asyncio.run(reader())
    assert before == 7 and len(denoiser.rows) - before == 24  # the older run made no further call
    assert (explorer.completed, explorer.cancelled) == (1, 1)
    changes = ["w = 8" in caption for caption in sent.captions()]
    assert (
        changes == sorted(changes) and not changes[0] and changes[-1]
    )  # no picture of the older run after one of the newer
    assert sent.kinds().count("done") == 1


def test_many_moves_at_once_cost_one_run(monkeypatch):
    denoiser = Counting()
    explorer = explorers(denoiser)["strength"]
    Sent(explorer, monkeypatch)

    async def reader():
        await asyncio.gather(*[explorer.move(w=w) for w in (0.0, 0.25, 0.5, 1.5, 3.0)])

    asyncio.run(reader())
    assert len(denoiser.rows) == 24 and (explorer.completed, explorer.cancelled) == (1, 4)


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
        yield Frame(np.zeros((2, 2), np.uint8), "")
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


def test_stills_only_when_the_book_is_built(monkeypatch):
    monkeypatch.delenv("BOOK_BUILD", raising=False)
    assert toy().get_state()["stills"] == {}
    monkeypatch.setenv("BOOK_BUILD", "1")
    stills = toy().get_state()["stills"]
    assert sorted(stills) == ["0,0", "0,1", "1,0", "1,1", "2,0", "2,1"]
    picture = Image.open(io.BytesIO(base64.b64decode(stills["2,1"]["png"])))
    assert np.asarray(picture).tolist() == [[200] * 3] * 3 and stills["2,1"]["caption"] == "level 200"


def test_declared_stills_are_all_there_and_the_page_starts_on_one(monkeypatch):
    monkeypatch.setenv("BOOK_BUILD", "1")
    state = toy(stills={"level": (200, 100)}).get_state()
    assert sorted(state["stills"]) == ["1,0", "1,1", "2,0", "2,1"]
    assert [control["stills"] for control in state["controls"]] == [[1, 2], [0, 1]]
    assert ",".join(map(str, state["indices"])) in state["stills"]


def test_a_stored_colour_picture_is_close_to_the_frame():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 1)).repeat(3, 2).astype(np.uint8)
    stored = np.asarray(Image.open(io.BytesIO(Frame(pixels, "").png(store=True))).convert("RGB"))
    assert np.abs(stored.astype(int) - pixels).max() <= 2


def test_text_output_is_deterministic():
    data = [toy()._repr_mimebundle_()[0] for _ in range(2)]
    assert data[0]["text/plain"] == data[1]["text/plain"] == "Explorer('Toy')"
    assert (
        data[0]["application/vnd.jupyter.widget-view+json"]
        != data[1]["application/vnd.jupyter.widget-view+json"]
    )
