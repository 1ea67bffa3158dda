"""From tensors to the pixels of a frame."""

import numpy as np
from torch import Tensor

WHITE = 255


def to_pixels(images: Tensor) -> np.ndarray:
    """Pictures (N, C, H, W) in [-1, 1] as uint8 (N, H, W, C); values outside are cut off."""
    return images.clamp(-1, 1).add(1).mul(127.5).round().byte().movedim(1, -1).cpu().numpy()


def tile(images: Tensor, columns: int, gap: int = 2) -> np.ndarray:
    """Pictures (N, C, H, W) in [-1, 1], C = 1 or 3, side by side in one, uint8 (H', W') or (H', W', 3).

    The gaps, of so many pixels, are white. Raises ValueError for another shape.
    """
    if images.dim() != 4 or images.shape[1] not in (1, 3) or len(images) == 0:
        raise ValueError(f"images must have shape (N, 1 or 3, H, W) with N > 0, got {tuple(images.shape)}")
    pixels = to_pixels(images)
    n, height, width, channels = pixels.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    size = rows * (height + gap) - gap, columns * (width + gap) - gap
    sheet = np.full((*size, channels), WHITE, dtype=np.uint8)
    for k, picture in enumerate(pixels):
        top, left = k // columns * (height + gap), k % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return sheet[:, :, 0] if channels == 1 else sheet
