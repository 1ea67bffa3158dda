"""Figure helpers of the notebooks."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from diffusion_core import plots


@pytest.fixture(autouse=True)
def no_window():
    plt.switch_backend("agg")
    with matplotlib.rc_context():
        yield
    plt.close("all")


def test_show_images_draws_each_picture_once_at_its_place():
    levels = torch.linspace(-1, 1, 5).reshape(5, 1, 1, 1).expand(5, 1, 4, 4)
    plots.show_images(levels, columns=3, titles=["a", "b", "c"], row_titles=["r0", "r1"], title="all")
    axes = plt.gcf().axes
    assert len(axes) == 6
    shown = [float(axis.images[0].get_array().mean()) for axis in axes if axis.images]
    assert np.allclose(shown, [0, 0.25, 0.5, 0.75, 1])
    assert axes[0].images[0].get_clim() == (0, 1)  # not stretched to each picture's own range
    assert [axis.get_title() for axis in axes] == ["a", "b", "c", "", "", ""]
    assert [axes[0].get_ylabel(), axes[3].get_ylabel()] == ["r0", "r1"]


def test_show_images_cuts_off_and_shows_colour():
    plots.show_images(torch.full((1, 3, 2, 2), 7.0))
    array = plt.gcf().axes[0].images[0].get_array()
    assert array.shape == (2, 2, 3) and float(array.max()) == 1.0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"images": torch.zeros(4, 4)}, r"\(4, 4\)"),
        ({"images": torch.zeros(4, 2, 4, 4)}, r"\(4, 2, 4, 4\)"),
        ({"images": torch.zeros(4, 1, 4, 4), "columns": 0}, "at least 1"),
        (
            {"images": torch.zeros(4, 1, 4, 4), "columns": 2, "titles": ["a"]},
            r"2 \(columns\) or 4 \(pictures\) entries, got 1",
        ),
        ({"images": torch.zeros(4, 1, 4, 4), "columns": 2, "row_titles": ["a"]}, "2 entries, got 1"),
    ],
)
def test_show_images_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        plots.show_images(**arguments)


def test_progress_is_silent_in_builds_only(monkeypatch, capsys):
    monkeypatch.setenv("BOOK_BUILD", "1")
    assert list(plots.progress(range(3), "work")) == [0, 1, 2]
    assert capsys.readouterr().err == ""
    monkeypatch.delenv("BOOK_BUILD")
    assert list(plots.progress(range(3), "work")) == [0, 1, 2]
    assert "work" in capsys.readouterr().err


def test_style_cycles_through_distinct_colours_of_the_palette():
    plots.use_style()
    colours = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    assert colours == plots.CYCLE and len(set(colours)) == len(colours)
