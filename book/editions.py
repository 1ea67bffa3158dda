"""The book as one file, to be read without a browser: EPUB, and PDF without TeX.

    python book/editions.py epub      into _build/epub
    python book/editions.py pdf       into _build/pdf, made from the pages of the EPUB

Both use the outputs that `make book` uses, so nothing runs twice. Formulas are MathML, which MathJax makes in a browser while
the book is built; for the PDF the same MathJax typesets them and the browser prints. Nothing is folded, nothing needs a
script, and an explorer is a picture of where it starts. This module is also the Sphinx extension that the build loads.
"""

import argparse
import html
import os
import re
import shutil
import sys
import zipfile
from pathlib import Path, PurePosixPath
from posixpath import normpath
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from bs4 import BeautifulSoup
from docutils import nodes
from jupyter_book.config import get_final_config
from sphinx.application import Sphinx
from sphinx.builders.epub3 import Epub3Builder
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import docutils_namespace, patch_docutils

from ext import chrome, launch, local_mathjax

ROOT = Path(__file__).resolve().parents[1]
STYLE, PRINT = (Path(__file__).with_name(name) for name in ("editions.css", "print.css"))
MATHML, OPF, DC = "http://www.w3.org/1998/Math/MathML", "http://www.idpf.org/2007/opf", "http://purl.org/dc/elements/1.1/"
WIDGET, PICTURE = "application/vnd.jupyter.widget-view+json", "image/png"
# Extensions that fold, copy and run things in a web page.
WEB_ONLY = {"sphinx_togglebutton", "sphinx_copybutton", "sphinx_thebe", "no_thebe", "local_mathjax"}


# --- EPUB ------------------------------------------------------------------------------------------------------------


def configuration(source: Path) -> dict:
    """Sphinx's settings for the EPUB of the Jupyter Book at `source`."""
    config, _ = get_final_config(
        user_yaml=source / "_config.yml",
        sourcedir=source,
        cli_config={"external_toc_path": str(source / "_toc.yml"), "latex_individualpages": False, "nitpicky": True},
    )
    return config | {
        "extensions": [name for name in config["extensions"] if name not in WEB_ONLY] + ["editions"],
        "project": config["html_title"],
        "version": launch.project()["project"]["version"],
        "suppress_warnings": [*config.get("suppress_warnings", []), "epub.unknown_project_files"],
        "html_static_path": [str(STYLE)],
        "html_css_files": [],
        "html_js_files": [],
        "html_math_renderer": "mathml",
        "nb_mime_priority_overrides": [("epub", PICTURE, 0)],
        "epub_css_files": [STYLE.name],
        "epub_basename": "book",
        "epub_author": config["author"],
        "epub_publisher": config["author"],
        "epub_description": launch.project()["project"]["description"],
        "epub_identifier": launch.project()["project"]["name"] + "-book",
        "epub_uid": launch.project()["project"]["name"] + "-book",  # the two tables of contents agree only if both are the same
        "epub_tocscope": "includehidden",
        "epub_show_urls": "no",
        "epub_use_index": False,
        "html_domain_indices": False,
        "epub_tocdepth": 2,
    }


def build_epub(source: Path = ROOT) -> Path:
    """Build the EPUB of the book at `source`; returns the file. Any warning ends in SystemExit."""
    out = source / "_build" / "epub"
    shutil.rmtree(out, ignore_errors=True)
    os.environ["BOOK_BUILD"] = "1"
    with patch_docutils(), docutils_namespace():
        app = Sphinx(source, None, out, source / "_build" / ".doctrees-epub", "epub", configuration(source),
                     status=None, freshenv=True, warningiserror=True, keep_going=True)
        app.build(force_all=True)
    if app.statuscode:
        raise SystemExit("the EPUB has warnings, see above")
    return out / "book.epub"


class Epub(Epub3Builder):
    """Sphinx's builder, mended where its package would not be valid."""

    def get_toc(self) -> None:
        super().get_toc()
        for node in self.refnodes:  # the welcome page is in a folder, which makes addresses like book/../chapters
            node["refuri"] = normpath(node["refuri"])

    def build_epub(self) -> None:
        pack(Path(self.outdir))


