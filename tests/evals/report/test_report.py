"""The page of an evaluation: what it says, shows and embeds."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from consilience.core.errors import EvaluationError
from consilience.core.evidence import Neighbour
from consilience.core.images import load_image
from consilience.core.render.phrases import percent
from consilience.evals.report import table, write_report
from consilience.evals.report.pictures import Pictures
from consilience.retrieval.memory.labelled_images import LabelledImages

LABELS = ("healthy", "rust")
HOSTILE = "</script><script>alert(1)</script><!--<img src=http://evil.example/x onerror=alert(1)>'\"&{{7*7}}"


class Page(HTMLParser):
    """What a browser would make of the page: its elements, the text of each section, the names of the cards in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self.cards: dict[str, list[str]] = {}
        self._open: list[str] = []
        self._in_heading = False
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("section", "script", "style", "title"):
            self._open.append(str(dict(attrs).get("id") or tag))
        self._in_heading = tag == "h4"

    def handle_endtag(self, tag: str) -> None:
        if tag in ("section", "script", "style", "title"):
            self._open.pop()
        self._in_heading = False

    def handle_data(self, data: str) -> None:
        place = self._open[-1] if self._open else ""
        self.text[place] = f"{self.text.get(place, '')} {' '.join(data.split())}".strip()
        if self._in_heading and data.strip():
            self.cards.setdefault(place, []).append(data.strip())

    @property
    def table(self) -> dict[str, Any]:
        columns: dict[str, Any] = json.loads(self.text["table"])
        return columns


def between(rust: float) -> dict[str, float]:
    return {"healthy": 1 - rust, "rust": rust}


@pytest.fixture
def rows(row: Callable[..., Any]) -> list[Any]:
    return [
        row("rust", between(0.99), image="right.png"),
        row("healthy", between(0.97), answers={"probe": between(0.97), "qwen": between(0.2)}, image="wrong.png"),
        row("healthy", between(0.98), answers={"probe": between(0.9), "qwen": between(0.8)}, image="mislabelled.png"),
        row("rust", between(0.55), refer=True, image="unsure.png"),
        row("healthy", between(0.6), refer=True, answers={"probe": between(0.6), "qwen": None}, image="weak.png"),
        row("rust", between(0.9), first=between(0.3), image="helped.png"),
        row("healthy", between(0.8), first=between(0.2), answers={"probe": between(0.2)}, image="harmed.png"),
        row("healthy", image="broken.png"),
    ]


def test_the_first_screen_says_what_the_figures_say(rows: list[Any], written: Callable[..., Path]) -> None:
    out = written(rows, LABELS)
    page = Page(write_report(out))
    metrics = json.loads((out / "metrics.json").read_bytes())
    answer, figures = page.text["answer"], page.text["figures"]
    assert metrics["fusion"]["accuracy"] == pytest.approx(3 / 7)
    assert "Accuracy 42.9 % 15.8 to 75.0 %" in answer  # Wilson's interval of 3 out of 7
    assert (
        "The panel settles 71.4 % of the images without a person. Of those, 40.0 % match the folder's label" in answer
    )
    assert (
        "The weakest label is healthy: 0 % of 4 images are recognised; most of the others are taken for rust." in answer
    )
    assert "1 of 8 images could not be decided" in answer
    for look in (metrics["fusion"], *metrics["agents"]):
        assert f"{look['who']} " in figures
        assert (
            f"{percent(look['accuracy'])} {look['ece']:.3f} {look['ocr']:.3f} {look['ccc']:.2f} {look['n']}" in figures
        )
    assert "Second look, the fusion: 2 of 2 answers changed, 1 from wrong to right, 1 from right to wrong." in figures
    assert "healthy taken for rust : 4 of 4, 100 %" in figures
    assert page.text["title"].startswith("panel 0a1b on test")


def test_the_weakest_label_is_not_one_that_is_merely_rare(
    row: Callable[..., Any], written: Callable[..., Path]
) -> None:
    def named(label: str) -> dict[str, float]:
        return {"healthy": 0.05, "rust": 0.05, "scab": 0.05} | {label: 0.9}

    answers = [("scab", "rust"), *[("rust", "healthy")] * 12, *[("rust", "rust")] * 8, *[("healthy", "healthy")] * 20]
    page = Page(
        write_report(written([row(truth, named(label)) for truth, label in answers], ("healthy", "rust", "scab")))
    )
    assert (
        "The weakest label is rust: 40.0 % of 20 images are recognised; most of the others are taken for healthy."
        in (page.text["answer"])
    )


