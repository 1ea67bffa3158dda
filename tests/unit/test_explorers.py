"""Explorers as pure functions of their parameters: frames, counts of evaluations, and wrong arguments."""

import base64
import json

import numpy as np
import pytest
import torch
from explorer_toys import SHAPE, Counting, Student, all_kinds, explorers, grey, parts, toy

from diffusion_core.denoisers import FunctionDenoiser
from diffusion_core.explorers import (
    Control,
    Engine,
    Explorer,
    Frame,
    Pictures,
    Plot,
    Series,
    first_frame,
    forward_explorer,
    steps_eta_explorer,
)
from diffusion_core.explorers.forward import radial_spectrum
from diffusion_core.explorers.pictures import tile
from diffusion_core.gaussian import Prediction
from diffusion_core.schedules import Schedule

# The figure as a pure function


@pytest.mark.parametrize("name", ["forward", "steps_eta", "strength"])
def test_same_parameters_give_the_same_frames_whatever_was_drawn_before(name):
    one, other = explorers(Counting())[name], explorers(Counting())[name]
    first, last = (
        one.points[0],
        one.points[-1],
    )  # the last has eta = 1: its fresh noise must be repeatable too

    def drawn(point):
        return [parts(f) for f in one.frames(**point) if f is not None]

    before = [drawn(first), drawn(last)]
    one.sweep(one.points[1:3])
    assert [drawn(last), drawn(first)] == before[::-1]
    assert all(parts(other.final(**point)) == parts(one.final(**point)) for point in (first, last))
    assert before[0][-1][1] != before[1][-1][1]


def test_sweep_covers_the_whole_grid_and_only_once():
    seen = []

    def draw(level, size):
        seen.append((level, size))
        yield Frame(grey(level, size), "")

    frames = toy(draw).sweep()
    assert seen == [(0, 2), (0, 3), (100, 2), (100, 3), (200, 2), (200, 3)]
    assert [(f.panels[0].pixels.shape, f.panels[0].pixels[0, 0]) for f in frames] == [((size, size), level) for level, size in seen]


@pytest.mark.parametrize("name", ["forward", "steps_eta", "strength"])
def test_every_still_of_the_books_explorers_can_be_drawn(name):
    explorer = explorers(Counting())[name]
    frames = explorer.sweep(explorer.still_points)
    assert len(frames) == len(explorer.still_points) > 1
    assert len({tuple(map(len, f.message()[1])) for f in frames}) == 1  # every array is of one size throughout
    assert len({f.caption for f in frames}) >= len(explorer.still_points) // 2


def test_sweep_and_stills_let_exceptions_out(monkeypatch):
    def draw(level, size):
        yield Frame(grey(0), "")
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


@pytest.mark.parametrize(("who", "rows"), [("student", 4), ("teacher", 8)])  # 8: conditional and unconditional rows, in one batched call
def test_strength_previews_after_exactly_4_evaluations_and_refines_with_20(who, rows):
    networks = {"teacher": Counting(), "student": Student()}
    explorer = explorers(**networks)["strength"]
    calls_at = [(len(networks[who].rows), frame) for frame in explorer.frames(w=2.0, label=1, who=who)]
    assert [calls for calls, _ in calls_at] == list(range(1, 25))  # one yield an evaluation, so that each can be interrupted
    pictures = [(calls, frame) for calls, frame in calls_at if frame is not None]
    assert pictures[0][0] == 4 and all("preview" in frame.caption for _, frame in pictures[:-1])
    assert "w = 2 (scale 1 + w = 3), 20 steps" in pictures[-1][1].caption
    seen = [frame.panels[0].pixels.tobytes() for _, frame in pictures]
    assert len(set(seen)) == 2 and seen[0] == seen[-2] != seen[-1]  # the preview stays until the picture is there
    assert {name: set(network.rows) for name, network in networks.items()} == {"teacher": set(), "student": set()} | {who: {rows}}


