"""What the tests of explorers share: a denoiser that counts, small explorers, and a stand-in for their views."""

import numpy as np
import torch

from diffusion_core.denoisers import NetworkDenoiser
from diffusion_core.explorers import Control, Explorer, Frame, Pictures, Plot, Series, forward_explorer, steps_eta_explorer, strength_explorer
from diffusion_core.gaussian import Prediction
from diffusion_core.schedules import Schedule

SHAPE = (1, 8, 8)


class Counting:
    """A toy denoiser that leans to a value given by the label and counts its calls and the rows of each."""

    def __init__(self):
        self.schedule, self.rows = Schedule.cosine(1000), []

    def __call__(self, x_t, t, cond=None):
        self.rows.append(len(x_t))
        level = 0.0 if cond is None else (cond.float() / 10).reshape(-1, 1, 1, 1)
        return Prediction(x_t, self.schedule.at(t), "x0", 0.3 * x_t.tanh() + level)


class Student(NetworkDenoiser):
    """A distilled toy network, which takes the guidance weight as an input; it counts its calls as `Counting` does, and keeps their weights."""

    def __init__(self):
        super().__init__(self.count, Schedule.cosine(1000), "x0")
        self.rows, self.weights = [], []

    def count(self, x, t, cond, w):
        self.rows.append(len(x))
        self.weights.append(w.tolist())
        return 0.3 * x.tanh() + ((1 + w) * cond.float() / 10).reshape(-1, 1, 1, 1)


def explorers(teacher, student=None):
    x0 = torch.linspace(-1, 1, 128).reshape(2, *SHAPE)
    return {
        "forward": forward_explorer(teacher, x0, torch.tensor([1, 2])),
        "steps_eta": steps_eta_explorer(teacher, torch.arange(5), SHAPE),
        "strength": strength_explorer(teacher, student or Student(), ["a", "b", "c"], SHAPE, pictures=4),
    }


def grey(level, size=2):
    """A square of one grey."""
    return Pictures(np.full((size, size), level, np.uint8))


def toy(draw=None, **options):
    def shade(level, size):
        yield None
        yield Frame(grey(level, size), f"rough {level}")
        yield Frame(grey(level, size), f"level {level}")

    controls = [
        Control("level", "Level", (0, 100, 200), start=1),
        Control("size", "Size", (2, 3), ["two", "three"]),
    ]
    return Explorer(draw or shade, controls, title="Toy", alt="A grey square.", **options)


def all_kinds():
    """A frame with a panel of every kind: grey and coloured pictures, and a plot with two series and an image behind them."""
    colours = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    series = [Series([1, 2, 3], [0.5, 0.25, 1e-3], "#0072B2", "a line"), Series([2], [0.1], "#000000", style="o", width=1)]
    plot = Plot(series, (0, 4), (1e-3, 1), "time t", "loss", yscale="log", yticks=(1e-3, 1), legend="upper left", image=Pictures(colours[:, :2]))
    return Frame([[grey(7, 3), Pictures(colours, "in colour")], [plot]], "all kinds")


def parts(frame):
    """All of a frame, as plain values that can be compared."""
    message, buffers = frame.message()
    return message, [raw.hex() for raw in buffers]


class Sent:
    """Collects what an explorer sends to its views."""

    def __init__(self, explorer, monkeypatch):
        self.messages = []
        monkeypatch.setattr(
            explorer, "send", lambda content, buffers=None: self.messages.append((content, buffers))
        )

    def kinds(self):
        return [content["kind"] for content, _ in self.messages]

    def captions(self):
        return [content["caption"] for content, _ in self.messages if content["kind"] == "frame"]