def pack(folder: Path) -> None:
    """Zip the pages in `folder` into book.epub, after saying which hold MathML and leaving out pictures that none shows.

    Raises ParseError for a page that is no XML.
    """
    package = ElementTree.parse(folder / "content.opf")
    manifest, used = package.find("{*}manifest"), set()
    for item in manifest.findall("{*}item[@media-type='application/xhtml+xml']"):
        page, at = ElementTree.parse(folder / item.get("href")), PurePosixPath(item.get("href")).parent
        used |= {item.get("href"), *(normpath(at / unquote(tag.get("src"))) for tag in page.iterfind(".//{*}img"))}
        used |= {normpath(at / tag.get("href").split("?")[0]) for tag in page.iterfind(".//{*}link")}
        if page.find(f".//{{{MATHML}}}math") is not None:
            item.set("properties", "mathml")
    for item in manifest.findall("{*}item"):
        if item.get("href") not in used and item.get("media-type") != "application/x-dtbncx+xml":
            manifest.remove(item)
    ElementTree.register_namespace("", OPF)
    ElementTree.register_namespace("dc", DC)
    package.write(folder / "content.opf", "utf-8", xml_declaration=True)
    with zipfile.ZipFile(folder / "book.epub", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "mimetype", "mimetype", zipfile.ZIP_STORED)  # first and plain, says the format
        for name in ["META-INF/container.xml", "content.opf", *(item.get("href") for item in manifest)]:
            archive.write(folder / name, name)


class Unfold(SphinxPostTransform):
    """Show what a page folds away, and say under an explorer's picture that it moves elsewhere. Ids that come twice go."""

    default_priority = 3  # before myst-nb folds cells, and picks one of an output's forms

    def run(self, **_) -> None:
        address = launch.settings()["address"]
        for node in self.document.findall(nodes.section):  # sphinx-exercise gives all contents one id, to which nothing links
            node["ids"] = [name for name in node["ids"] if name != "exercise-content"]
        for node in list(self.document.findall(nodes.container)):
            node.attributes.pop("hide_mode", None)
            if node.get("nb_element") == "mime_bundle" and {WIDGET, PICTURE} <= {form["mime_type"] for form in node.children}:
                page = f"{address.rstrip('/')}/{self.env.docname}.html"
                where = nodes.reference("", "web page", refuri=page) if address else nodes.Text("web page")
                words = (nodes.Text("On this book's "), where, nodes.Text(", sliders change this figure."))
                note = nodes.paragraph("", "", *words, classes=["moves"])
                node.parent.insert(node.parent.index(node) + 1, note)


class MathML:
    """TeX to MathML by MathJax in a browser, which stays open until `close`."""

    def __init__(self) -> None:
        self._browser = chrome.opened()
        self._page = self._browser.__enter__().new_page()
        folder = local_mathjax.source()
        self._page.goto(folder.as_uri())  # a page of the same origin as the script
        self._page.add_script_tag(url=(folder / local_mathjax.COMPONENT).as_uri())
        self._page.wait_for_function("window.MathJax?.startup?.promise.then(() => true)")

    def __call__(self, tex: str, display: bool) -> str:
        """A <math> element; raises ValueError naming the formula that MathJax could not read."""
        found = self._page.evaluate("([tex, display]) => MathJax.tex2mmlPromise(tex, {display})", [tex, display])
        if "<merror" in found:
            raise ValueError(f"MathJax could not read {tex!r}: {re.search('data-mjx-error=.([^>]*).>', found)[1]}")
        alternative = html.escape(" ".join(tex.split()))
        return found.replace("<math ", f'<math alttext="{alternative}" ', 1)

    def close(self) -> None:
        self._browser.__exit__(None, None, None)


def visit_math(self, node: nodes.math) -> None:
    self.body.append(self.builder.app.mathml(node.astext(), False))
    raise nodes.SkipNode


