"""Whatever the texts of a diagnosis hold, none of it becomes Markdown or HTML."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from consilience.core.diagnosis import Diagnosis
from consilience.core.evidence import Evidence, Neighbour
from consilience.core.images import load_image
from consilience.core.prediction import Prediction
from consilience.core.render.html import html
from consilience.core.render.markdown import markdown
from consilience.core.render.phrases import one_line
from consilience.core.trust import Trust

MAGENTA = load_image(np.full((40, 60, 3), (255, 0, 255), np.uint8))

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' autofocus onfocus='alert(1)",
    "&lt;script&gt; &amp; &#60;b&#62;",
    "a | b || c \\| d \\\\| e",
    "`code` ``more`` ```",
    "one\ntwo\r\n\n| x | y |\n|---|---|\n# heading\n- item\n```\nfence",
    "[click](javascript:alert(1)) ![i](http://e.example/i.png) [r]: http://e.example",
    "<http://e.example> http://e.example www.e.example a@e.example",
    "*bold* **bolder** _it_ __u__ ~~gone~~ $x^2$ # \\",
    "\u202egnirts desrever\u202c \x00\x07\x1b[31m",
    "# x",
    "- x",
    "1. x",
    "> x",
    "***",
]


def hostile_diagnosis(text: str) -> Diagnosis:
    """The text wherever a diagnosis takes one."""
    posterior = {text: 0.6, "other": 0.4}
    return Diagnosis(
        label=text,
        posterior=posterior,
        prediction_set=(text, "other"),
        verdict="refer",
        reasons=(text, text),
        predictions=(
            Prediction(text, probabilities=posterior, calibrated={text: 0.3, "other": 0.7}, weight=1.0, rationale=text),
            Prediction("failed", error=text),
            Prediction("abstained", abstained=True, rationale=text),
        ),
        evidence=Evidence((Neighbour(text, text, 0.5, text),), {text: 1.0, "other": 0.0}),
        novelty=0.5,
        rationale=text,
        rounds=1,
        seconds=0.01,
        cost_usd=0.0,
        identity="0",
        source=text,
        trust=(Trust(text, "first", 10, 0.1, 0.1, 0.1),),
    )


class Elements(HTMLParser):
    """What a browser would build: elements, their attributes and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_inert_in_markdown(text: str) -> None:
    page = markdown(hostile_diagnosis(text))
    tables = [block.splitlines() for block in page.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3
    for table in tables:
        assert len({line.count("|") for line in table}) == 1  # so for a reader that knows no escapes, too
    known = {
        "root", "heading", "paragraph", "inline", "text", "strong", "bullet_list", "list_item",
        "table", "thead", "tbody", "tr", "th", "td", "text_special",
    }  # fmt: skip
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(page)
    every = [*tokens, *(child for token in tokens for child in token.children or ())]
    kinds = {re.sub(r"_(open|close)$", "", token.type) for token in every}
    assert kinds <= known, kinds - known
    assert sum(token.type == "heading_open" for token in tokens) == 1
    assert sum(token.type == "table_open" for token in tokens) == 3
    assert sum(token.type == "list_item_open" for token in tokens) == 3
    assert sum(token.type == "strong_open" for token in every) == 3


@given(st.text(max_size=60))
def test_a_text_is_read_back_from_markdown_as_it_was(text: str) -> None:
    page = markdown(replace(hostile_diagnosis("rust"), rationale=f"x{text}x"))
    shown = Elements(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(page)).text
    assert f"Rationale: {one_line(f'x{text}x', 2000)}\n" in shown


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_inert_in_html(text: str) -> None:
    thumbnail = MAGENTA.thumbnail()
    case = Neighbour(text, text, 0.5, text, lambda _: thumbnail)
    evidence = Evidence((case,), {text: 1.0, "other": 0.0})
    page = Elements(html(replace(hostile_diagnosis(text), evidence=evidence, image=MAGENTA)))
    elements = page.elements
    assert {tag for tag, _ in elements} <= {
        "div", "style", "h3", "p", "img", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "b", "span",
    }  # fmt: skip
    assert {name for _, attributes in elements for name in attributes} <= {"class", "style", "alt", "src"}
    sources = [attributes["src"] or "" for tag, attributes in elements if tag == "img"]
    assert len(sources) == 2
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert one_line(text) in page.text


@given(st.text(max_size=60))
def test_a_text_is_read_back_from_html_as_it_was(text: str) -> None:
    shown = Elements(html(replace(hostile_diagnosis("rust"), rationale=f"x{text}x"))).text
    assert one_line(f"x{text}x", 2000) in shown


def test_html_holds_the_image_and_the_thumbnails() -> None:
    case = Neighbour("a", "rust", 0.9, "gone.jpg", lambda identity: MAGENTA.thumbnail() if identity == "a" else None)
    page = Elements(html(replace(hostile_diagnosis("rust"), image=MAGENTA, evidence=Evidence((case,), {}))))
    sources = [attributes["src"] for tag, attributes in page.elements if tag == "img"]
    assert len(sources) == 2
    for source in sources:
        assert source is not None
        picture = PIL.Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))))
        assert picture.size == (60, 40)
        np.testing.assert_allclose(np.asarray(picture), MAGENTA.pixels, atol=4)
