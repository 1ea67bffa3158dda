"""The fill-order explorer: swept over its grid, and its numbers against the network asked directly."""

import math
import re

import pytest
import torch

from diffusion_core.explorers.fill_order import GAP, HIDDEN, SHOWN, ZOOM, expected, fill_order_explorer, places
from diffusion_core.pixels import PixelConfig, PixelNet, stages


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = PixelNet(PixelConfig(order="any", channels=8, blocks=2)).eval().requires_grad_(False)
    net.out.weight.normal_(0, 3, generator=torch.Generator().manual_seed(0))
    return net


@pytest.fixture(scope="module")
def pictures():
    return torch.randint(8, (2, 14, 14), generator=torch.Generator().manual_seed(1))


def test_the_whole_grid_can_be_drawn_and_every_move_shows(net, pictures):
    explorer = fill_order_explorer(net, pictures, ["first", "second"])
    frames = explorer.sweep()
    assert len(frames) == 3 * len(SHOWN) * 2 == 48
    side = 2 * 14 * ZOOM + GAP
    assert {frame.pixels.shape for frame in frames} == {(side, side, 3)} and side < 340
    looks = {}
    for point, frame in zip(explorer.points, frames, strict=True):
        blue = (frame.pixels[5:14 * ZOOM:ZOOM, 5:14 * ZOOM:ZOOM] == HIDDEN).all(2).sum()
        assert blue == 196 - point["shown"]
        looks.setdefault(frame.pixels.tobytes(), []).append(tuple(point.values()))
    same = [points for points in looks.values() if len(points) > 1]
    assert all(shown == 0 for points in same for _, shown, _ in points) and len(same) == 1  # with nothing shown the order cannot matter


def test_its_numbers_are_the_networks(net, pictures):
    explorer = fill_order_explorer(net, pictures, ["first", "second"])
    caption = explorer.final(order="coarse", shown=16, picture="second").caption
    doubt, paid = map(float, re.findall(r"(\d+\.\d+) bits", caption))
    hidden = stages("coarse", 14) > 15  # the first 16 stages are one pixel each
    p = net(torch.where(hidden, 8, pictures[1])[None])[0].softmax(0)[:, hidden]
    assert doubt == pytest.approx(float(torch.distributions.Categorical(p.T).entropy().mean()) / math.log(2), abs=0.006)
    assert paid == pytest.approx(float(-p[pictures[1][hidden], torch.arange(180)].log2().mean()), abs=0.006)


def test_shown_pixels_are_certain_and_orders_are_permutations(net, pictures):
    for order in ("raster", "any", "coarse"):
        assert sorted(places(order, 14).flatten().tolist()) == list(range(196))
    assert torch.equal(places("coarse", 14).flatten().argsort()[:4], torch.tensor([15, 19, 23, 27]))
    p = expected(net, pictures[0], places("raster", 14) >= 14)
    assert torch.allclose(p.sum(0), torch.ones(14, 14), atol=1e-5) and torch.equal(p[:, 0].argmax(0), pictures[0, 0]) and float(p[:, 0].max(0)[0].min()) == 1


def test_the_same_point_gives_the_same_picture_and_stills_are_few(net, pictures):
    explorer = fill_order_explorer(net, pictures, ["first", "second"])
    first = explorer.final(shown=49)
    explorer.final(shown=0)
    assert explorer.final(shown=49).pixels.tobytes() == first.pixels.tobytes()
    assert len(explorer.still_points) == 30 and max(len(explorer.final(**point).png(store=True)) for point in explorer.still_points) < 8_000


def test_bad_input_is_named(net, pictures):
    with pytest.raises(ValueError, match="must be one for any order"):
        fill_order_explorer(PixelNet(PixelConfig(channels=4, blocks=1)), pictures, ["a", "b"])
    with pytest.raises(ValueError, match=r"expected 1 pictures"):
        fill_order_explorer(net, pictures, ["a"])
