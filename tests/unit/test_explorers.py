"""Explorers: pure figures, interruptible runs, stills for the page, and errors that get out."""

import asyncio
import base64
import io
import logging

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion_core.denoisers import FunctionDenoiser
from diffusion_core.explorers import (
    Control,
    Explorer,
    Frame,
    first_frame,
    forward_explorer,
    steps_eta_explorer,
    strength_explorer,
)
from diffusion_core.explorers.forward import radial_spectrum
from diffusion_core.explorers.pictures import tile
from diffusion_core.gaussian import Prediction
from diffusion_core.schedules import Schedule

SHAPE = (1, 8, 8)


class Counting:
    """A toy denoiser that leans to a value given by the label and counts its calls and the rows of each."""

    def __init__(self):
        self.schedule, self.rows = Schedule.cosine(1000), []

    def __call__(self, x_t, t, cond=None):
        self.rows.append(len(x_t))
        level = 0.0 if cond is None else (cond.float() / 10).reshape(-1, 1, 1, 1)
        return Prediction(x_t, self.schedule.at(t), "x0", 0.3 * x_t.tanh() + level)


def explorers(denoiser):
    x0 = torch.linspace(-1, 1, 128).reshape(2, *SHAPE)
    return {
        "forward": forward_explorer(denoiser, x0, torch.tensor([1, 2])),
        "steps_eta": steps_eta_explorer(denoiser, torch.arange(5), SHAPE),
        "strength": strength_explorer(denoiser, ["a", "b", "c"], SHAPE, pictures=4),
    }


def toy(draw=None, **options):
    def shade(level, size):
        yield None
        yield Frame(np.full((size, size), level, np.uint8), f"rough {level}")
        yield Frame(np.full((size, size), level, np.uint8), f"level {level}")

    controls = [
        Control("level", "Level", (0, 100, 200), start=1),
        Control("size", "Size", (2, 3), ["two", "three"]),
    ]
    return Explorer(draw or shade, controls, title="Toy", alt="A grey square.", **options)


class Sent:
    """Collects what an explorer sends to its views."""

    def __init__(self, explorer, monkeypatch):
        self.messages = []
        monkeypatch.setattr(
            explorer, "send", lambda content, buffers=None: self.messages.append((content, buffers))
        )

    def kinds(self):
        return [content["kind"] for content, _ in self.messages]

    def captions(self):
        return [content["caption"] for content, _ in self.messages if content["kind"] == "frame"]


# The figure as a pure function


@pytest.mark.parametrize("name", ["forward", "steps_eta", "strength"])
def test_same_parameters_give_the_same_frames_whatever_was_drawn_before(name):
    one, other = explorers(Counting())[name], explorers(Counting())[name]
    first, last = (
        one.points[0],
        one.points[-1],
    )  # the last has eta = 1: its fresh noise must be repeatable too

    def drawn(point):
        return [(f.pixels.tobytes(), f.caption) for f in one.frames(**point) if f is not None]

    before = [drawn(first), drawn(last)]
    one.sweep(one.points[1:3])
    assert [drawn(last), drawn(first)] == before[::-1]
    assert all(other.final(**point).png() == one.final(**point).png() for point in (first, last))
    assert before[0][-1][0] != before[1][-1][0]


def test_sweep_covers_the_whole_grid_and_only_once():
    seen = []

    def draw(level, size):
        seen.append((level, size))
        yield Frame(np.zeros((size, size), np.uint8), "")

    frames = toy(draw).sweep()
    assert seen == [(0, 2), (0, 3), (100, 2), (100, 3), (200, 2), (200, 3)]
    assert [f.pixels.shape for f in frames] == [(2, 2), (3, 3)] * 3


@pytest.mark.parametrize("name", ["forward", "steps_eta", "strength"])
def test_every_still_of_the_books_explorers_can_be_drawn(name):
    explorer = explorers(Counting())[name]
    frames = explorer.sweep(explorer.still_points)
    assert len(frames) == len(explorer.still_points) > 1
    assert len({f.pixels.shape for f in frames}) == 1
    assert len({f.caption for f in frames}) >= len(explorer.still_points) // 2


