"""The book's Sphinx extensions, each on a one-page book."""

import io
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fontTools.pens.recordingPen import RecordingPen
from fontTools.ttLib import TTFont
from PIL import Image
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import docutils_namespace, patch_docutils

import light_icons
import light_pictures
import local_mathjax

PAGE = "# A page\n\n{text}\n"


@pytest.fixture
def build(tmp_path):
    """Function that builds a page of MyST with some extensions; returns the folder of the pages and the warnings."""

    def run(text: str, *extensions: str):
        source = tmp_path / "source"
        source.mkdir()
        (source / "conf.py").write_text("")
        (source / "index.md").write_text(PAGE.format(text=text))
        (source / "dot.png").write_bytes(b"")
        settings = {"extensions": ["myst_parser", *extensions], "source_suffix": {".md": "markdown"}, "myst_enable_extensions": ["dollarmath"]}
        warnings, out = io.StringIO(), tmp_path / "out"
        with patch_docutils(source), docutils_namespace():
            Sphinx(source, source, out, tmp_path / "doctrees", "html", settings, status=None, warning=warnings).build()
        return out, warnings.getvalue()

    return run


def test_alt_text_names_the_picture_that_lacks_it(build):
    _, warnings = build("![](dot.png)\n\n![A dot.](dot.png)", "alt_text")
    assert warnings.count("picture without alt text: dot.png") == 1


def test_alt_text_is_silent_where_there_is_nothing_to_say(build):
    assert build("![A dot.](dot.png)", "alt_text")[1] == ""


def test_mathjax_is_served_by_the_book(build):
    out, _ = build("$x_t$", "sphinx.ext.mathjax", "local_mathjax")
    scripts = re.findall(r'<script[^>]*src="([^"?]*)', (out / "index.html").read_text())
    assert "_static/vendor/mathjax/tex-mml-chtml.js" in scripts
    assert not [address for address in scripts if address.startswith(("http:", "https:", "//"))]
    assert all((out / address).is_file() for address in scripts)
    assert list((out / "_static/vendor/mathjax/output/chtml/fonts/woff-v2").glob("MathJax_Math-Italic.woff"))


def test_another_mathjax_is_refused():
    with pytest.raises(ExtensionError, match="expected 00ff"):
        local_mathjax.source(sha256="00ff")


@pytest.mark.parametrize("unhooked", [False, True])
def test_thebe_is_kept_out(build, unhooked):
    out, _ = build("text", "sphinx_thebe", *(["no_thebe"] if unhooked else []))
    scripts = re.findall(r"<script.*?</script>", (out / "index.html").read_text(), re.S)
    assert any("thebe" in script for script in scripts) is not unhooked


def test_the_script_of_icons_is_left_out_and_nothing_else(tmp_path):
    script = '<script defer src="../_static/scripts/fontawesome.js?digest=1"></script>\n'
    page = '<head>{}<script src="_static/scripts/bootstrap.js"></script></head><i class="fa-solid fa-sun"></i>'
    (tmp_path / "a.html").write_text(page.format(script))
    light_icons.without_script([tmp_path / "a.html"])
    assert (tmp_path / "a.html").read_text() == page.format("")


def test_the_icons_font_keeps_those_that_the_site_names(tmp_path):
    """On the theme's own files: the font holds what pages name, draws it as before, and the style sheet takes it."""
    own = Path(find_spec("pydata_sphinx_theme").origin).parent / "theme" / "pydata_sphinx_theme" / "static"
    for part in ("styles", "vendor"):
        shutil.copytree(own / part, tmp_path / part)
    light_icons.lighter_font(tmp_path, ['<i class="fa-solid fa-sun"></i><i class="fas fa-magnifying-glass fa-lg">', "element.classList.add('fa-moon')"])
    styles = (tmp_path / light_icons.STYLES).read_text()
    assert 'fa-solid-900.woff) format("woff")' in styles and "fa-solid-900.woff2" not in styles
    few, all_ = (TTFont(tmp_path / f"{light_icons.FONT}{suffix}") for suffix in (".woff", ".ttf"))
    codes = {0xF185, 0xF186, 0xF002}  # sun, moon, magnifying glass, as Font Awesome numbers them
    assert {code for code in few.getBestCmap() if code > 0xE000} == codes
    for code in codes:
        pens = [RecordingPen(), RecordingPen()]
        for font, pen in zip((few, all_), pens, strict=True):
            font.getGlyphSet()[font.getBestCmap()[code]].draw(pen)
        assert pens[0].value == pens[1].value
    with pytest.raises(ExtensionError, match="defines no icons"):
        light_icons.characters(".fa-sun{}", ["fa-sun"])


def test_pictures_of_cells_become_small_and_stay_what_they_are(tmp_path):
    (tmp_path / "_images").mkdir()
    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.normal(size=(200, 300, 3)), 1) * 8 + 128
    plot = np.full((200, 300, 3), 255.0)
    plot[90:110] = (0, 114, 178)
    page = ""
    for name, pixels in (("a" * 64, smooth), ("b" * 64, plot)):
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "_images" / f"{name}.png")
        page += f'<img alt="one" src="_images/{name}.png" />'
    (tmp_path / "_images" / "logo.png").write_bytes(b"not touched")
    (tmp_path / "index.html").write_text(page + '<img src="_images/logo.png" />')
    before = {path.stem: path.stat().st_size for path in (tmp_path / "_images").iterdir()}
    light_pictures.lighten(SimpleNamespace(builder=SimpleNamespace(name="html"), outdir=tmp_path), None)
    text = (tmp_path / "index.html").read_text()
    assert text == (f'<img alt="one" loading="lazy" src="_images/{"a" * 64}.webp" /><img alt="one" loading="lazy" src="_images/{"b" * 64}.png" />'
                    '<img src="_images/logo.png" />')
    assert {path.name for path in (tmp_path / "_images").iterdir()} == {f"{'a' * 64}.webp", f"{'b' * 64}.png", "logo.png"}
    assert (tmp_path / "_images" / f"{'a' * 64}.webp").stat().st_size < before["a" * 64] / 3
    assert (np.asarray(Image.open(tmp_path / "_images" / f"{'b' * 64}.png").convert("RGB")) == plot).all()
