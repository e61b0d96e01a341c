"""A diagnosis as Markdown and HTML is true to its numbers. That it is inert: test_rendering_inert.py."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.core.diagnosis import Diagnosis
from consilience.core.evidence import Evidence, Neighbour
from consilience.core.prediction import Prediction
from consilience.core.render.colours import OTHER, PALETTE, label_colours
from consilience.core.render.html import html
from consilience.core.render.markdown import markdown
from consilience.core.render.phrases import headline, novelty_words, one_line, percent, ranked, source_name
from consilience.core.trust import Trust


def diagnosis(**changes: Any) -> Diagnosis:
    parts: dict[str, Any] = {
        "label": "rust",
        "posterior": {"healthy": 0.0094, "rust": 0.987, "scab": 0.0036},
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
            Prediction("tip-adapter", abstained=True, rationale="out of focus"),
            Prediction("probe", stage="second", probabilities={"healthy": 0.0, "rust": 1.0, "scab": 0.0}),
        ),
        "evidence": Evidence((Neighbour("a", "rust", 0.9126, "leaves/rust/017.jpg"),), {"rust": 1.0}),
        "novelty": 0.95,
        "rationale": "The probe and the neighbours agree.",
        "rounds": 1,
        "seconds": 0.0342,
        "cost_usd": 0.0,
        "identity": "0",
        "source": "leaves/007.jpg",
        "trust": (Trust("probe", "first", 200, 0.0213, 0.015, 0.456, accuracy=0.9724),),
    }
    return Diagnosis(**(parts | changes))


NOTE = "5 bands: 1, 2 and 3 are shown as red, green and blue (images.bands)"


def test_how_an_image_was_read_is_kept_and_shown() -> None:
    read = Diagnosis.from_dict(diagnosis(image_note=NOTE).to_dict())
    assert read.image_note == NOTE
    assert f"How the image was read: {NOTE}." in markdown(read)
    assert f"<p>How the image was read: {NOTE}.</p>" in html(read)
    plain = diagnosis()
    assert not any("was read" in page for page in (markdown(plain), html(plain)))
    older = plain.to_dict()
    del older["image_note"]
    assert Diagnosis.from_dict(older) == plain


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


def test_a_label_that_costs_chose_is_not_called_the_most_likely() -> None:
    priced = {"posterior": {"healthy": 0.9, "rust": 0.0, "scab": 0.1}, "verdict": "refer", "expected_cost": 0.9}
    scab, healthy = (diagnosis(**priced, label=label, prediction_set=(label,)) for label in ("scab", "healthy"))
    assert headline(scab) == "refer to a person: least costly scab, 10.0 %"
    assert headline(healthy) == "refer to a person: most likely healthy, 90.0 %"


def test_markdown_shows_every_figure_to_its_printed_digits() -> None:
    page = markdown(diagnosis())
    assert page.startswith("### rust, 98.7 %, confident\n")
    posterior, agents, cases = tables(page)
    assert posterior[2:] == [["rust", "98.7 %", "█" * 20], ["healthy", "0.9 %", ""], ["scab", "0.4 %", ""]]
    assert agents[0] == ["Agent", "Says", "Raw", "Calibrated", "Weight", "n", "Accuracy", "ECE", "OCR", "CCC"]
    assert agents[2:] == [
        ["probe", "rust", "91.4 %", "86.4 %", "0.73", "200", "97.2 %", "0.021", "0.015", "0.46"],
        ["qwen", "failed", *"––––––––"],
        ["tip-adapter", "abstained", *"––––––––"],
        ["probe, second look", "rust", "100 %", *"–––––––"],
    ]
    assert cases[2:] == [["rust", "0.913", "017.jpg"]]
    assert "- **qwen**: failed: TimeoutError: no answer in 30 s" in page
    assert "- **tip-adapter**: abstained: out of focus" in page
    assert "Unlike the images it knows: more unusual than 95.0 % of them." in page
    assert "Image 007.jpg: 1 round, 0.034 s" in page
    assert "Why a person" not in page


def test_html_shows_what_markdown_shows() -> None:
    page = html(diagnosis(reasons=("the posterior is weak.",), cost_usd=0.0123))
    for words in (
        "rust, 98.7 %, confident", "91.4 %", "86.4 %", "0.73", "0.021", "0.913", "017.jpg", "no answer in 30 s",
        "out of focus", "The probe and the neighbours agree.", "more unusual than 95.0 %", "no picture",
        "Why a person should look: the posterior is weak.", "1 round, 0.034 s, 0.0123 USD",
    ):  # fmt: skip
        assert words in page, words


def test_a_calibrator_that_changes_the_label_is_shown() -> None:
    changed = Prediction("probe", probabilities={"rust": 0.6, "scab": 0.4}, calibrated={"rust": 0.45, "scab": 0.55})
    agents = tables(markdown(diagnosis(predictions=(changed,))))[1]
    assert agents[2][1:4] == ["rust", "60.0 %", "45.0 %; scab 55.0 %"]


def test_the_columns_of_markdown_tables_stand_below_each_other() -> None:
    posterior = {"锈病": 0.7, "Ржавчина": 0.2, "nai\u0308ve": 0.1}
    page = markdown(diagnosis(label="锈病", posterior=posterior, predictions=(), evidence=Evidence((), {})))
    lines = [line for line in page.splitlines() if line.startswith("|")]
    # a terminal gives a Chinese character two columns and a combining mark none
    spread = [line.replace("锈病", "####").replace("\u0308", "") for line in lines[:5]]
    bars = [[i for i, sign in enumerate(line) if sign == "|"] for line in spread]
    assert [len(row) for row in bars] == [4] * 5
    assert bars == [bars[0]] * 5


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
    line = one_line(text, 50)
    assert len(line) <= 50
    assert line.splitlines() in ([], [line])
    line.encode()


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
    assert novelty_words(Evidence((), {}), 0.0) == "No similar cases were found."
    assert novelty_words(Evidence(case, {}), 0.2).startswith("Like the images it knows: more unusual than 20.0 %")
    assert novelty_words(Evidence(case, {}), 0.9).startswith("Unlike the images it knows")
    assert novelty_words(Evidence(case, {}), 0.99).startswith("Very unlike the images it knows")
