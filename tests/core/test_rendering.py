"""A diagnosis as Markdown and HTML: true to its numbers, and inert whatever its texts hold."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from consilience.diagnosis import Diagnosis
from consilience.evidence import Evidence, Neighbour
from consilience.images import load_image
from consilience.prediction import Prediction
from consilience.rendering import (
    OTHER,
    PALETTE,
    headline,
    html,
    label_colours,
    markdown,
    novelty_words,
    one_line,
    percent,
    ranked,
    source_name,
)
from consilience.trust import Trust

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


def diagnosis(**changes: object) -> Diagnosis:
    parts: dict[str, object] = {
        "label": "rust",
        "posterior": {"healthy": 0.0095, "rust": 0.987, "scab": 0.0035},
        "prediction_set": ("rust",),
        "verdict": "confident",
        "reasons": (),
        "predictions": (
            Prediction(
                "probe",
                probabilities={"healthy": 0.05, "rust": 0.9137, "scab": 0.0363},
                calibrated={"healthy": 0.06, "rust": 0.8642, "scab": 0.0758},
                weight=0.731,
            ),
            Prediction("qwen", error="TimeoutError: no answer in 30 s"),
            Prediction("cache", abstained=True, rationale="out of focus"),
            Prediction("probe", stage="second", probabilities={"healthy": 0.0, "rust": 1.0, "scab": 0.0}),
        ),
        "evidence": Evidence((Neighbour("a", "rust", 0.9126, "leaves/rust/017.jpg"),), {"rust": 1.0}, 0.95),
        "rationale": "The probe and the neighbours agree.",
        "rounds": 1,
        "seconds": 0.0342,
        "cost_usd": 0.0,
        "identity": "0",
        "source": "leaves/007.jpg",
        "trust": (Trust("probe", "first", 200, 0.0213, 0.015, 0.456, accuracy=0.9725),),
    }
    return Diagnosis(**(parts | changes))  # type: ignore[arg-type]


def hostile_diagnosis(text: str) -> Diagnosis:
    """The text wherever a diagnosis takes one."""
    posterior = {text: 0.6, "other": 0.4}
    return diagnosis(
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
        evidence=Evidence((Neighbour(text, text, 0.5, text),), {text: 1.0, "other": 0.0}, 0.5),
        rationale=text,
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


def tables(page: str) -> list[list[list[str]]]:
    """Markdown tables as rows of cells, split at every bar, as the plainest reader would."""
    blocks = [block for block in page.split("\n\n") if block.startswith("|")]
    return [[[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines()] for block in blocks]


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.0, "0 %"), (1e-9, "under 0.1 %"), (0.00049, "under 0.1 %"), (0.0006, "0.1 %"), (0.61, "61.0 %"),
        (0.98749, "98.7 %"), (0.9994, "99.9 %"), (0.9996, "over 99.9 %"), (1.0, "100 %"), (1.0 + 1e-7, "100 %"),
    ],
)  # fmt: skip
def test_percent(share: float, words: str) -> None:
    assert percent(share) == words


def test_the_headline_says_the_verdict_first() -> None:
    assert headline(diagnosis()) == "rust, 98.7 %, confident"
    posterior = {"healthy": 0.29, "rust": 0.1, "scab": 0.61}
    referred = {"label": "scab", "posterior": posterior, "verdict": "refer"}
    expected = "refer to a person: most likely scab, 61.0 %"
    assert headline(diagnosis(**referred, prediction_set=("scab",))) == expected
    assert headline(diagnosis(**referred, prediction_set=("scab", "rust"))) == f"{expected}; could also be rust"
    three = diagnosis(**referred, prediction_set=("scab", "healthy", "rust"))
    assert headline(three) == f"{expected}; could also be healthy or rust"
    many = diagnosis(**referred, prediction_set=("scab", "a", "b", "c", "d", "e", "f"))
    assert headline(many) == f"{expected}; could also be a, b, c or 3 more"


def test_markdown_shows_every_figure_to_its_printed_digits() -> None:
    page = markdown(diagnosis())
    assert page.startswith("### rust, 98.7 %, confident\n")
    posterior, agents, cases = tables(page)
    assert posterior[2:] == [["rust", "98.7 %", "█" * 20], ["healthy", "0.9 %", ""], ["scab", "0.3 %", ""]] or (
        posterior[3][1] == percent(0.0095) and posterior[4][1] == percent(0.0035)
    )
    assert agents[0] == ["Agent", "Says", "Raw", "Calibrated", "Weight", "n", "Accuracy", "ECE", "OCR", "CCC"]
    assert agents[2:] == [
        ["probe", "rust", "91.4 %", "86.4 %", "0.73", "200", "97.2 %", "0.021", "0.015", "0.46"],
        ["qwen", "failed", *"––––––––"],
        ["cache", "abstained", *"––––––––"],
        ["probe, second look", "rust", "100 %", *"–––––––"],
    ]
    assert cases[2:] == [["rust", "0.913", "017.jpg"]]
    assert "- **qwen**: failed: TimeoutError: no answer in 30 s" in page
    assert "- **cache**: abstained: out of focus" in page
    assert "An unusual image: more novel than 95.0 % of the remembered ones." in page
    assert "Image 007.jpg: 1 round, 0.034 s" in page
    assert "Why a person" not in page


def test_html_shows_what_markdown_shows() -> None:
    page = Elements(html(diagnosis(reasons=("the posterior is weak.",), cost_usd=0.0123)))
    for words in (
        "rust, 98.7 %, confident", "91.4 %", "86.4 %", "0.73", "0.021", "0.913", "017.jpg", "no answer in 30 s",
        "out of focus", "The probe and the neighbours agree.", "more novel than 95.0 %", "no picture",
        "Why a person should look: the posterior is weak.", "1 round, 0.034 s, 0.0123 USD",
    ):  # fmt: skip
        assert words in page.text, words


def test_a_calibrator_that_changes_the_label_is_shown() -> None:
    changed = Prediction("probe", probabilities={"rust": 0.6, "scab": 0.4}, calibrated={"rust": 0.45, "scab": 0.55})
    agents = tables(markdown(diagnosis(predictions=(changed,))))[1]
    assert agents[2][1:4] == ["rust", "60.0 %", "45.0 %; scab 55.0 %"]


def test_the_columns_of_markdown_tables_stand_below_each_other() -> None:
    posterior = {"锈病": 0.7, "Ржавчина": 0.2, "nai\u0308ve": 0.1}
    page = markdown(diagnosis(label="锈病", posterior=posterior, predictions=(), evidence=Evidence((), {}, 0.0)))
    lines = [line for line in page.splitlines() if line.startswith("|")]
    bars = [[sum(2 if "一" <= c <= "鿿" else c != "\u0308" for c in line[:i]) for i in range(len(line)) if line[i] == "|"]
            for line in lines[:5]]  # fmt: skip
    assert len(lines) >= 5
    assert all(row == bars[0] for row in bars)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_inert_in_markdown(text: str) -> None:
    page = markdown(hostile_diagnosis(text))
    for table in tables(page):
        assert len({len(row) for row in table}) == 1
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
    page = markdown(diagnosis(rationale=f"x{text}x"))
    shown = Elements(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(page)).text
    assert f"Rationale: {one_line(f'x{text}x', 2000)}\n" in shown


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_inert_in_html(text: str) -> None:
    thumbnail = MAGENTA.thumbnail()
    case = Neighbour(text, text, 0.5, text, lambda _: thumbnail)
    page = Elements(html(hostile_diagnosis(text)))
    pictured = hostile_diagnosis(text).to_dict() and diagnosis(
        label=text, posterior={text: 1.0}, evidence=Evidence((case,), {text: 1.0}, 0.1), predictions=()
    )
    elements = page.elements + Elements(html(pictured)).elements
    assert {tag for tag, _ in elements} <= {
        "div", "style", "h3", "p", "img", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "b", "span",
    }  # fmt: skip
    assert {name for _, attributes in elements for name in attributes} <= {"class", "style", "alt", "src"}
    assert all(attributes["src"].startswith("data:image/jpeg;base64,") for tag, attributes in elements if tag == "img")  # type: ignore[union-attr]
    assert one_line(text) in page.text


@given(st.text(max_size=60))
def test_a_text_is_read_back_from_html_as_it_was(text: str) -> None:
    shown = Elements(html(diagnosis(rationale=f"x{text}x"))).text
    assert one_line(f"x{text}x", 2000) in shown


def test_html_holds_the_image_and_the_thumbnails() -> None:
    case = Neighbour("a", "rust", 0.9, "gone.jpg", lambda identity: MAGENTA.thumbnail() if identity == "a" else None)
    page = Elements(html(diagnosis(image=MAGENTA, evidence=Evidence((case,), {"rust": 1.0}, 0.0))))
    sources = [attributes["src"] for tag, attributes in page.elements if tag == "img"]
    assert len(sources) == 2
    for source in sources:
        assert source is not None
        picture = PIL.Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))))
        assert picture.size == (60, 40)
        np.testing.assert_allclose(np.asarray(picture), MAGENTA.pixels, atol=4)


def test_html_takes_the_colours_of_its_page_and_keeps_mathjax_away() -> None:
    page = html(diagnosis())
    assert "background:none" in page
    assert not re.search(r"[^-]color:(?!inherit)", page)
    assert 'class="consilience tex2jax_ignore mathjax_ignore"' in page
    assert "http" not in page


def test_one_line() -> None:
    assert one_line(" a\n\tb\u2028c\x00 ") == "a b c"
    assert one_line("\u202eabc\u2066") == "abc"
    assert one_line("caf\udce9.jpg") == "caf\ufffd.jpg"
    assert one_line("abcdef", 4) == "abc…"
    assert one_line("क्\u200dष") == "क्\u200dष"


@given(st.text(alphabet=st.characters(), max_size=200))
def test_what_is_rendered_can_be_written_as_utf8(text: str) -> None:
    said = one_line(text, 50)
    assert len(said) <= 50
    assert said.splitlines() in ([], [said])
    said.encode()


def test_many_labels_are_summed_up() -> None:
    posterior = {f"label {i}": (60 - i) / 1830 for i in range(60)}
    shown, rest = ranked(posterior, 10)
    assert [label for label, _ in shown] == [f"label {i}" for i in range(9)]
    assert len(rest) == 51
    assert sum(rest) + sum(share for _, share in shown) == pytest.approx(1.0)
    many = diagnosis(label="label 0", posterior=posterior)
    assert "| 51 others |" in markdown(many)
    assert "51 others" in html(many)
    exactly = {f"label {i}": 0.1 for i in range(10)}
    assert len(ranked(exactly, 10)[0]) == 10


def test_colours_follow_the_task_and_grey_is_what_is_least_probable() -> None:
    assert label_colours(diagnosis()) == dict(zip(["healthy", "rust", "scab"], PALETTE, strict=False))
    posterior = {f"label {i}": (i + 1) / 78 for i in range(12)}
    colours = label_colours(diagnosis(label="label 11", posterior=posterior))
    assert list(colours) == list(posterior)
    assert [colours[f"label {i}"] for i in range(12)] == [OTHER] * 4 + list(reversed(PALETTE))


@pytest.mark.parametrize(
    ("source", "name"),
    [("a/b/leaf.jpg", "leaf.jpg"), ("C:\\a\\leaf.jpg", "leaf.jpg"), ("https://e.example/a/", "a"), ("", "unnamed")],
)
def test_source_name(source: str, name: str) -> None:
    assert source_name(source) == name


def test_novelty_in_words() -> None:
    case = (Neighbour("a", "rust", 0.9),)
    assert novelty_words(Evidence((), {}, 0.0)) == "No similar cases were found."
    assert novelty_words(Evidence(case, {}, 0.2)).startswith("A familiar image: more novel than 20.0 %")
    assert novelty_words(Evidence(case, {}, 0.9)).startswith("An unusual image")
    assert novelty_words(Evidence(case, {}, 0.99)).startswith("A very unusual image")
