"""Frames as PNG files: their size, and everything in its place, found by its colour."""

import io

import numpy as np
import pytest
from PIL import Image

from diffusion_core.explorers import Frame, Pictures, Plot, Series
from diffusion_core.explorers.figure import SCALES, STYLES
from diffusion_core.explorers.render import WIDTH, png

RED, GREEN, BLUE = "#ff0000", "#00ff00", "#0000ff"
SIDE = round(WIDTH * 100)


def drawn(*rows) -> np.ndarray:
    """The frame's PNG, uint8 (H, W, 3)."""
    return np.asarray(Image.open(io.BytesIO(png(Frame(rows, "")))).convert("RGB"))


def of_colour(picture, colour) -> np.ndarray:
    """Where the picture has exactly this colour, bool (H, W)."""
    return (picture == [int(colour[k : k + 2], 16) for k in (1, 3, 5)]).all(-1)


def centre(picture, colour) -> np.ndarray:
    """The middle of all that has this colour, (x, y) in pixels."""
    ys, xs = of_colour(picture, colour).nonzero()
    assert len(xs) > 20, f"nothing is {colour}"
    return np.array([xs.mean(), ys.mean()])


def dots(points, **axes) -> list[np.ndarray]:
    """Centres, in pixels, of a red, a green and a blue dot at these places of one plot."""
    series = [Series([x], [y], colour, style="o") for (x, y), colour in zip(points, (RED, GREEN, BLUE), strict=True)]
    picture = drawn([Plot(series, **axes)])
    return [centre(picture, colour) for colour in (RED, GREEN, BLUE)]


def share(one, middle, other) -> np.ndarray:
    """How far middle is on the way from one to other, in x and in y."""
    return (middle - one) / (other - one)


def test_the_size_is_that_of_the_panels():
    square, plot = Pictures(np.zeros((8, 8), np.uint8)), Plot([], (0, 1), (0, 1), height=0.5)
    assert drawn([square]).shape == (SIDE, SIDE, 3)
    assert drawn([plot]).shape == (SIDE // 2, SIDE, 3)
    assert drawn([square, square]).shape == (SIDE // 2, SIDE, 3)  # side by side
    assert drawn([square, plot], [plot]).shape == (SIDE, SIDE, 3)  # a row is as high as its highest panel
    assert len(drawn([Plot([], (0, 1), (0, 1), title="A title")])) == pytest.approx(SIDE * 0.6, abs=1)  # room for a title


def test_pictures_are_shown_pixel_by_pixel_in_reading_order():
    pixels = np.array([[20, 60, 120], [180, 240, 250]], np.uint8)  # neither black nor white, so that nothing stretches them
    for shown in (pixels, pixels[..., None].repeat(3, 2)):
        sheet = drawn([Pictures(shown)], [Plot([], (0, 1), (0, 1))])
        levels = {level: (abs(sheet.astype(int) - level) <= 1).all(-1) for level in (60, 120, 180, 240)}
        assert all(where.sum() > 5000 for where in levels.values())  # in large blocks, their levels kept
        at = {level: np.array([axis.mean() for axis in where.nonzero()]) for level, where in levels.items()}
        assert abs(at[60][0] - at[120][0]) < 2 and at[60][1] < at[120][1] - 50
        assert abs(at[60][1] - at[240][1]) < 2 and at[60][0] < at[240][0] - 50
    rainbow = drawn([Pictures(np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8))])
    assert centre(rainbow, RED)[0] < centre(rainbow, GREEN)[0] - 50


def test_panels_stand_in_rows():
    red, green, blue = (Pictures(np.full((4, 4, 3), colour, np.uint8)) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255)))
    sheet = drawn([red, green], [blue])
    places = [centre(sheet, colour) for colour in (RED, GREEN, BLUE)]
    assert places[0][0] < places[1][0] - 100 and abs(places[0][1] - places[1][1]) < 2  # one row
    assert places[2][1] > places[0][1] + 100 and abs(places[2][0] - SIDE / 2) < 5  # the next, in the middle


def test_linear_axes():
    assert share(*dots([(0, 0), (25, 0.5), (100, 2)], xlim=(-10, 110), ylim=(-1, 3))) == pytest.approx([0.25, 0.25], abs=0.01)
    one, _, other = dots([(0, 0), (25, 0.5), (100, 2)], xlim=(-10, 110), ylim=(-1, 3))
    assert one[0] < other[0] - 200 and one[1] > other[1] + 60  # y points upwards


def test_logarithmic_axes():
    axes = {"xlim": (0.5, 200), "ylim": (1e-5, 10), "xscale": "log", "yscale": "log"}
    assert share(*dots([(1, 1e-4), (10, 1e-3), (100, 1)], **axes)) == pytest.approx([1 / 2, 1 / 4], abs=0.01)


