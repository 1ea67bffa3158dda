"""One figure, three uses: live in a notebook, computed by the browser in a page, a sweep in a test."""

import asyncio
import base64
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from ..plots import building_book
from .figure import Control, Engine, Frame
from .render import png

WEB = Path(__file__).with_name("web")

# Between two steps of a drawing the event loop gets this many seconds to take in newer moves: a message
# passes through several callbacks, and a bare sleep(0), which runs one round of them, would be too short.
BREATH = 0.001


class Explorer(anywidget.AnyWidget):
    """A figure as a pure function of its parameters, with a declared grid of values.

    draw(**params) yields frames from the first rough one to the final one. After every step of work it
    yields, either a Frame or None (nothing new to show), so that a newer move can interrupt it. The same
    parameters must always give the same frames.

    engine says how a page computes the figure in the reader's browser. stills names, for some controls, the values
    (default: all) of which a page holds frames computed beforehand, for browsers that cannot compute; they are drawn
    on construction when the book is being built, and only then. alt describes the figure for those who cannot see it.
    `completed` and `cancelled` count the runs that a move of a slider started. Raises ValueError for stills that are
    no values of their control or lack its starting value.
    """

    _esm = "\n".join((WEB / name).read_text("utf8") for name in ("draw.js", "explorer.js"))
    _css = WEB / "explorer.css"

    title = traitlets.Unicode().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)
    # What a view and a browser's engine need of each control: {name, label, values, labels, stills: indices of the values with a still}.
    controls = traitlets.List().tag(sync=True)
    indices = traitlets.List(traitlets.Int()).tag(sync=True)  # where each slider stands
    stills = traitlets.Dict().tag(sync=True)  # "2,0" (indices) -> Frame.stored()
    engine = traitlets.Dict(allow_none=True).tag(sync=True)  # Engine.plain(); only in a page, where no kernel computes

    def __init__(
        self,
        draw: Callable[..., Iterator[Frame | None]],
        controls: Sequence[Control],
        *,
        title: str,
        alt: str,
        engine: Engine | None = None,
        stills: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        self._draw, self._controls, self.browser_engine = draw, {control.name: control for control in controls}, engine
        if len(self._controls) != len(controls):
            raise ValueError(f"controls must have different names, got {[c.name for c in controls]}")
        self._still_values = self._check_stills(stills or {})
        self.completed = self.cancelled = self._runs = 0
        self.task: asyncio.Task | None = None
        super().__init__(
            title=title,
            alt=alt,
            controls=[self._describe(control) for control in controls],
            indices=[control.start for control in controls],
            stills=self._draw_stills() if building_book() else {},
            engine=engine.plain() if engine is not None and building_book() else None,
        )
        self.on_msg(self._receive)
        self.observe(lambda change: self._start(), names="indices")

    def __repr__(self) -> str:
        # No address and no model id: the notebook's stored text output must not change.
        return f"Explorer({self.title!r})"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The widget; in a book also a picture of its start, for editions that cannot move."""
        data, metadata = super()._repr_mimebundle_(**options)
        if self.stills:
            data["image/png"] = base64.b64encode(png(self.final())).decode()
        return data, metadata

    # The figure as a pure function

    @property
    def points(self) -> list[dict[str, Any]]:
        """Every combination of the controls' values."""
        return self._grid({name: control.values for name, control in self._controls.items()})

    @property
    def still_points(self) -> list[dict[str, Any]]:
        """The combinations that the page without a kernel shows."""
        return self._grid(self._still_values)

    def frames(self, **params: Any) -> Iterator[Frame | None]:
        """What draw yields at these parameters (those not given: at their start).

        Raises ValueError for an unknown name or value.
        """
        self._check_names(params)
        for name, value in params.items():
            self._controls[name].index(value)
        starts = {name: control.values[control.start] for name, control in self._controls.items()}
        return self._draw(**starts | params)

    def final(self, **params: Any) -> Frame:
        """The last frame at these parameters; raises ValueError if the drawing ends without one."""
        frame = None
        for frame in self.frames(**params):
            pass
        if frame is None:
            raise ValueError(f"{self!r} ends without a picture at {params}")
        return frame

    def sweep(self, points: Iterable[Mapping[str, Any]] | None = None) -> list[Frame]:
        """The final frame at every given point (default: the whole grid).

        This is the test of a figure: an exception anywhere gets out.
        """
        return [self.final(**point) for point in (self.points if points is None else points)]

    # Live, in a notebook

    def move(self, **params: Any) -> asyncio.Task:
        """Set sliders to these values, as a reader does, and draw; returns the running task.

        Needs a running event loop. Raises ValueError for an unknown name or value.
        """
        self._check_names(params)
        indices = [
            control.index(params[name]) if name in params else index
            for (name, control), index in zip(self._controls.items(), self.indices, strict=True)
        ]
        if indices == self.indices:
            return self._start()
        self.indices = indices
        return self.task

    def _receive(self, _: Any, content: Any, buffers: Any) -> None:
        if content == "ready":  # a view has appeared and has no picture yet
            self._start()

    def _start(self) -> asyncio.Task:
        self._runs += 1  # every older run stops at its next step, whichever thread of the kernel it is in
        self.task = asyncio.get_running_loop().create_task(self._run(self._runs))
        return self.task

    async def _run(self, run: int) -> None:
        try:
            params = {
                name: c.values[i] for (name, c), i in zip(self._controls.items(), self.indices, strict=True)
            }
            with closing(self.frames(**params)) as frames:
                await asyncio.sleep(BREATH)
                while run == self._runs:
                    frame = next(frames, self)
                    if frame is self:
                        self.send({"kind": "done"})
                        self.completed += 1
                        return
                    if frame is not None:
                        message, buffers = frame.message()
                        self.send({"kind": "frame", **message}, buffers=buffers)
                    await asyncio.sleep(BREATH)
                self.cancelled += 1
        except Exception as error:
            self.send({"kind": "error", "message": f"{type(error).__name__}: {error}"})
            self.log.exception("%r failed", self)
            raise

    # Still, in a page

    def _draw_stills(self) -> dict[str, dict[str, Any]]:
        return {",".join(str(self._controls[name].index(value)) for name, value in point.items()): self.final(**point).stored() for point in self.still_points}

    def _check_stills(self, stills: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        self._check_names(stills)
        for name, values in stills.items():
            control = self._controls[name]
            for value in values:
                control.index(value)
            start = control.values[control.start]
            if start not in values:
                raise ValueError(f"the stills of {name!r} must include its starting value {start!r}")
        return {name: stills.get(name, control.values) for name, control in self._controls.items()}

    def _check_names(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._controls:
                raise ValueError(f"unknown parameter {name!r}: this explorer has {list(self._controls)}")

    def _describe(self, control: Control) -> dict[str, Any]:
        labels = control.values if control.labels is None else control.labels
        return {
            "name": control.name,
            "label": control.label,
            "values": list(control.values),
            "labels": [str(label) for label in labels],
            "stills": sorted(control.index(value) for value in self._still_values[control.name]),
        }

    @staticmethod
    def _grid(values: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
        return [dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())]


def first_frame(explorer: Explorer, **params: Any) -> tuple[float, Frame]:
    """Seconds until the first frame is ready to be sent, and that frame."""
    start = time.perf_counter()
    with closing(explorer.frames(**params)) as frames:
        frame = next(frame for frame in frames if frame is not None)
        frame.message()
        return time.perf_counter() - start, frame
