"""LaTeX formulas as MathML, which browsers typeset by themselves: no script and no network. `style` is CSS that brings a font along.

latex2mathml does most of it. What it writes is repaired where browsers that follow MathML Core, which knows fewer attributes than
MathML 3, would show it badly: alphabets, accents, sized brackets, and the space around signs and names.
"""

import html
import re
from base64 import b64encode
from functools import cache
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert_to_element

FONT = Path(__file__).parent / "assets" / "math.woff"
TAG = re.compile(r"\\tag\{([^}]*)\}")
# MathML Core has no mathvariant but "normal": other alphabets are characters of their own, and some of these are older than the rest.
ALPHABETS = {"script": (0x1D49C, 0x1D4B6, dict(zip("BEFHILMRego", "ℬℰℱℋℐℒℳℛℯℊℴ", strict=True))),
             "double-struck": (0x1D538, 0x1D552, dict(zip("CHNPQRZ", "ℂℍℕℙℚℝℤ", strict=True))),
             "bold": (0x1D400, 0x1D41A, {})}
MISSED = {r"\arg": "arg", r"\|": "‖", r"\lVert": "‖", r"\rVert": "‖", r"\lvert": "|", r"\rvert": "|", "~": "∼"}   # some after \big alone
BELOW = {"det", "inf", "lim", "max", "min", "sup"}      # in a display, what is written at their foot goes below them
ACCENTS = set("¯^~∼˙¨→‾ˉ´`")
LETTERS = set("∞∎∅⊤∇∂")                                 # operators to the library, with an operator's space around them
OPERATORS = set(":∼⟼⟺⌊⌋⌈⌉")                             # and letters to it
OPENING, CLOSING, BARS = set("([{⌊⌈⟨"), set(")]}⌋⌉⟩"), set("|‖")
SIGNS = set("−+±∓-")
SCRIPTS = {"msub": "munder", "msup": "mover", "msubsup": "munderover"}


def convert(latex: str, display: bool = False) -> str:
    """The formula as a <math> element, without the number of a \\tag (see `tag`). ValueError for what cannot be read."""
    try:
        root = convert_to_element(TAG.sub("", latex).strip(), display="block" if display else "inline")
    except Exception as error:  # noqa: BLE001  the library raises many kinds, some of them its own
        raise ValueError(f"this formula cannot be read: {latex!r} ({type(error).__name__})") from error
    for element in root.iter():
        element.text = html.unescape(element.text or "")        # the library writes characters by their numbers
    _repair(root, display)
    unknown = [leaf.text for leaf in root.iter() if leaf.tag != "mtext" and re.match(r"\\[a-zA-Z]", leaf.text or "")]
    if unknown:
        raise ValueError(f"this formula cannot be read: {latex!r} has {', '.join(unknown)}")
    return ElementTree.tostring(root, encoding="unicode")


def tag(latex: str) -> str:
    """The number that a formula bears by a \\tag, or nothing."""
    found = TAG.search(latex)
    return found[1] if found else ""


@cache
def style() -> str:
    """CSS for pages with formulas. The font is in it, since many a phone has none in which brackets and roots can grow."""
    source = f"data:font/woff;base64,{b64encode(FONT.read_bytes()).decode()}"
    return (f'@font-face {{ font-family: "Book Math"; src: url("{source}"); }}\n'
            'math { font-family: "Book Math", math; font-size: 1.06em; }\n'
            ".formula { display: flex; align-items: center; overflow: auto hidden; }\n"
            ".formula > math { flex: 1 0 auto; padding: 0.25em 0; }\n")


def _repair(element: Element, display: bool) -> None:
    for child in list(element):
        _repair(child, display)
        if child.get("width") == "negativethinmathspace":
            element.remove(child)
    kind, text = element.tag, element.text
    if kind in ("mi", "mn", "mo"):
        _repair_leaf(element, MISSED.get(text, text))
    elif kind in ("mover", "munder") and element[1].text in ACCENTS:
        element.set("accent", "true")
        element[1].text = element[1].text.replace("∼", "~")
        element[1].attrib = {"stretchy": "false"}
    elif display and kind in SCRIPTS and _name(element) in BELOW:
        element.tag = SCRIPTS[kind]
    elif kind in SCRIPTS and "minsize" in element[0].attrib:
        row = Element("mrow")                           # a bracket takes its size in a row alone
        row.text = ""
        row.append(element[0])
        element[0] = row
    elif kind in ("mrow", "math", "msqrt", "mstyle"):
        _space(element)


def _repair_leaf(element: Element, text: str) -> None:
    element.text = text
    variant = element.attrib.pop("mathvariant", None)
    if variant in ALPHABETS:
        capital, small, older = ALPHABETS[variant]
        element.text = "".join(older.get(c) or chr(ord(c) + (capital - 65 if c.isupper() else small - 97)) if c.isalpha() else c for c in text)
    if variant or len(text) == 1 and "Α" <= text <= "Ω":
        element.set("mathvariant", "normal")            # else a single letter is italic; capital Greek is upright, as in TeX
    if element.tag == "mo" and (text in LETTERS or len(text) > 1 and text.isalpha()):
        element.tag, element.attrib = "mi", {}
    elif text in OPERATORS:
        element.tag = "mo"
    if text in OPENING | CLOSING | BARS | {"/"}:
        element.attrib.update(lspace="0", rspace="0", form="prefix" if text in OPENING else "postfix")
        if not {"minsize", "fence"} & element.attrib.keys():
            element.set("stretchy", "false")            # as tall as letters, not as a fraction beside them


def _name(element: Element) -> str:
    """The name of a function that an element consists of, with or without indices: log, log_2, log^2; nothing for anything else."""
    while len(element) and element.tag in (*SCRIPTS, *SCRIPTS.values()):
        element = element[0]
    return element.text if element.tag == "mi" and len(element.text) > 1 and element.text.isalpha() else ""


def _space(row: Element) -> None:
    """Put the thin spaces around names of functions that TeX puts there, and mark the signs that belong to what follows."""
    spaced: list[Element] = []
    for child in row:
        before = spaced[-1] if spaced else None
        if before is not None and (_name(child) or _name(before)) and not {child.tag, before.tag} & {"mo", "mspace"}:
            spaced.append(Element("mspace", width="0.167em"))
        sign_of = next((item for item in reversed(spaced) if item.tag != "mspace"), None)
        if child.tag == "mo" and child.text in SIGNS and (sign_of is None or sign_of.tag == "mo" and sign_of.text not in CLOSING | BARS):
            child.attrib.update(form="prefix", lspace="0", rspace="0")
        spaced.append(child)
    row[:] = spaced