def test_strength_asks_the_student_for_the_weight_of_the_slider():
    student = Student()
    explorer = explorers(Counting(), student)["strength"]
    clear = explorer.final(w=0.0, label=2).panels[0].pixels.mean()
    assert explorer.final(w=4.0, label=2).panels[0].pixels.mean() > clear + 20
    assert student.weights == [[0.0] * 4] * 24 + [[4.0] * 4] * 24


def test_strength_without_guidance_evaluates_the_conditional_rows_alone():
    denoiser = Counting()
    explorers(denoiser)["strength"].final(w=0.0, label=1, who="teacher")
    assert denoiser.rows == [4] * 24


def test_first_frame_stops_at_the_preview():
    student = Student()
    seconds, frame = first_frame(explorers(Counting(), student)["strength"], w=1.0)
    assert len(student.rows) == 4 and seconds > 0 and "preview" in frame.caption


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
    for frame, (t, (x_t, _)) in zip(frames, seen.items(), strict=True):
        (noised, clean, noise), (spectra,) = frame.rows
        for panel, expected in ((noised, x_t), (clean, x0[1:]), (noise, noises[0])):
            assert np.abs(panel.pixels.astype(int) - tile(expected, 1)).max() <= 1
        before, now, level = spectra.series
        assert [s.x.tolist() for s in (before, now)] == [[1, 2, 3, 4]] * 2 and level.y.tolist() == [1, 1]
        assert before.y == pytest.approx(radial_spectrum(x0[1]), rel=1e-6) and now.y == pytest.approx(radial_spectrum(x_t[0]), rel=1e-6)


def test_radial_spectrum_of_a_wave_and_of_white_noise():
    k = 5
    wave = torch.cos(2 * torch.pi * k * torch.arange(28).double() / 28).expand(1, 28, 28)
    spectrum = radial_spectrum(wave)
    assert spectrum.argmax() == k - 1 and np.delete(spectrum, k - 1).max() < 1e-10
    noise = torch.randn(400, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert np.allclose(np.mean([radial_spectrum(n) for n in noise], 0), 1, atol=0.06)


# What a frame holds, and what becomes of it on its way to a browser


def rebuilt(message, buffers):
    """The panels of a message, made again from its bytes."""

    def pictures(p):
        return p and Pictures(np.frombuffer(buffers[p["data"]], np.uint8).reshape(p["shape"]), p["title"])

    def plot(p):
        series = [Series(**s | {"x": np.frombuffer(buffers[s["x"]], np.float32), "y": np.frombuffer(buffers[s["y"]], np.float32)}) for s in p["series"]]
        return Plot(**{k: v for k, v in p.items() if k != "type"} | {"series": series, "image": pictures(p["image"])})

    kinds = {"pictures": pictures, "plot": plot}
    return Frame([[kinds[panel["type"]](panel) for panel in row] for row in message["rows"]], message["caption"])


def test_a_message_holds_all_of_a_frame():
    frame = all_kinds()
    message, buffers = frame.message()
    assert set(message) == {"caption", "rows"} and message["caption"] == "all kinds"
    assert [[panel["type"] for panel in row] for row in message["rows"]] == [["pictures", "pictures"], ["plot"]]
    (one, two), (plot,) = message["rows"]
    assert one["shape"] == [3, 3] and buffers[one["data"]] == b"\7" * 9
    assert (two["shape"], two["title"]) == ([2, 4, 3], "in colour") and buffers[two["data"]] == bytes(range(24))
    assert buffers[plot["image"]["data"]] == bytes([*range(6), *range(12, 18)])  # a view of an array that is not in one piece
    line, dot = plot["series"]
    assert np.frombuffer(buffers[line["x"]], "<f4").tolist() == [1, 2, 3] and np.frombuffer(buffers[dot["y"]], "<f4") == np.float32(0.1)
    assert (line["label"], line["colour"], line["style"], line["width"], dot["style"], dot["width"]) == ("a line", "#0072B2", "-", 2.0, "o", 1)
    assert (plot["yscale"], plot["yticks"], plot["xticks"], plot["xlim"], plot["legend"]) == ("log", (1e-3, 1), None, (0, 4), "upper left")
    assert parts(rebuilt(message, buffers)) == parts(frame)


def test_a_stored_frame_is_plain_text_and_holds_the_same():
    frame = all_kinds()
    stored = json.loads(json.dumps(frame.stored()))
    buffers = [base64.b64decode(text) for text in stored.pop("buffers")]
    assert buffers == frame.message()[1] and stored == json.loads(json.dumps(frame.message()[0]))


@pytest.mark.parametrize("name", ["forward", "steps_eta", "strength"])
def test_the_books_frames_can_be_stored(name):
    frame = explorers(Counting())[name].final()
    stored = json.loads(json.dumps(frame.stored()))
    assert [len(base64.b64decode(text)) for text in stored["buffers"]] == [len(raw) for raw in frame.message()[1]] and len(stored["buffers"]) > 0


def test_a_lone_panel_is_a_row_and_panels_come_row_by_row():
    one, two, three = (grey(k) for k in range(3))
    assert Frame(one, "").rows == ((one,),)
    assert Frame([[one, two], [three]], "").panels == [one, two, three] and Frame([[one], [two, three]], "").rows == ((one,), (two, three))


@pytest.mark.parametrize("rows", [[], [[]], [[grey(1)], []], np.zeros((2, 2), np.uint8), [grey(1)]])
def test_rows_that_are_no_panels_are_refused(rows):
    with pytest.raises((ValueError, TypeError), match="rows must be a panel|not iterable"):
        Frame(rows, "")


def test_series_keep_float32_of_whatever_numbers_they_are_given():
    for values in ([1, 2, 4], range(1, 4), torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64), np.arange(9, dtype=np.int64)[::3]):
        series = Series(values, values, "#0072B2")
        assert series.x.dtype == series.y.dtype == np.float32 and series.x.flags.c_contiguous
        assert series.x.tolist() == [float(value) for value in values]