def test_each_gallery_shows_its_images_in_its_order(rows: list[Any], written: Callable[..., Path]) -> None:
    page = Page(write_report(written(rows, LABELS)))
    assert page.cards["errors"] == ["mislabelled.png", "wrong.png", "harmed.png"]
    assert page.cards["suspects"] == ["mislabelled.png"]  # of the wrong one, an agent is on the folder's side
    assert page.cards["referred"] == ["unsure.png", "weak.png"]
    assert page.cards["helped"] == ["helped.png"]
    assert page.cards["harmed"] == ["harmed.png"]
    assert page.cards["labels"][:4] == ["mislabelled.png", "wrong.png", "harmed.png", "weak.png"]  # healthy ones
    assert page.cards["labels"][4:] == ["right.png", "helped.png", "unsure.png"]
    assert "first look: healthy 80.0 %" in page.text["harmed"]
    assert "failed: unplugged" in page.text["referred"]


def test_every_row_is_in_the_table(rows: list[Any], written: Callable[..., Path]) -> None:
    columns = Page(write_report(written(rows, LABELS))).table["columns"]
    assert columns["source"] == [row["source"] for row in rows]
    assert columns["truth"] == [LABELS.index(row["truth"]) for row in rows]
    assert columns["label"] == [1, 1, 1, 1, 1, 1, 1, -1]
    assert columns["sure"] == [0.99, 0.97, 0.98, 0.55, 0.6, 0.9, 0.8, None]
    assert columns["verdict"] == [0, 0, 0, 1, 1, 0, 0, -1]
    assert list(zip(columns["agree"], columns["looks"], strict=True))[1:5] == [(1, 2), (2, 2), (1, 1), (1, 1)]
    assert columns["note"][3:5] == ["weak posterior"] * 2
    assert columns["note"][7] == "it is broken"


def test_what_anybody_may_have_written_stays_text(row: Callable[..., Any], written: Callable[..., Path]) -> None:
    labels = (f"healthy {HOSTILE}", "rust")
    posterior = {labels[0]: 0.1, "rust": 0.9}
    answers = {f"agent {HOSTILE}": posterior}
    near = {"id": "a", "label": labels[0], "similarity": 0.9, "source": HOSTILE}
    evidence = {"neighbours": [near], "distribution": {labels[0]: 1.0, "rust": 0.0}}
    texts = {"source": f"a{HOSTILE}.png", "rationale": HOSTILE, "reasons": [HOSTILE]}
    rows = [
        row(labels[0], posterior, answers=answers, refer=refer, first=posterior) | texts | {"evidence": evidence}
        for refer in (True, False)
    ]
    page = Page(write_report(written([*rows, row("rust", image="x", error=HOSTILE)], labels, source=HOSTILE)))
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert not [tag for tag, _ in page.elements if tag in ("img", "iframe", "link", "object", "base")]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.table["labels"][0] == labels[0]
    assert page.table["columns"]["note"] == [HOSTILE] * 3
    assert f"What each agent predicted agent {HOSTILE} : rust 90.0 %" in page.text["errors"]


