"""What cannot be judged, or may be none of the labels, is headlined so by every front end; details name the label."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console, RenderableType

from consilience.core.diagnosis import Diagnosis
from consilience.core.evidence import Evidence, Neighbour
from consilience.core.images import Image
from consilience.core.prediction import Prediction
from consilience.core.render import picture
from consilience.core.render.drawing import Canvas
from consilience.core.render.html import html
from consilience.core.render.markdown import markdown
from consilience.core.render.phrases import alternatives, claim, headline, title
from consilience.frontends.chat.rule_answers import diagnosis_reply, how_sure
from consilience.frontends.cli.diagnosis_text import detail_of, line_of
from consilience.frontends.slack.blocks import message
from consilience.frontends.web.api_models import diagnosis_response, diagnosis_summary
from consilience.orchestrator.decision.explain import explain
from consilience.orchestrator.feedback.history import StoredDiagnosis
from tests.orchestrator.decision.test_weighing import member, weigher

DARK = "Too dark to judge: take it again in daylight"


def diagnosis(**changes: Any) -> Diagnosis:
    posterior = {"rust": 0.77, "scab": 0.23}
    parts: dict[str, Any] = {
        "label": "rust",
        "posterior": posterior,
        "prediction_set": ("rust", "scab"),
        "verdict": "refer",
        "reasons": ("It is doubtful",),
        "predictions": (Prediction("probe", probabilities=posterior, calibrated=posterior, weight=1.0),),
        "evidence": Evidence((Neighbour("a", "rust", 0.9),), {"rust": 1.0, "scab": 0.0}),
        "novelty": 0.5,
        "rationale": "Because.",
        "rounds": 1,
        "seconds": 0.1,
        "cost_usd": 0.0,
        "identity": "0",
        "source": "desk.png",
        "image": Image.from_pixels(np.zeros((8, 8, 3), np.uint8)),
    }
    return Diagnosis(**(parts | changes))


NOVEL = diagnosis(is_novel=True, novelty=0.99)
UNJUDGEABLE = diagnosis(unjudgeable=DARK)
BOTH = diagnosis(unjudgeable=DARK, is_novel=True, novelty=0.99)
USUAL = diagnosis()
HEADLINES = [(NOVEL, "Perhaps none of these"), (UNJUDGEABLE, DARK), (BOTH, DARK)]


def text_of(part: RenderableType) -> str:
    console = Console(width=120, file=None)
    with console.capture() as captured:
        console.print(part)
    return captured.get()


def test_the_words() -> None:
    assert [headline(made) for made in (USUAL, NOVEL, UNJUDGEABLE, BOTH)] == [
        "refer to a person: most likely rust, 77.0 %; could also be scab",
        "Perhaps none of these: refer to a person",
        DARK,
        DARK,
    ]
    assert [title(made) for made in (USUAL, NOVEL, UNJUDGEABLE)] == [
        "Most likely rust, 77.0 %",
        "Perhaps none of these",
        DARK,
    ]
    assert [claim(made) for made in (USUAL, NOVEL, UNJUDGEABLE)] == [
        ("rust", "77.0 %"),
        ("Perhaps none of these", ""),
        ("Too dark to judge", ""),
    ]
    assert [alternatives(made) for made in (USUAL, NOVEL, UNJUDGEABLE)] == ["scab", "", ""]
    settled = diagnosis(verdict="confident", reasons=(), prediction_set=("rust",))
    assert (headline(settled), title(settled)) == ("rust, 77.0 %, confident", "rust, 77.0 %")


@pytest.mark.parametrize(("made", "words"), HEADLINES)
def test_every_front_end_begins_with_them_and_names_the_label_in_the_details(made: Diagnosis, words: str) -> None:
    stored = StoredDiagnosis("id", datetime(2026, 11, 29, tzinfo=UTC), made, None, "web", "")
    reply = diagnosis_reply(made, "id", None, ("rust", "scab"), can_refer=False)
    page = diagnosis_response(stored, (), "")["page"]
    openings = {
        "markdown": markdown(made).removeprefix("### "),
        "html": html(made).split("<h3", 1)[1].split(">", 1)[1].removeprefix("⚑ "),
        "detail": text_of(detail_of(made)).removeprefix(" ⚑ "),
        "chat": reply.text,
        "how sure": how_sure(made, "id", weigher(member("probe"))).text,
        "slack": message(reply)["text"],
        "json": json.loads(made.to_json())["headline"],
        "page": page["headline"],
        "page's title": page["title"],
        "page's list": diagnosis_summary(stored).page.title,
    }
    assert {where: text.startswith(words) for where, text in openings.items()} == dict.fromkeys(openings, True)
    assert "rust 77" not in text_of(line_of(made))
    assert words.partition(":")[0] in text_of(line_of(made))
    for text in (markdown(made), html(made), text_of(detail_of(made))):
        assert "rust" in text
    assert json.loads(made.to_json())["label"] == "rust"
    assert page["alternatives"] == ""


@pytest.mark.parametrize(("made", "words"), HEADLINES)
def test_the_picture_is_headlined_with_them(made: Diagnosis, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    draw = Canvas.text

    def noted(canvas: Any, x: float, y: float, text: str, **more: Any) -> float:
        written.append(text)
        return draw(canvas, x, y, text, **more)

    monkeypatch.setattr(Canvas, "text", noted)
    assert made.image is not None
    picture.drawn(made, made.image)
    assert words in written
    assert not any(text.startswith(("Most likely", "could also be")) for text in written)


def test_right_is_a_button_only_where_a_label_is_claimed() -> None:
    buttons = [diagnosis_reply(made, "id", None, ("rust", "scab"), can_refer=True).buttons for made in (USUAL, NOVEL)]
    assert [[button.text for button in offered] for offered in buttons] == [
        ["Right", "Wrong: it is…", "None of these", "Refer to a person", "Where did it look?"],
        ["It is rust", "Wrong: it is…", "None of these", "Refer to a person", "Where did it look?"],
    ]


def test_the_rationale_claims_no_label_either() -> None:
    evidence: dict[str, Any] = {"neighbours": [], "distribution": {}}
    trusts = [member("probe").trust]
    openings = [explain(made, evidence, trusts).partition(" For it")[0] for made in (USUAL, NOVEL, UNJUDGEABLE)]
    assert openings == [
        "Most likely rust, 77.0 %.",
        "Perhaps none of these; if it is one, most likely rust, 77.0 %.",
        f"{DARK}. As it is, most likely rust, 77.0 %.",
    ]


def test_old_records_say_so_too(tmp_path: Path) -> None:
    assert headline(Diagnosis.from_dict(json.loads(NOVEL.to_json()))) == "Perhaps none of these: refer to a person"
    assert Diagnosis.from_dict(json.loads(UNJUDGEABLE.to_json())).unjudgeable == DARK
