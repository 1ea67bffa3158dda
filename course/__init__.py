"""The course kit: exercises that check themselves, and problem sets for a class, graded in a sandbox.

`check("origins-step")` in a notebook checks an answer, `reveal("origins-step")` shows the book's. `make course` does the rest.
"""

from .check import check, reveal

__all__ = ["check", "reveal"]
