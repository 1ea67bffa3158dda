"""What a figure with sliders is made of: its controls, and frames. A frame is data, so that a browser and Python can be compared number by number."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

STYLES = ("-", "--", ":", ".", "o", "area")
SCALES = ("linear", "log", "symlog")


@dataclass(frozen=True, eq=False)
class Pictures:
    """A picture, or many tiled in one: uint8 of shape (H, W) or (H, W, 3). Raises ValueError for another dtype or shape."""

    pixels: np.ndarray
    title: str = ""

    def __post_init__(self) -> None:
        p = self.pixels
        if p.dtype != np.uint8 or p.size == 0 or not (p.ndim == 2 or (p.ndim == 3 and p.shape[2] == 3)):
            raise ValueError(f"pixels must be uint8 of shape (H, W) or (H, W, 3), got {p.dtype} {p.shape}")


@dataclass(frozen=True, eq=False)
class Series:
    """Numbers x and y (N,), kept as float32, in a colour such as "#0072B2"; black takes the colour of the text around it.

    style: a line "-", "--" or ":", small dots ".", large dots "o", or an "area" down to 0; width is that of the line in pixels. Raises
    ValueError for another style and for x and y of different or other shapes.
    """

    x: ArrayLike
    y: ArrayLike
    colour: str
    label: str = ""
    style: str = "-"
    width: float = 2.0

    def __post_init__(self) -> None:
        for name in ("x", "y"):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=np.float32))
        if self.style not in STYLES or self.x.ndim != 1 or self.x.shape != self.y.shape:
            raise ValueError(f"style must be one of {STYLES} and x, y of one shape (N,), got {self.style!r}, {self.x.shape}, {self.y.shape}")


@dataclass(frozen=True, eq=False)
class Plot:
    """Series in a frame of axes. scales: "linear", "log", or "symlog", linear between -linear_below and linear_below.

    ticks name the places that carry numbers (default: chosen by whoever draws), legend the corner of the list of labels ("" for none), height
    is that of the plot over its width; image, uint8 (H, W, 3), fills the frame behind the series. Raises ValueError for another scale.
    """

    series: Sequence[Series]
    xlim: tuple[float, float]
    ylim: tuple[float, float]
    xlabel: str = ""
    ylabel: str = ""
    xscale: str = "linear"
    yscale: str = "linear"
    xticks: Sequence[float] | None = None
    yticks: Sequence[float] | None = None
    linear_below: float = 0.0
    title: str = ""
    legend: str = ""
    height: float = 0.5
    image: Pictures | None = None

    def __post_init__(self) -> None:
        if self.xscale not in SCALES or self.yscale not in SCALES:
            raise ValueError(f"scales must be among {SCALES}, got {self.xscale!r} and {self.yscale!r}")


Panel = Pictures | Plot


@dataclass(frozen=True, eq=False)
class Frame:
    """Panels, one or in rows, and a line of text about them. Kept as a tuple of rows of panels. Raises ValueError for other rows."""

    rows: Panel | Sequence[Sequence[Panel]]
    caption: str

    def __post_init__(self) -> None:
        rows = ((self.rows,),) if isinstance(self.rows, Panel) else tuple(tuple(row) for row in self.rows)
        if not rows or not all(row and all(isinstance(panel, Panel) for panel in row) for row in rows):
            raise ValueError("rows must be a panel, or rows of at least one Pictures or Plot each")
        object.__setattr__(self, "rows", rows)

    @property
    def panels(self) -> list[Panel]:
        """All panels, row by row."""
        return [panel for row in self.rows for panel in row]

    def message(self) -> tuple[dict[str, Any], list[bytes]]:
        """{caption, rows} of plain values for a view, each array being its place in the list of buffers."""
        buffers: list[bytes] = []

        def put(array: np.ndarray) -> int:
            buffers.append(np.ascontiguousarray(array).tobytes())
            return len(buffers) - 1

        return {"caption": self.caption, "rows": [[_plain(panel, put) for panel in row] for row in self.rows]}, buffers

    def stored(self) -> dict[str, Any]:
        """The message with its buffers in it, as base64 text."""
        message, buffers = self.message()
        return message | {"buffers": [base64.b64encode(raw).decode() for raw in buffers]}


def _plain(panel: Panel, put: Any) -> dict[str, Any]:
    if isinstance(panel, Pictures):
        return {"type": "pictures", "title": panel.title, "shape": list(panel.pixels.shape), "data": put(panel.pixels)}
    fields = {name: value for name, value in vars(panel).items() if name not in ("series", "image")}
    series = [{**vars(s), "x": put(s.x), "y": put(s.y)} for s in panel.series]
    return {"type": "plot", **fields, "series": series, "image": panel.image and _plain(panel.image, put)}


@dataclass(frozen=True, eq=False)
class Engine:
    """What a browser needs to compute a figure itself: the module web/figures/NAME.js, the twin of the Python `draw`, and what it is given.

    options are plain values; arrays are numpy arrays (uint8, int32, float32 or float64), which the module gets flat; networks name shipped weights. Raises
    ValueError for arrays of other types.
    """

    module: str
    options: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    networks: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, array in self.arrays.items():
            if str(array.dtype) not in ("uint8", "int32", "float32", "float64"):
                raise ValueError(f"array {name!r} must be uint8, int32, float32 or float64, got {array.dtype}")

    def plain(self) -> dict[str, Any]:
        """The engine as plain values, arrays as {dtype, base64}, options as JSON text: a page may sort the keys of what it embeds."""
        arrays = {name: {"dtype": str(a.dtype), "base64": base64.b64encode(np.ascontiguousarray(a).tobytes()).decode()} for name, a in self.arrays.items()}
        return {"module": self.module, "options": json.dumps(self.options), "arrays": arrays, "networks": list(self.networks)}


@dataclass(frozen=True)
class Control:
    """One slider: the parameter `name` takes one of `values`, shown as `labels` (default: the values),
    starting at values[start].

    Raises ValueError for no values, a name that is no identifier, labels of another number, or a start
    outside the values.
    """

    name: str
    label: str
    values: Sequence[Any]
    labels: Sequence[str] | None = None
    start: int = 0

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"a control's name must be a Python identifier, got {self.name!r}")
        if len(self.values) == 0:
            raise ValueError(f"control {self.name!r} needs at least one value")
        if self.labels is not None and len(self.labels) != len(self.values):
            raise ValueError(
                f"control {self.name!r} has {len(self.values)} values but {len(self.labels)} labels"
            )
        if not 0 <= self.start < len(self.values):
            last = len(self.values) - 1
            raise ValueError(f"control {self.name!r} must start at an index in 0 .. {last}, got {self.start}")

    def index(self, value: Any) -> int:
        """The place of value among the values; raises ValueError for an unknown one."""
        if value not in self.values:
            raise ValueError(f"{self.name} must be one of {list(self.values)}, got {value!r}")
        return list(self.values).index(value)
