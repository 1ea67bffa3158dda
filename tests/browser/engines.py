"""Comparing what a browser computed for an explorer with what Python computes, number by number."""

import base64
import json
import re

import numpy as np

from diffusion_core.explorers import Explorer, Frame, Pictures, Plot

NUMBER = re.compile(r"\d[\d,]*\.?\d*(?:e[+-]?\d+)?")
# The frame an explorer shows once it is at rest, with arrays as base64.
SHOWN = """host => {
  const figure = host.querySelector(".explorer"), canvas = figure.querySelector("canvas");
  const failed = figure.querySelector(".explorer-error");
  if (failed) return { error: failed.textContent };
  if (canvas.hasAttribute("aria-busy")) return null;
  const pack = (a) => { let text = ""; for (const b of new Uint8Array(a.buffer, a.byteOffset, a.byteLength)) text += String.fromCharCode(b); return btoa(text); };
  return JSON.parse(JSON.stringify(figure.frame, (key, value) => (ArrayBuffer.isView(value) ? pack(value) : value)));
}"""
# One slider at least reports a move, so that the frame shown was computed and not stored.
MOVE = """(host, indices) => host.querySelectorAll("input[type=range]").forEach((input, k) => {
  if (k === 0 || input.value != indices[k]) { input.value = indices[k]; input.dispatchEvent(new Event("input")); }
})"""


def place(explorer: Explorer, point: dict) -> list[int]:
    """The indices of the sliders at a point of the grid."""
    return [explorer._controls[name].index(value) for name, value in point.items()]


def shown(page, host) -> dict:
    """The frame of a mounted explorer (element handle) at rest; fails on an error in its place."""
    frame = page.wait_for_function(SHOWN, arg=host).json_value()
    assert "error" not in frame, frame["error"]
    return frame


def assert_same(found: dict, expected: Frame) -> None:
    """The browser's frame has the words of Python's caption, its numbers to 1 %, panels of one make, pictures to one grey level and curves to 1e-3."""
    assert NUMBER.split(found["caption"]) == NUMBER.split(expected.caption), f"{found['caption']!r} for {expected.caption!r}"
    numbers = [[float(n.replace(",", "").rstrip(".")) for n in NUMBER.findall(text)] for text in (found["caption"], expected.caption)]
    np.testing.assert_allclose(*numbers, rtol=0.01, atol=0.011, err_msg=f"{found['caption']!r} for {expected.caption!r}")
    assert [len(row) for row in found["rows"]] == [len(row) for row in expected.rows]
    for panel, wanted in zip((p for row in found["rows"] for p in row), expected.panels, strict=True):
        (_same_pictures if isinstance(wanted, Pictures) else _same_plot)(panel, wanted)


def _same_pictures(panel: dict, wanted: Pictures) -> None:
    pixels = np.frombuffer(base64.b64decode(panel["data"]), np.uint8).reshape(panel["shape"])
    assert panel["title"] == wanted.title and pixels.shape == wanted.pixels.shape
    apart = np.abs(pixels.astype(int) - wanted.pixels)
    assert apart.max() <= 1 and apart.mean() < 0.05, f"pictures differ by up to {apart.max()} levels, {apart.mean():.3f} on average"


def _same_plot(panel: dict, wanted: Plot) -> None:
    plain = json.loads(json.dumps(Frame(wanted, "").message()[0]["rows"][0][0]))
    arrays = {"series", "image"}
    assert {k: v for k, v in panel.items() if k not in arrays} == {k: v for k, v in plain.items() if k not in arrays}
    assert (panel["image"] is None) == (wanted.image is None)
    if wanted.image is not None:
        _same_pictures(panel["image"], wanted.image)
    assert len(panel["series"]) == len(wanted.series)
    for series, one in zip(panel["series"], wanted.series, strict=True):
        assert [series[k] for k in ("colour", "label", "style", "width")] == [one.colour, one.label, one.style, one.width]
        for name, scale, (low, high) in (("x", wanted.xscale, wanted.xlim), ("y", wanted.yscale, wanted.ylim)):
            values = np.frombuffer(base64.b64decode(series[name]), np.float32)
            smallest = {"linear": 1e-3 * (high - low), "log": 1e-3 * low, "symlog": 1e-3 * wanted.linear_below}[scale]
            np.testing.assert_allclose(values, getattr(one, name), rtol=1e-3, atol=smallest, err_msg=f"{name} of series {one.label!r}")


def sample(explorer: Explorer, most: int) -> list[dict]:
    """The whole grid if it has at most so many points; else its two ends, and every value of every control with the others at their start."""
    points = explorer.points
    if len(points) <= most:
        return points
    start = {name: c.values[c.start] for name, c in explorer._controls.items()}
    chosen = [points[0], points[-1], *[start | {name: value} for name, c in explorer._controls.items() for value in c.values]]
    return [point for k, point in enumerate(chosen) if point not in chosen[:k]]
