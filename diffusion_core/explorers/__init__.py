"""Explorers: figures with sliders that compute in a notebook, show stored pictures in the page, and are swept by the tests."""

from .explorer import Control, Explorer, Frame, first_frame
from .forward import forward_explorer
from .steps_eta import steps_eta_explorer
from .strength import strength_explorer

__all__ = ["Control", "Explorer", "Frame", "first_frame", "forward_explorer", "steps_eta_explorer", "strength_explorer"]
