"""What the tests of explorers share: a denoiser that counts, small explorers, and a stand-in for their views."""

import numpy as np
import torch

from diffusion_core.explorers import Control, Explorer, Frame, forward_explorer, steps_eta_explorer, strength_explorer
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


def explorers(denoiser):
    x0 = torch.linspace(-1, 1, 128).reshape(2, *SHAPE)
    return {
        "forward": forward_explorer(denoiser, x0, torch.tensor([1, 2])),
        "steps_eta": steps_eta_explorer(denoiser, torch.arange(5), SHAPE),
        "strength": strength_explorer(denoiser, ["a", "b", "c"], SHAPE, pictures=4),
    }


def toy(draw=None, **options):
    def shade(level, size):
        yield None
        yield Frame(np.full((size, size), level, np.uint8), f"rough {level}")
        yield Frame(np.full((size, size), level, np.uint8), f"level {level}")

    controls = [
        Control("level", "Level", (0, 100, 200), start=1),
        Control("size", "Size", (2, 3), ["two", "three"]),
    ]
    return Explorer(draw or shade, controls, title="Toy", alt="A grey square.", **options)


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
