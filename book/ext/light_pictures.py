"""Figures of notebooks as small files: what matplotlib writes is three times as large as what can be seen of it.

A picture becomes a PNG of at most 128 colours, which is without loss for most plots, or a WebP, whichever is smaller. It is fetched when a reader
comes near it.
"""

import io
import re
from pathlib import Path

from PIL import Image
from sphinx.application import Sphinx

COLOURS, QUALITY = 128, 80
SOURCE = re.compile(r'(<img [^>]*?)src="([^"]*_images/)([0-9a-f]{64})\.png"')  # outputs of cells are named by their checksum


def packed(picture: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, **options)
    return buffer.getvalue()


def smaller(path: Path) -> tuple[str, bytes]:
    """Suffix and bytes of the picture, a PNG on white."""
    with Image.open(path) as image:
        picture = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
    few = picture.quantize(COLOURS, dither=Image.Dither.NONE)
    return min((".png", packed(few, format="PNG", optimize=True)), (".webp", packed(picture, format="WEBP", quality=QUALITY, method=4)), key=lambda kind: len(kind[1]))


def lighten(app: Sphinx, exception: Exception | None) -> None:
    if exception or app.builder.name != "html":
        return
    suffixes = {}
    for path in Path(app.outdir, "_images").glob("*.png"):
        if re.fullmatch(r"[0-9a-f]{64}", path.stem):
            suffix, raw = smaller(path)
            path.with_suffix(suffix).write_bytes(raw)
            suffixes[path.stem] = suffix
            if suffix != ".png":
                path.unlink()
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text("utf8")
        page.write_text(SOURCE.sub(lambda m: f'{m[1]}loading="lazy" src="{m[2]}{m[3]}{suffixes.get(m[3], ".png")}"', text), "utf8")


def setup(app: Sphinx) -> dict:
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
