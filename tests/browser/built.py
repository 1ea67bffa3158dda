"""Where the built book is, and its pages."""

from pathlib import Path

HTML = Path(__file__).resolve().parents[2] / "_build" / "html"


def pages() -> list[str]:
    """The pages of the book, as addresses relative to its root; empty when it is not built."""
    return sorted(path.relative_to(HTML).as_posix() for part in ("book", "chapters") for path in (HTML / part).rglob("*.html"))
