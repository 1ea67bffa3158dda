"""Markdown in blocks, and what of them goes on a slide: the first sentence, sentences with bold words, formulas, lists, boxes."""

import re
from collections.abc import Iterator

LINES = 15                      # what a slide holds at full size, in lines of text
SENTENCE = re.compile(r"(?<=[.!?:])(?<!e\.g\.)(?<!i\.e\.)(?<!al\.)(?<!\.\.)[\"”)*]*\s+(?=[\"“(*]*[A-Z$`\d])")
ATOM = re.compile(r"\$[^$]+\$|`[^`]+`|\*\*[^*]+\*\*", re.S)     # what no sentence ends in
PREDICT = re.compile(r"\?[\"”)*]*$|^\*\*Before you|\bPredict\b")


def blocks(markdown: str) -> list[str]:
    """Ordinary Markdown cut at blank lines; code, displayed formulas, quotes and lists stay in one piece."""
    found: list[list[str]] = []
    fence = ""
    inside = False
    for line in markdown.split("\n"):
        bare = line.strip()
        if inside or fence:
            found[-1].append(line)
            if fence and bare.startswith(fence):
                fence = ""
            if inside and bare.endswith("$$"):
                inside = False
            continue
        if not bare:
            if found and found[-1]:
                found.append([])
            continue
        opening = bare.startswith(("```", "$$", "#"))
        if not found or (opening and found[-1]):
            found.append([])
        found[-1].append(line)
        fence = "```" if bare.startswith("```") else ""
        inside = bare.startswith("$$") and (bare == "$$" or not bare.endswith("$$"))
        if bare.startswith("#") or (bare.startswith("$$") and not inside):
            found.append([])
    joined: list[str] = []
    for block in ("\n".join(lines) for lines in found if lines):
        if joined and ((kind(block) == kind(joined[-1]) == "list") or (block.startswith("  ") and kind(joined[-1]) == "list")):
            joined[-1] += f"\n\n{block}"
        else:
            joined.append(block)
    return joined


def kind(block: str) -> str:
    for name, start in (("heading", r"#{1,6} "), ("code", "```"), ("formula", r"\$\$"), ("quote", ">"), ("table", r"\|"),
                        ("list", r"\s*([-*]|\d+\.) "), ("exercise", r"\*\*Exercise(: .*)?\*\*$")):
        if re.match(start, block):
            return name
    return "text"


def sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph; formulas, code and bold words are never cut."""
    kept: list[str] = []

    ends = lambda atom: atom.endswith((".**", "?**", "!**"))       # a bold sentence ends like one

    def hide(atom: re.Match) -> str:
        kept.append(atom[0])
        return f"$\x00{len(kept) - 1}\x01" + "." * ends(atom[0])

    hidden = ATOM.sub(hide, " ".join(paragraph.split()))
    restore = lambda text: re.sub(r"\$\x00(\d+)\x01(\.?)", lambda found: kept[int(found[1])] + found[2] * (not ends(kept[int(found[1])])), text)
    return [restore(part) for part in SENTENCE.split(hidden) if part.strip()]


def items(block: str) -> list[str]:
    """The items of a list, each with its mark."""
    return [item.rstrip() for item in re.split(r"\n(?=(?:[-*]|\d+\.) )", block)]


def short(item: str) -> str:
    """An item of a list in short: its first sentence, or two if the first is a title."""
    mark, text = re.match(r"(\s*(?:[-*]|\d+\.) )(.*)", item, re.S).groups()
    parts = sentences(text)
    return mark + " ".join(parts[: 2 if len(parts[0]) < 45 else 1])


def weight(block: str) -> float:
    """About how many lines of a slide the block takes."""
    lines = block.split("\n")
    if kind(block) == "formula":
        return 4.0 if re.search(r"\\frac|\\sum|\\int|\\prod|\\underbrace", block) else 2.5
    if kind(block) == "code":
        return 0.6 * len(lines)
    if kind(block) == "table":
        return 1.4 * len(lines)
    if kind(block) == "quote":
        return 0.6 + sum(map(weight, blocks("\n".join(line.removeprefix(">").removeprefix(" ") for line in lines))))
    if kind(block) == "list":
        return sum(0.2 + -(-width(item) // 82) for item in items(block))
    return 0.5 + -(-width(block) // 88)


def width(text: str) -> int:
    """The letters of a text, a command of LaTeX counted as one: a formula takes less room than its source."""
    return len(re.sub(r"\\[a-zA-Z]+\s?|[{}$_^*`]", lambda found: "m" if found[0].startswith("\\") else "", text))


def essence(part: list[str]) -> list[str]:
    """What of the blocks goes on a slide: the first sentence, what is bold, what is asked, and all that is not prose."""
    kept: list[str] = []
    first = True
    for i, block in enumerate(part):
        what = kind(block)
        if what == "formula":
            before = sentences(part[i - 1])[-1:] if i and kind(part[i - 1]) == "text" else []
            if before and not any(before[0] in text for text in kept):
                kept += before
            kept.append(block)
        elif what == "list":
            kept.append("\n".join(map(short, items(block))))
        elif what == "quote":
            kept.append(short_quote(block))
        elif what != "text":
            kept.append(block)
        else:
            said = sentences(block)
            title = lambda j: 0 <= j < len(said) and len(said[j]) < 40 and said[j].startswith("**") and said[j].endswith("**")
            opens = lambda j: first and (j == 0 or j == 1 and len(said[0]) < 60)
            chosen = [s for j, s in enumerate(said) if opens(j) or "**" in s or PREDICT.search(s) or title(j - 1)]
            if chosen:
                kept.append(" ".join(chosen))
            first = False
    return kept


def short_quote(block: str) -> str:
    """A box in short: its title, two sentences of each of its first two paragraphs, lists in short, and all that is not prose."""
    inner = blocks("\n".join(line.removeprefix(">").removeprefix(" ") for line in block.split("\n")))
    kept, said = inner[:1], 0
    for part in inner[1:]:
        if kind(part) == "text":
            said += 1
            kept += [" ".join(sentences(part)[:2])] if said <= 2 else []
        else:
            kept.append("\n".join(map(short, items(part))) if kind(part) == "list" else part)
    return "\n".join(f"> {line}".rstrip() for line in "\n\n".join(kept).split("\n"))


def pages(parts: list[str]) -> Iterator[list[str]]:
    """Blocks in heaps that a slide can hold each. A formula stays with what introduces it; a long list is cut between items."""
    heap: list[str] = []
    for part in parts:
        pieces = items(part) if kind(part) == "list" and weight(part) > LINES else [part]
        for piece in pieces:
            if heap and sum(map(weight, heap)) + weight(piece) > LINES:
                moved = [heap.pop()] if len(heap) > 1 and kind(piece) == "formula" and kind(heap[-1]) == "text" else []
                yield heap
                heap = moved
            heap.append(piece)
    if heap:
        yield heap
