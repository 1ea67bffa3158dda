"""A frame as a PNG file: what editions of the book that cannot move show in an explorer's place."""

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .figure import Frame, Panel, Pictures, Plot

WIDTH, DPI = 4.8, 100  # inches


def png(frame: Frame) -> bytes:
    """The frame's panels, without its caption, 480 pixels wide."""
    heights = [max(_height(panel) / len(row) for panel in row) for row in frame.rows]
    figure = Figure(figsize=(WIDTH, WIDTH * sum(heights)), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    for part, row in zip(np.atleast_1d(figure.subfigures(len(frame.rows), 1, height_ratios=heights)), frame.rows, strict=True):
        for axis, panel in zip(np.atleast_1d(part.subplots(1, len(row))), row, strict=True):
            axis.set_title(panel.title, fontsize=12)
            if isinstance(panel, Pictures):
                axis.imshow(panel.pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
                axis.set_axis_off()
            else:
                _draw(axis, panel)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _height(panel: Panel) -> float:
    """Over the panel's width, with room for a title."""
    own = panel.height if isinstance(panel, Plot) else panel.pixels.shape[0] / panel.pixels.shape[1]
    return own + (0.1 if panel.title else 0)


def _draw(axis, plot: Plot) -> None:
    for s in plot.series:
        style = {"ls": "", "marker": s.style, "ms": 2.5 if s.style == "." else 9} if s.style in ".o" else {"ls": s.style}
        if s.style == "area":
            axis.fill_between(s.x, s.y, color=s.colour, alpha=0.25, lw=0, label=s.label or None)
        else:
            axis.plot(s.x, s.y, color=s.colour, lw=s.width, label=s.label or None, **style)
    for name, scale, limits, ticks in (("x", plot.xscale, plot.xlim, plot.xticks), ("y", plot.yscale, plot.ylim, plot.yticks)):
        getattr(axis, f"set_{name}scale")(scale, **({"linthresh": plot.linear_below, "linscale": 0.45} if scale == "symlog" else {}))
        getattr(axis, f"set_{name}lim")(limits)
        if ticks is not None:
            getattr(axis, f"set_{name}ticks")(ticks, [f"{tick:g}" for tick in ticks], minor=False)
    if plot.image is not None:
        place = axis.inset_axes((0, 0, 1, 1), zorder=0)
        place.imshow(plot.image.pixels, aspect="auto", interpolation="nearest")
        place.set_axis_off()
    axis.set_xlabel(plot.xlabel)
    axis.set_ylabel(plot.ylabel)
    if plot.legend:
        axis.legend(loc=plot.legend, fontsize=9, frameon=False)
