"""The book's Sphinx extensions, each on a one-page book."""

import io
import re
from types import SimpleNamespace

import pytest
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import docutils_namespace, patch_docutils

import light_icons
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
    builder = SimpleNamespace(builder=SimpleNamespace(name="html"), outdir=tmp_path)
    (tmp_path / "a.html").write_text(page.format(script))
    light_icons.drop(builder, ValueError())
    assert script in (tmp_path / "a.html").read_text()
    light_icons.drop(builder, None)
    assert (tmp_path / "a.html").read_text() == page.format("")
