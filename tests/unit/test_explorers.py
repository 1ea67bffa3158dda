"""Explorers as pure functions of their parameters: frames, counts of evaluations, and wrong arguments."""

import numpy as np
import pytest
import torch
from explorer_toys import SHAPE, Counting, explorers, toy

from diffusion_core.denoisers import FunctionDenoiser
from diffusion_core.explorers import Control, Explorer, Frame, first_frame, forward_explorer, steps_eta_explorer
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
