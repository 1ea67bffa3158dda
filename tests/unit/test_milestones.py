"""The dated map of section 1.1: each row has a source, a date that its identifier confirms, and figures of known kinds."""

import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

ROWS = json.loads((files("diffusion_core.data") / "milestones.json").read_text("utf8"))["rows"]
REFERENCES = Path(__file__).parents[2] / "book" / "references.bib"
RANGES = {"cifar10_fid": (1, 30), "cifar10_bits": (2, 6), "imagenet256_fid": (1, 10), "imagenet512_fid": (1, 10), "evaluations": (1, 1000)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["source"])
def test_row(row):
    year, month = row["arxiv"][:2], row["arxiv"][2:4]
    assert re.fullmatch(r"\d{4}\.\d{5}", row["arxiv"]) and row["date"] == f"20{year}-{month}"
    assert row["line"] in ("idea", "speed", "scale", "flow") and row["name"] and row["idea"]
    assert re.search(rf"^@\w+\{{{row['source']},", REFERENCES.read_text("utf8"), re.M), f"{row['source']} is not in the bibliography"
    assert ("figures" in row) == ("where" in row)
    for kind, value in row.get("figures", {}).items():
        low, high = RANGES[kind]
        assert low <= value <= high, f"{kind} = {value}"


def test_rows_are_in_order_and_hold_what_the_section_speaks_of():
    assert [row["date"] for row in ROWS] == sorted(row["date"] for row in ROWS) and len({row["source"] for row in ROWS}) == len(ROWS)
    assert {"sohl2015", "song2019ncsn", "ho2020ddpm", "song2021ddim", "ho2022cfg", "lipman2023flow"} <= {row["source"] for row in ROWS}
    figures = {row["source"]: row.get("figures", {}) for row in ROWS}
    # The figures that the book quotes elsewhere, from DDPM's Table 1, DDIM's Table 1 and Improved DDPM's Table 2.
    assert (figures["ho2020ddpm"]["cifar10_fid"], figures["ho2020ddpm"]["cifar10_bits"]) == (3.17, 3.75)
    assert figures["song2021ddim"]["cifar10_fid"] == 4.16 and figures["nichol2021improved"]["cifar10_bits"] == 2.94