def test_the_page_needs_and_allows_nothing_from_outside(rows: list[Any], written: Callable[..., Path]) -> None:
    page = Page(write_report(written(rows, LABELS)))
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "data", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/jpeg;base64,"))
        assert "style" not in attributes
    assert "url(" not in page.text["style"]
    assert "@import" not in page.text["style"]
    (policy,) = [a["content"] or "" for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page.source, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_drawings_say_in_words_what_they_show(rows: list[Any], written: Callable[..., Path]) -> None:
    page = Page(write_report(written(rows, LABELS)))
    drawings = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert all(drawing.get("aria-hidden") == "true" or drawing.get("aria-label") for drawing in drawings)
    text = " ".join(str(drawing.get("aria-label")) for drawing in drawings)
    assert "Reliability of fusion" in text
    assert "Reliability of probe, second look" in text
    assert "Risk against coverage, fusion: of the surest" in text


@pytest.fixture
def leaf(tmp_path: Path) -> Path:
    path = tmp_path / "leaf.png"
    PIL.Image.fromarray(np.full((300, 200, 3), (0, 120, 0), np.uint8)).save(path)
    return path


def test_pictures_are_those_of_the_very_images(row: Callable[..., Any], leaf: Path) -> None:
    same = row("rust", image=str(leaf), identity=load_image(leaf).identity)
    address = Pictures(None).of_image(same)
    assert address is not None
    assert load_image(base64.b64decode(address.partition(",")[2])).height == 128
    assert Pictures(None).of_image(same | {"identity": "0" * 64}) is None  # the file was changed since
    assert Pictures(None).of_image(same | {"source": str(leaf.with_name("gone.png"))}) is None
    assert Pictures(None).of_image(same | {"source": "http://127.0.0.1:9/leaf.png"}) is None


def test_pictures_of_similar_cases_come_from_the_memory() -> None:
    labelled_images = LabelledImages(("a",), ("rust",), ("a.png",), np.ones((1, 1), np.float32), ({"a": b"\xff\xd8"},))
    assert Pictures(labelled_images).of_neighbour(Neighbour("a", "rust", 0.9)) == "data:image/jpeg;base64,/9g="
    assert Pictures(labelled_images).of_neighbour(Neighbour("b", "rust", 0.9)) is None
    assert Pictures(None).of_neighbour(Neighbour("a", "rust", 0.9)) is None


def test_a_gone_image_is_shown_without_its_picture(
    row: Callable[..., Any], written: Callable[..., Path], leaf: Path
) -> None:
    there = row("healthy", between(0.9), image=str(leaf), identity=load_image(leaf).identity)
    page = Page(write_report(written([there, row("healthy", between(0.8), image="gone.png")], LABELS)))
    assert page.cards["errors"] == ["leaf.png", "gone.png"]
    assert len([tag for tag, _ in page.elements if tag == "img"]) == 3  # in three galleries
    assert "no picture" in page.text["errors"]


def test_twenty_thousand_rows_stay_under_30_mb(row: Callable[..., Any], written: Callable[..., Path]) -> None:
    names = [f"/store/camera-{place % 7}/{'x' * 60}-{place}.png" for place in range(20_000)]
    reasons = ["weak posterior: 0.578 for rust is below 0.814; disagreement: 59 % of the weight names another label"]
    rows = [row("rust", between(0.6), refer=True, image=name, reasons=reasons) for name in names]
    path = write_report(written(rows, LABELS))
    assert path.stat().st_size < 30 * 2**20
    table = Page(path).table
    assert table["folder"] == "/store/"
    assert [table["folder"] + name for name in table["columns"]["source"]] == names


def test_what_the_table_leaves_out_is_said(
    rows: list[Any], written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "MOST_ROWS", 3)
    page = Page(write_report(written(rows, LABELS)))
    assert "The first 3 of 8 images are listed; all are in predictions.jsonl." in page.text["rows"]
    assert len(page.table["columns"]["source"]) == 3


def test_agents_alone(rows: list[Any], written: Callable[..., Path]) -> None:
    page = Page(write_report(written(rows, LABELS, agents_only=True)))
    assert "Only the agents were evaluated, not their fusion. The best one, probe, is right on" in page.text["answer"]
    assert "fusion" not in page.text["figures"]
    assert "errors" not in page.cards


def test_a_run_that_decided_nothing_has_a_page(row: Callable[..., Any], written: Callable[..., Path]) -> None:
    page = Page(write_report(written([row("rust"), row("healthy")], LABELS)))
    assert "No image could be decided. 2 of 2 images could not be decided" in page.text["answer"]


def test_a_missing_or_damaged_file_is_named(rows: list[Any], written: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"metrics\.json' cannot be read"):
        write_report(tmp_path)
    out = written(rows, LABELS)
    with (out / "predictions.jsonl").open("a") as file:
        file.write('{"row": 8, "im\n')
    with pytest.raises(EvaluationError, match=r"predictions\.jsonl', line 9 was damaged"):
        write_report(out)
    (out / "run.json").unlink()
    with pytest.raises(EvaluationError, match=r"run\.json' cannot be read"):
        write_report(out)


def test_a_page_that_cannot_be_written_leaves_the_one_before(rows: list[Any], written: Callable[..., Path]) -> None:
    out = written(rows, LABELS)
    before = write_report(out).read_bytes()
    (out / "report.html.partial").mkdir()
    with pytest.raises(EvaluationError, match="cannot be written"):
        write_report(out)
    assert (out / "report.html").read_bytes() == before