def visit_math_block(self, node: nodes.math_block) -> None:
    tex = node.astext()
    if not node["nowrap"] and r"\\" in tex:
        tex = rf"\begin{{split}}{tex}\end{{split}}"
    self.body.append(self.starttag(node, "div", CLASS="math"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({node["number"]})</span>')
    self.body.append(self.builder.app.mathml(tex, True) + "</div>\n")
    raise nodes.SkipNode


def keep_styles(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: object) -> None:
    """Leave a page two style sheets: ours, and the colours of code."""
    context["css_files"] = [css for css in context["css_files"] if str(css.filename).endswith((STYLE.name, "pygments.css"))]


def open_mathml(app: Sphinx) -> None:
    app.mathml = MathML()


def close_mathml(app: Sphinx, exception: Exception | None) -> None:
    app.mathml.close()


def setup(app: Sphinx) -> dict:
    app.add_builder(Epub, override=True)
    app.add_post_transform(Unfold)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("html-page-context", keep_styles, priority=900)
    app.connect("builder-inited", open_mathml)
    app.connect("build-finished", close_mathml)
    return {"parallel_read_safe": True, "parallel_write_safe": False}


# --- PDF -------------------------------------------------------------------------------------------------------------

PAGE = """<!doctype html>
<html lang="{language}"><head><meta charset="utf-8"><title>{title}</title>
{styles}
<script>MathJax = {{tex: {{inlineMath: [], displayMath: [], processEnvironments: false, processRefs: false}},
                   options: {{enableMenu: false, enableAssistiveMml: false}}}};</script>
<script src="/mathjax/{component}"></script></head>
<body class="print">
<section class="cover"><h1>{title}</h1><p>{author}</p><p>{about}</p></section>
{pages}
</body></html>
"""
# A formula wider than the paper gets smaller letters.
FIT = """() => {
  for (const formula of document.querySelectorAll("mjx-container[display=true]")) {
    const room = formula.parentElement.clientWidth, wide = formula.firstElementChild.getBoundingClientRect().width;
    if (wide > room) formula.style.fontSize = `${Math.floor(100 * parseFloat(getComputedStyle(formula).fontSize) * room / wide) / 100}px`;
  }
}"""


def spine(folder: Path) -> list[str]:
    """The pages of an unpacked EPUB in reading order, its contents first."""
    package = ElementTree.parse(folder / "content.opf").getroot()
    files = {item.get("id"): item.get("href") for item in package.iterfind(".//{*}item")}
    read = [files[item.get("idref")] for item in package.iterfind(".//{*}itemref")]
    return ["nav.xhtml", *(name for name in read if name != "nav.xhtml")]


def join(folder: Path) -> str:
    """The pages of an unpacked EPUB as one HTML page: every id gets its page's name before it, and links follow."""
    names, sections, styles = spine(folder), [], {}
    key = {name: re.sub(r"\W", "-", name.removesuffix(".xhtml")) for name in names}
    for name in names:
        page = BeautifulSoup((folder / name).read_text("utf8"), "html.parser")
        body = page.select_one("div.body") or page.body
        at = PurePosixPath(name).parent
        styles |= dict.fromkeys(normpath(at / link["href"].split("?")[0]) for link in page.select("link[rel=stylesheet]"))
        for tag in body.find_all(id=True):
            tag["id"] = f"{key[name]}--{tag['id']}"
        for image in body.select("img[src]"):
            image["src"] = "/" + normpath(at / image["src"])
        for link in body.select("a[href]"):
            parts = urlsplit(link["href"])
            if not parts.scheme:
                target = normpath(at / unquote(parts.path)) if parts.path else name
                link["href"] = f"#{key[target]}" + (f"--{parts.fragment}" if parts.fragment else "")
        sections.append(f'<section class="page" id="{key[name]}">{body.decode_contents()}</section>')
    stated = ElementTree.parse(folder / "content.opf")
    title, author, language = (html.escape(stated.findtext(f".//{{{DC}}}{name}")) for name in ("title", "creator", "language"))
    about = html.escape(f"Version {launch.project()['project']['version']} {launch.settings()['address']}")
    links = "\n".join(f'<link rel="stylesheet" href="/{style}">' for style in [*styles, PRINT.name])
    return PAGE.format(language=language, title=title, author=author, about=about, styles=links, pages="\n".join(sections),
                       component=local_mathjax.COMPONENT)


def print_pdf(folder: Path, target: Path) -> Path:
    """Print the unpacked EPUB at `folder` to the file `target`; what the page asks for and does not get raises RuntimeError."""
    page_text, missing = join(folder), []

    def answer(route) -> None:
        path = unquote(urlsplit(route.request.url).path).lstrip("/")
        file = PRINT if path == PRINT.name else folder / path
        if path.startswith("mathjax/"):
            file = local_mathjax.source() / path.removeprefix("mathjax/")
        if not path:
            route.fulfill(body=page_text, content_type="text/html; charset=utf-8")
        elif file.is_file():
            route.fulfill(path=file)
        else:
            missing.append(path)
            route.abort()

    with chrome.opened() as browser:
        page = browser.new_page(viewport={"width": 680, "height": 900})  # about the width of the paper's text
        page.set_default_timeout(600_000)
        page.emulate_media(media="print")
        page.route("**/*", answer)
        page.goto("http://book.invalid/", wait_until="load")
        page.wait_for_function("window.MathJax?.startup?.promise.then(() => document.fonts.ready).then(() => true)")
        page.evaluate(FIT)
        target.parent.mkdir(parents=True, exist_ok=True)
        page.pdf(path=target, prefer_css_page_size=True, print_background=True, outline=True, tagged=True)
    if missing:
        raise RuntimeError(f"the PDF lacks {missing}")
    return target


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("edition", choices=["epub", "pdf"])
    edition = parser.parse_args().edition
    made = build_epub()
    if edition == "pdf":
        made = print_pdf(made.parent, ROOT / "_build" / "pdf" / "book.pdf")
    print(f"{edition}: {made.relative_to(ROOT)}, {made.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