def test_an_engine_as_plain_values():
    arrays = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.arange(4, dtype=np.int32), "c": np.array([255, 0], np.uint8), "d": np.array([0.5], np.float32)}
    plain = json.loads(json.dumps(Engine("strength", {"pictures": 9, "names": ("x", "y")}, arrays, ("fashion", "fashion_guided")).plain()))
    assert plain["module"] == "strength" and json.loads(plain["options"]) == {"pictures": 9, "names": ["x", "y"]} and plain["networks"] == ["fashion", "fashion_guided"]
    assert {name: packed["dtype"] for name, packed in plain["arrays"].items()} == {"a": "float64", "b": "int32", "c": "uint8", "d": "float32"}
    for name, array in arrays.items():
        assert np.frombuffer(base64.b64decode(plain["arrays"][name]["base64"]), plain["arrays"][name]["dtype"]).tolist() == array.ravel().tolist()
    assert Engine("forward").plain() == {"module": "forward", "options": "{}", "arrays": {}, "networks": []}


@pytest.mark.parametrize("dtype", ["int64", "float16", "bool", "uint16"])
def test_arrays_that_no_page_can_read_are_refused(dtype):
    with pytest.raises(ValueError, match=f"array 'x' must be uint8, int32, float32 or float64, got {dtype}"):
        Engine("forward", arrays={"fine": np.zeros(1), "x": np.zeros(2, dtype)})


@pytest.mark.parametrize(
    ("x", "y", "style", "message"),
    [
        ([1, 2], [1, 2], "-.", "'-.'"),
        ([1, 2], [1, 2, 3], "-", r"\(2,\), \(3,\)"),
        ([[1, 2]], [[1, 2]], "-", r"\(1, 2\)"),
    ],
)
def test_wrong_series_are_refused(x, y, style, message):
    with pytest.raises(ValueError, match=message):
        Series(x, y, "#0072B2", style=style)


@pytest.mark.parametrize("scales", [{"xscale": "sqrt"}, {"yscale": "logit"}])
def test_wrong_scales_are_refused(scales):
    with pytest.raises(ValueError, match="scales must be among .*'symlog'.*got .*" + next(iter(scales.values()))):
        Plot([], (0, 1), (0, 1), **scales)


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
        Pictures(pixels)


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
