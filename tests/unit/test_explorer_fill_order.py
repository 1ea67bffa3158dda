"""The fill-order explorer: swept over its grid, and its numbers against the network asked directly."""

import json
import math
import re

import numpy as np
import pytest
import torch

from diffusion_core.explorers.fill_order import HIDDEN, LIGHT, SHOWN, TITLES, expected, fill_order_explorer, places
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
    looks = {}
    for point, frame in zip(explorer.points, frames, strict=True):
        assert [panel.title for panel in frame.panels] == list(TITLES) and [len(row) for row in frame.rows] == [2, 2]
        seen, mean, doubt, drawn = (panel.pixels for panel in frame.panels)
        hidden, true = (seen == HIDDEN).all(2), (pictures[["first", "second"].index(point["picture"])].numpy() * 255 / 7).round()
        assert hidden.sum() == 196 - point["shown"]
        for shown in (seen[:, :, 0], mean, drawn):
            assert (shown == true)[~hidden].all()
        assert (doubt == LIGHT).all(2)[~hidden].all() and not (doubt == LIGHT).all(2)[hidden].all()
        looks.setdefault(b"".join(panel.pixels.tobytes() for panel in frame.panels), []).append(tuple(point.values()))
    same = [points for points in looks.values() if len(points) > 1]
    assert all(shown == 0 for points in same for _, shown, _ in points) and len(same) == 1  # with nothing shown the order cannot matter


def test_its_numbers_and_pictures_are_the_networks(net, pictures):
    frame = fill_order_explorer(net, pictures, ["first", "second"]).final(order="coarse", shown=16, picture="second")
    doubt, paid = map(float, re.findall(r"(\d+\.\d+) bits", frame.caption))
    hidden = stages("coarse", 14) > 15  # the first 16 stages are one pixel each
    p = net(torch.where(hidden, 8, pictures[1])[None])[0].softmax(0)[:, hidden]
    entropy = torch.distributions.Categorical(p.T).entropy() / math.log(2)
    assert doubt == pytest.approx(float(entropy.mean()), abs=0.006)
    assert paid == pytest.approx(float(-p[pictures[1][hidden], torch.arange(180)].log2().mean()), abs=0.006)
    _, mean, colours, drawn = (panel.pixels[hidden.numpy()].astype(float) for panel in frame.panels)
    np.testing.assert_allclose(mean, (torch.arange(8.0) @ p * 255 / 7).numpy(), atol=0.51)
    np.testing.assert_allclose(colours, (entropy[:, None] / 3 * torch.tensor([213.0, 94, 0]) + (1 - entropy[:, None] / 3) * 255).numpy(), atol=0.51)
    u = torch.rand(14, 14, generator=torch.Generator().manual_seed(1))[hidden]  # always these
    level = torch.from_numpy((drawn * 7 / 255).round()).long()
    edges = torch.cat([torch.zeros(1, 180), p.cumsum(0)]).gather(0, torch.stack([level, level + 1]))
    assert bool((edges[0] < u + 1e-6).all() and (u < edges[1] + 1e-6).all())


def test_shown_pixels_are_certain_and_orders_are_permutations(net, pictures):
    for order in ("raster", "any", "coarse"):
        assert sorted(places(order, 14).flatten().tolist()) == list(range(196))
    assert torch.equal(places("coarse", 14).flatten().argsort()[:4], torch.tensor([15, 19, 23, 27]))
    p = expected(net, pictures[0], places("raster", 14) >= 14)
    assert torch.allclose(p.sum(0), torch.ones(14, 14), atol=1e-5) and torch.equal(p[:, 0].argmax(0), pictures[0, 0]) and float(p[:, 0].max(0)[0].min()) == 1


def test_the_same_point_gives_the_same_picture_and_stills_are_small(net, pictures):
    explorer = fill_order_explorer(net, pictures, ["first", "second"])
    first = explorer.final(shown=49).stored()
    explorer.final(shown=0)
    assert explorer.final(shown=49).stored() == first
    assert len(explorer.still_points) == 30 and sum(len(json.dumps(explorer.final(**point).stored())) for point in explorer.still_points) < 100_000


def test_a_page_gets_an_engine_only_for_shipped_weights(net, pictures):
    assert fill_order_explorer(net, pictures, ["a", "b"]).browser_engine is None
    engine = fill_order_explorer(net, pictures, ["a", "b"], seed=3, shipped="pixels_any").browser_engine
    assert list(engine.networks) == ["pixels_any"] == [engine.options["network"]]
    np.testing.assert_array_equal(engine.arrays["places"], torch.stack([places(order, 14, seed=3) for order in ("raster", "any", "coarse")]))
    np.testing.assert_array_equal(engine.arrays["pictures"], pictures)


def test_bad_input_is_named(net, pictures):
    with pytest.raises(ValueError, match="must be one for any order"):
        fill_order_explorer(PixelNet(PixelConfig(channels=4, blocks=1)), pictures, ["a", "b"])
    with pytest.raises(ValueError, match=r"expected 1 pictures"):
        fill_order_explorer(net, pictures, ["a"])