def test_an_axis_linear_near_0_and_logarithmic_beyond():
    axes = {"xlim": (0, 1), "ylim": (-1e-3, 2), "yscale": "symlog", "linear_below": 1e-3}
    one, middle, other = dots([(0.2, 0), (0.4, 1e-3), (0.8, 1)], **axes)
    assert share(one, middle, other)[1] == pytest.approx(0.5 / 3.5, abs=0.02)  # the linear part takes about half a decade
    assert share(*dots([(0.2, 0), (0.4, 5e-4), (0.8, 1e-3)], **axes | {"ylim": (-2e-3, 2e-3)}))[1] == pytest.approx(0.5, abs=0.02)
    assert share(*dots([(0.2, 1e-2), (0.4, 1e-1), (0.8, 1)], **axes))[1] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("style", STYLES)
def test_every_style_on_every_scale(style, scale):
    """Marks between the first and the last point, and nowhere else but below an area."""
    x = np.linspace(2, 60, 30)
    axes = {"xlim": (0.5, 120), "ylim": (0.5, 120), "xscale": scale, "yscale": scale, "linear_below": 1.0}
    one, _, other = dots([(2, 2), (10, 10), (60, 60)], **axes)
    picture = drawn([Plot([Series(x, x, RED, style=style)], **axes)]).astype(int)
    ys, xs = (picture[..., 0] - picture[..., 1] > 30).nonzero()
    reach = 8 if style == "o" else 4
    assert [xs.min(), xs.max(), ys.min()] == pytest.approx([one[0], other[0], other[1]], abs=reach)
    assert ys.max() > one[1] + 10 if style == "area" and scale != "linear" else ys.max() == pytest.approx(one[1], abs=reach)


def test_styles_differ_as_they_should():
    def ink(style, width=3):
        line = Series(np.linspace(0, 1, 20), np.full(20, 0.5), RED, "", style, width)
        picture = drawn([Plot([line], (0, 1), (0, 1))]).astype(int)
        return (picture[..., 0] - picture[..., 1] > 30).nonzero()

    rows = {style: ink(style)[0] for style in STYLES}
    amount = {style: len(at) for style, at in rows.items()}
    assert amount["-"] > 1.2 * amount["--"] > 1.2 * amount[":"] and amount["o"] > 3 * amount["."]
    assert len(ink("-", 6)[0]) == pytest.approx(2 * amount["-"], rel=0.25)
    middle = rows["-"].mean()
    assert rows["area"].min() == pytest.approx(middle, abs=2) and rows["area"].max() > middle + 60  # from the line down to 0
    assert all(abs(rows[style].mean() - middle) < 1 for style in ("--", ":", ".", "o"))


def test_titles_labels_and_the_corner_of_the_legend_are_there():
    def ink(**axes):
        return (drawn([Plot([Series([0, 1], [2, 2], RED, "a label")], (0, 1), (0, 1), **axes)]) < 128).all(-1)  # the line itself lies outside

    bare = ink()
    assert ink(xlabel="time").sum() > bare.sum() and ink(ylabel="loss").sum() > bare.sum()
    assert not bare[:4].any() and ink(title="A title")[:30, SIDE // 3 : -SIDE // 3].sum() > 30
    for corner in ("upper left", "upper right", "lower left", "lower right"):
        inside = ink(legend=corner)[10:-40, 60:-20]
        inside[:, [0, -1]] = False
        ys, xs = inside.nonzero()
        assert (ys.mean() > len(inside) / 2) == corner.startswith("lower") and (xs.mean() > inside.shape[1] / 2) == corner.endswith("right")
        assert len(xs) > 30 and not bare[10:-40, 60:-20].any()
    with_title, without = (drawn([Pictures(np.full((4, 8), 255, np.uint8), title)]) for title in ("t = 500", ""))
    assert (with_title < 128).all(-1)[:30].sum() > 30 and not (without < 128).any()


@pytest.mark.parametrize("tick", [1, 100])
def test_a_tick_carries_its_number_at_its_place(tick):
    plot = Plot([Series([tick], [0.5], RED, style="o")], (0.1, 1000), (0, 1), xscale="log", xticks=(tick,), yticks=())
    picture = drawn([plot])
    number = (picture[-16:] < 128).all(-1).nonzero()[1]  # all that is written below the axis
    assert len(number) > 8 and number.mean() == pytest.approx(centre(picture, RED)[0], abs=3) and np.ptp(number) < 40


def test_an_image_fills_the_frame_behind_the_series():
    image = Pictures(np.full((5, 5, 3), (0, 255, 0), np.uint8))
    plot = Plot([Series([0.25], [0.75], RED, style="o")], (0, 1), (0, 1), image=image)
    picture = drawn([plot])
    ys, xs = of_colour(picture, GREEN).nonzero()
    assert len(xs) > 0.95 * (np.ptp(xs) + 1) * (np.ptp(ys) + 1) > 40_000
    at = centre(picture, RED)
    assert (at[0] - xs.min()) / np.ptp(xs) == pytest.approx(0.25, abs=0.01) and (at[1] - ys.min()) / np.ptp(ys) == pytest.approx(0.25, abs=0.01)
