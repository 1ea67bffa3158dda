"""Show the theme's icons by a font that holds those of the book alone.

The theme's style sheet draws its icons with a font of 150 kB. It also loads a script that draws the same icons again as SVG, half a megabyte packed:
more than everything else on a page. The script is left out, and the font keeps the icons that pages and scripts of the site name.
"""

import re
from pathlib import Path

from fontTools import subset
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

SCRIPT = re.compile(r'<script[^>]* src="[^"]*_static/scripts/fontawesome\.js[^"]*"></script>\n?')
RULE = re.compile(r'((?:\.fa-[\w-]+:before,?)+)\{content:"\\([0-9a-f]+)"\}')
STYLES, FONT = "styles/pydata-sphinx-theme.css", "vendor/fontawesome/webfonts/fa-solid-900"


def without_script(pages: list[Path]) -> None:
    for page in pages:
        text = page.read_text("utf8")
        if (lighter := SCRIPT.sub("", text)) != text:
            page.write_text(lighter, "utf8")


def characters(styles: str, texts: list[str]) -> set[int]:
    """Of the icons that the style sheet defines, those that the texts name, as characters of the font. ExtensionError if it defines none."""
    places = {name: int(code, 16) for names, code in RULE.findall(styles) for name in re.findall(r"fa-[\w-]+", names)}
    if not places:
        raise ExtensionError(f"{STYLES} defines no icons: has the theme changed?")
    return {places[name] for text in texts for name in re.findall(r"fa-[\w-]+", text) if name in places}


def lighter_font(static: Path, texts: list[str]) -> None:
    """Write the font of the icons that the texts name, as WOFF, and make the style sheet take it."""
    styles = (static / STYLES).read_text("utf8")
    options = subset.Options(flavor="woff")
    font = subset.load_font(static / f"{FONT}.ttf", options)
    chosen = subset.Subsetter(options)
    chosen.populate(unicodes=characters(styles, texts))
    chosen.subset(font)
    subset.save_font(font, static / f"{FONT}.woff", options)
    (static / STYLES).write_text(styles.replace(f'{FONT}.woff2) format("woff2")', f'{FONT}.woff) format("woff")'), "utf8")


def lighten(app: Sphinx, exception: Exception | None) -> None:
    if exception or app.builder.name != "html":
        return
    static, pages = Path(app.outdir, "_static"), list(Path(app.outdir).rglob("*.html"))
    without_script(pages)
    if (static / STYLES).exists():
        scripts = [path for path in static.rglob("*.js") if path.name != "fontawesome.js" and "vendor" not in path.parts]
        lighter_font(static, [path.read_text("utf8") for path in (*pages, *scripts)])


def setup(app: Sphinx) -> dict:
    app.connect("build-finished", lighten, priority=300)  # before content_policy, which reads the pages as they stay
    return {"parallel_read_safe": True, "parallel_write_safe": True}