def test_sweep_and_stills_let_exceptions_out(monkeypatch):
    def draw(level, size):
        yield Frame(np.zeros((2, 2), np.uint8), "")
        if (level, size) == (200, 3):
            raise FloatingPointError("the last point fails")

    with pytest.raises(FloatingPointError, match="the last point"):
        toy(draw).sweep()
    monkeypatch.setenv("BOOK_BUILD", "1")
    with pytest.raises(FloatingPointError, match="the last point"):
        toy(draw)


def test_a_drawing_without_a_picture_is_an_error():
    def draw(level, size):
        yield None

    with pytest.raises(ValueError, match="without a picture"):
        toy(draw).final()


# Evaluations


def test_strength_previews_after_exactly_4_evaluations_and_refines_with_20():
    denoiser = Counting()
    explorer = explorers(denoiser)["strength"]
    calls_at = [(len(denoiser.rows), frame) for frame in explorer.frames(w=2.0, label=1)]
    pictures = [(calls, frame) for calls, frame in calls_at if frame is not None]
    assert pictures[0][0] == 4 and "preview" in pictures[0][1].caption
    assert [calls for calls, _ in calls_at][:-1] == list(
        range(1, 24)
    )  # one yield an evaluation, so that each can be interrupted
    assert calls_at[-1][0] == 24 and "w = 2 (scale 1 + w = 3), 20 steps" in pictures[-1][1].caption
    assert set(denoiser.rows) == {8}  # conditional and unconditional rows of 4 pictures, in one batched call


def test_strength_without_guidance_evaluates_the_conditional_rows_alone():
    denoiser = Counting()
    explorers(denoiser)["strength"].final(w=0.0, label=1)
    assert denoiser.rows == [4] * 24


def test_first_frame_stops_at_the_preview():
    denoiser = Counting()
    seconds, frame = first_frame(explorers(denoiser)["strength"], w=1.0)
    assert len(denoiser.rows) == 4 and seconds > 0 and "preview" in frame.caption


@pytest.mark.parametrize("steps", [2, 8, 50])
def test_steps_eta_evaluates_once_a_step_and_says_so(steps):
    denoiser = Counting()
    frame = explorers(denoiser)["steps_eta"].final(steps=steps, eta=0.5)
    assert denoiser.rows == [5] * steps
    assert f"{steps} network evaluations" in frame.caption


def test_eta_matters_and_steps_start_from_one_x_T():
    inputs = []
    schedule = Schedule.cosine(1000)

    def record(x_t, t, cond):
        inputs.append((int(t), x_t.clone()))
        return Prediction(x_t, schedule.at(t), "x0", torch.zeros_like(x_t))

    explorer = steps_eta_explorer(FunctionDenoiser(schedule, record), torch.arange(5), SHAPE)
    explorer.sweep([{"steps": 2, "eta": 0.0}, {"steps": 4, "eta": 1.0}, {"steps": 4, "eta": 0.0}])
    starts = [x for t, x in inputs if t == 1000]
    assert len(starts) == 3 and all(torch.equal(x, starts[0]) for x in starts)
    assert not torch.equal(
        inputs[2 + 1][1], inputs[2 + 4 + 1][1]
    )  # after the first step, eta = 1 against eta = 0


