"""What a figure with sliders is made of: its frames and its controls."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture, uint8 of shape (H, W) or (H, W, 3), and a line of text about it.

    Raises ValueError for another dtype or shape.
    """

    pixels: np.ndarray
    caption: str

    def __post_init__(self) -> None:
        p = self.pixels
        if p.dtype != np.uint8 or p.size == 0 or not (p.ndim == 2 or (p.ndim == 3 and p.shape[2] == 3)):
            raise ValueError(f"pixels must be uint8 of shape (H, W) or (H, W, 3), got {p.dtype} {p.shape}")

    def png(self, store: bool = False) -> bytes:
        """The picture as a PNG file: exact and quick to make, or (store) small, with at most 256 colours."""
        image, buffer = Image.fromarray(self.pixels), io.BytesIO()
        if store and image.mode == "RGB":
            image = image.quantize(256, dither=Image.Dither.NONE)
        image.save(buffer, "PNG", compress_level=9 if store else 1)
        return buffer.getvalue()


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
