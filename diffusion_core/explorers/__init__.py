"""Figures with sliders: live in a notebook, stored pictures in the page, a sweep in the tests."""

from .explorer import Explorer, first_frame
from .figure import Control, Frame
from .forward import forward_explorer
from .steps_eta import steps_eta_explorer
from .strength import strength_explorer

__all__ = [
    "Control",
    "Explorer",
    "Frame",
    "first_frame",
    "forward_explorer",
    "steps_eta_explorer",
    "strength_explorer",
]