def test_forward_shows_the_denoiser_the_point_on_one_path():
    schedule, seen = Schedule.cosine(1000), {}
    x0 = torch.linspace(-1, 1, 128).reshape(2, *SHAPE)

    def oracle(x_t, t, cond):
        seen[int(t)] = (x_t.clone(), cond)
        return Prediction(x_t, schedule.at(t), "x0", x0[1:])

    explorer = forward_explorer(FunctionDenoiser(schedule, oracle), x0, torch.tensor([3, 7]))
    frames = explorer.sweep([{"t": 100, "picture": 1}, {"t": 900, "picture": 1}])
    noises = [
        (x - schedule.at(t).sqrt() * x0[1:]) / (1 - schedule.at(t)).sqrt() for t, (x, _) in seen.items()
    ]
    assert torch.allclose(noises[0], noises[1], atol=1e-5)  # one eps at every t
    assert all(cond.tolist() == [7] for _, cond in seen.values())
    assert all("error of x0-hat 0.00, of eps-hat 0.00" in f.caption for f in frames)  # the oracle knows both


def test_radial_spectrum_of_a_wave_and_of_white_noise():
    k = 5
    wave = torch.cos(2 * torch.pi * k * torch.arange(28).double() / 28).expand(1, 28, 28)
    spectrum = radial_spectrum(wave)
    assert spectrum.argmax() == k - 1 and np.delete(spectrum, k - 1).max() < 1e-10
    noise = torch.randn(400, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert np.allclose(np.mean([radial_spectrum(n) for n in noise], 0), 1, atol=0.06)


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


# Bad input


def test_unknown_parameters_and_values_are_named():
    explorer = toy()
    with pytest.raises(ValueError, match=r"level must be one of \[0, 100, 200\], got 50"):
        explorer.frames(level=50)
    with pytest.raises(ValueError, match="unknown parameter 'colour'"):
        explorer.frames(colour=1)
    with pytest.raises(ValueError, match="level must be one of"):
        explorer.move(level=50)
    with pytest.raises(ValueError, match="unknown parameter 'colour'"):
        explorer.move(colour=1)


@pytest.mark.parametrize(
    "stills, message",
    [
        ({"hue": (1,)}, "unknown parameter 'hue'"),
        ({"level": (100, 150)}, "got 150"),
        ({"level": (0, 200)}, "must include its starting value 100"),
    ],
)
def test_wrong_stills_are_refused(stills, message):
    with pytest.raises(ValueError, match=message):
        toy(stills=stills)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("a b", "A", (1,)), "identifier"),
        (("a", "A", ()), "at least one value"),
        (("a", "A", (1, 2), ["one"]), "2 values but 1 labels"),
        (("a", "A", (1, 2), None, 2), r"0 \.\. 1, got 2"),
    ],
)
def test_wrong_controls_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Control(*arguments)


def test_two_controls_of_one_name_are_refused():
    with pytest.raises(ValueError, match="different names"):
        Explorer(lambda a: iter(()), [Control("a", "A", (1,)), Control("a", "B", (1,))], title="", alt="")


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_wrong_pixels_are_refused(pixels):
    with pytest.raises(ValueError, match="uint8"):
        Frame(pixels, "")


def test_forward_refuses_another_number_of_names_or_labels():
    x0 = torch.zeros(2, *SHAPE)
    with pytest.raises(ValueError, match="each of the 2 pictures"):
        forward_explorer(Counting(), x0, names=["one"])
    with pytest.raises(ValueError, match="each of the 2 pictures"):
        forward_explorer(Counting(), x0, torch.tensor([1]))


def test_tile_places_pictures_row_by_row_with_white_gaps():
    images = torch.tensor([-1.0, 0.0, 1.0]).reshape(3, 1, 1, 1).expand(3, 1, 2, 2)
    sheet = tile(images, columns=2, gap=1)
    assert sheet.dtype == np.uint8 and sheet.shape == (5, 5)
    assert (sheet[:2, :2] == 0).all() and (sheet[:2, 3:] == 128).all() and (sheet[3:, :2] == 255).all()
    assert (sheet[2] == 255).all() and (sheet[:, 2] == 255).all()
    assert tile(torch.zeros(1, 3, 2, 2), 4).shape == (2, 2, 3)
    with pytest.raises(ValueError, match=r"\(N, 1 or 3, H, W\)"):
        tile(torch.zeros(2, 2, 2, 2), 2)
