"""The page's script in a real browser: the table sorts, filters and turns its pages as the address says."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from consilience.evals.report import write_report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
LABELS = ("healthy", "rust")

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


@pytest.fixture
def opened(written: Callable[..., Path], tmp_path: Path) -> Callable[..., str]:
    """Write rows and their page, open it at an address, and give what its script has made of it."""

    def open_page(rows: list[Any], address: str = "", labels: tuple[str, ...] = LABELS) -> str:
        page = write_report(written(rows, labels)).resolve().as_uri() + address
        command = [str(BROWSER), *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page]
        return subprocess.run(command, capture_output=True, check=True, timeout=120, encoding="utf-8").stdout

    return open_page


def cells(page: str, place: int) -> list[str]:
    """A column of the table."""
    body = re.search(r'id="row-table">.*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    assert body is not None
    lines = re.findall(r"<tr>(.*?)</tr>", body[1])
    return [unescape(re.findall(r"<td[^>]*>(.*?)</td>", line)[place]) for line in lines]


def between(rust: float) -> dict[str, float]:
    return {"healthy": 1 - rust, "rust": rust}


@pytest.fixture
def rows(row: Callable[..., Any]) -> list[Any]:
    return [
        row("rust", between(0.9), image="b/leaf-10.png"),
        row("healthy", between(0.7), image="b/leaf-9.png"),
        row("healthy", image="b/broken.png"),
        row("rust", between(0.6), image="b/leaf-2.png", refer=True),
        row("healthy", between(0.2), image="b/leaf-1.png"),
    ]


def test_without_a_wish_all_rows_stand_in_their_order(rows: list[Any], opened: Callable[..., str]) -> None:
    page = opened(rows)
    assert cells(page, 1) == ["leaf-10.png", "leaf-9.png", "broken.png", "leaf-2.png", "leaf-1.png"]
    assert cells(page, 4) == ["right", "wrong", "failed", "right", "right"]
    assert cells(page, 5) == ["90.0 %", "70.0 %", "", "60.0 %", "80.0 %"]
    assert cells(page, 6) == ["confident", "confident", "", "referred", "confident"]
    assert cells(page, 7) == ["1 of 1", "1 of 1", "", "1 of 1", "1 of 1"]
    assert "5 of 5 images" in page
    assert "Page 1 of 1" in page


@pytest.mark.parametrize(
    ("wish", "order"),
    [
        ("sort=source", [2, 4, 3, 1, 0]),  # numbers in names count as numbers
        ("sort=-source", [0, 1, 3, 4, 2]),
        ("sort=-sure", [0, 4, 1, 3, 2]),  # what has no value comes last
        ("sort=verdict", [0, 1, 4, 3, 2]),
        ("truth=0&label=1", [1]),
        ("outcome=failed", [2]),
        ("verdict=1", [3]),
        ("q=IS+broken", [2]),  # the note is searched, too
        ("q=leaf&truth=1&sort=sure", [3, 0]),
        ("sort=nonsense&q=nothing+like+it", []),
    ],
)
def test_sorted_and_filtered(wish: str, order: list[int], rows: list[Any], opened: Callable[..., str]) -> None:
    page = opened(rows, f"#{wish}")
    assert [int(cell) for cell in cells(page, 0)] == order
    assert f"{len(order)} of 5 images" in page


def test_pages_of_the_table(row: Callable[..., Any], opened: Callable[..., str]) -> None:
    page = opened([row("rust", between(0.9)) for _ in range(250)], "#page=3")
    assert [int(cell) for cell in cells(page, 0)] == list(range(200, 250))
    assert "Page 3 of 3" in page


def test_hostile_texts_reach_the_table_as_text(row: Callable[..., Any], opened: Callable[..., str]) -> None:
    hostile = "<img src=x onerror=\"document.title='owned'\"></script><b>&amp;"
    labels = (hostile, "rust")
    page = opened([row(hostile, {hostile: 0.9, "rust": 0.1}, image=hostile)], "", labels)
    assert cells(page, 2) == cells(page, 3) == [hostile]
    assert "<title>owned" not in page
    assert "<img" not in page
