"""Published checkpoints: the book's `UNet` from and to the layouts of other projects. `hub` downloads one and samples it."""

from .diffusers_layout import from_diffusers, to_diffusers
from .guided_layout import from_guided
from .state import read_state

__all__ = ["from_diffusers", "from_guided", "read_state", "to_diffusers"]
