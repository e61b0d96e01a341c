"""What is said in words is what the record holds: no nan, no None, nobody for a label who is against it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from consilience import Diagnoser, Diagnosis, fit, load_settings
from consilience.core.diagnosis_record import Conclusion
from consilience.core.prediction import Prediction
from consilience.core.render.html import html
from consilience.core.render.markdown import markdown
from consilience.core.render.phrases import headline, percent
from consilience.core.trust import Trust
from consilience.frontends.chat.image_comparison import compared
from consilience.frontends.chat.label_answers import others, why_not
from consilience.frontends.chat.panel_record import how_often_right, overall
from consilience.frontends.chat.reliance import can_be_trusted, what_to_do
from consilience.frontends.chat.rule_answers import how_sure, similar, what_if, who, why
from consilience.frontends.chat.suggestions import not_understood
from consilience.frontends.cli.diagnosis_text import detail_of, line_of
from consilience.frontends.cli.panel_text import claim_words, facts, threshold_words, worth_lines
from consilience.orchestrator.decision.calibration_set import MIN_JUDGED_POSTERIOR, CalibrationSet
from consilience.orchestrator.decision.explain import explain

LABELS = ("apple", "beech", "cedar")
WRONG = re.compile(r"\bnan\b|\bNaN\b|\bNone\b(?! of)|\binf\b")


def _shares(values: np.ndarray) -> dict[str, float]:
    return dict(zip(LABELS, (values / values.sum()).tolist(), strict=True))


def test_nobody_is_for_a_label_who_is_against_it() -> None:
    """Calibration may change which label leads: what is printed decides on which side an agent stands."""
    rng, turned = np.random.default_rng(0), 0
    trusts = [Trust(name, "first", 50, 0.1, 0.1, 0.1, accuracy=0.8, brier=0.2) for name in ("a", "b", "c")]
    for _ in range(120):
        predictions = tuple(
            Prediction(name, "first", _shares(rng.random(3)), calibrated=_shares(rng.random(3)), weight=1.0)
            for name in ("a", "b", "c")
        )
        posterior = _shares(rng.random(3))
        label = max(posterior, key=posterior.__getitem__)
        conclusion = Conclusion(
            label=label, posterior=posterior, prediction_set=(label,), verdict="confident", reasons=(),
            predictions=predictions, novelty=0.1, rationale="", rounds=1, cost_usd=0.0,
        )  # fmt: skip
        words = explain(conclusion, {"neighbours": []}, trusts)
        for prediction in predictions:
            assert prediction.calibrated is not None
            top = max(prediction.calibrated, key=prediction.calibrated.__getitem__)
            turned += top != prediction.label
            found = re.search(rf"(For|Against) it:[^:]*\b{prediction.agent} \((\w+) ([\d.]+ %)", words)
            assert found is not None
            assert found.groups() == ("For" if top == label else "Against", top, percent(prediction.calibrated[top]))
    assert turned > 100  # the case is there


def _sentences(diagnosis: Diagnosis, before: Diagnosis, diagnoser: Diagnoser) -> list[str]:
    """Return all that a person may read of a diagnosis, and of the one before it."""
    weigher, id, panel = diagnoser.weigher, "3f9c0f", diagnoser.panel
    labels, decision = tuple(diagnosis.posterior), diagnoser.settings.decision
    claim = panel.claim(diagnoser.settings.policy, decision)
    known = panel.calibration_set_in_use(decision)
    replies = [
        why(diagnosis, id),
        who(diagnosis, id),
        who(diagnosis, id, panel.agents),
        how_sure(diagnosis, id, weigher, labels),
        others(diagnosis, id),
        *(why_not(diagnosis, id, asked, weigher.policy) for asked in ((), *((label,) for label in labels))),
        can_be_trusted(diagnosis, id, weigher.policy, overall(claim)),
        what_to_do(diagnosis, id, weigher.policy, can_refer=True),
        *(how_often_right(id, claim, known, panel.task.names, asked) for asked in ((), labels)),
        compared(diagnosis, before, id),
        compared(diagnosis, None, id),
        not_understood(diagnosis, id),
        similar(diagnosis, id, None),
        how_sure(diagnosis, id, weigher),
        *(what_if(diagnosis, id, (agent,), weigher) for agent in diagnoser.panel.agents),
    ]
    tables = [cell for reply in replies if reply.table is not None for row in reply.table.rows for cell in row]
    console = Console(width=200, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    console.print(detail_of(diagnosis), line_of(diagnosis))
    texts = [reply.text for reply in replies] + tables + [console.export_text(), headline(diagnosis)]
    return [*texts, diagnosis.rationale, *diagnosis.reasons, markdown(diagnosis), html(diagnosis)]


PERCENT = re.compile(r"(?:under |over )?\d[\d.]* %")


def _shares_that_differ(diagnosis: Diagnosis, diagnoser: Diagnoser) -> set[str]:
    """Return the percentages in the answers about one image that stand neither in its record nor in the panel's."""
    policy, claim = (
        diagnoser.weigher.policy,
        diagnoser.panel.claim(diagnoser.settings.policy, diagnoser.settings.decision),
    )
    shares = [*diagnosis.posterior.values(), MIN_JUDGED_POSTERIOR, 1.0 - policy.settings.coverage]
    shares += [share for p in diagnosis.predictions for share in (p.calibrated or {}).values()]
    shares += [share for share in (diagnosis.novelty, policy.threshold.probability) if share is not None]
    if claim is not None:
        shares += [claim.accuracy, *claim.interval, claim.settled, claim.settled_accuracy or 0.0]
    shares += [] if policy.threshold.probability is None else [policy.threshold.accuracy]
    replies = [
        others(diagnosis, "id"),
        *(why_not(diagnosis, "id", (label,), policy) for label in diagnosis.posterior if label != diagnosis.label),
        can_be_trusted(diagnosis, "id", policy, overall(claim)),
        how_often_right("id", claim, CalibrationSet.none(), (), ()),
        compared(diagnosis, diagnosis, "id"),
    ]
    said = {share for reply in replies for share in PERCENT.findall(_without_reasons(reply.text, diagnosis))}
    return said - {percent(share) for share in shares if share == share}


def _without_reasons(text: str, diagnosis: Diagnosis) -> str:
    """Return a text without the reasons of the record, which hold percentages of their own."""
    for reason in diagnosis.reasons:
        text = text.replace(reason.rstrip("."), "")
    return text


def _silent(inputs: Any) -> list[Prediction]:
    return [Prediction("broken", error="status 503: no worker is free") for _ in range(len(inputs))]


@pytest.mark.parametrize(
    "kind", ["one image a label", "few images", "one agent", "promised accuracy", "costs", "failed agent"]
)
def test_every_sentence_of_a_panel_is_whole(kind: str, blobs: Any, scripted: Any, good: Any, tmp_path: Path) -> None:
    images = {"one image a label": 3, "few images": 9}.get(kind, 60)
    source = blobs.save(tmp_path / "vectors.npz", *blobs.drawn(images, 0))
    settings: dict[str, Any] = {"agents": "gaussian" if kind == "one agent" else "neighbours,gaussian"}
    if kind == "promised accuracy":
        settings["policy__settle"] = "risk_control"
    if kind == "costs":
        settings |= {"decision__costs__person": 0.3, "decision__costs__mistakes": 1.0}
    chosen = load_settings(**settings)
    agents = [scripted("broken", good)] if kind == "failed agent" else []
    fit(source, tmp_path / "panel", settings=chosen, agents=agents, group="none")
    if agents:
        agents = [dataclasses.replace(agents[0], script=_silent)]
    with Diagnoser.open(tmp_path / "panel", settings=chosen, agents=agents) as diagnoser:
        new, _ = blobs.drawn(3, 7, 0.6)
        strange = np.eye(8, dtype=np.float32)[[6]]
        results = [*diagnoser.diagnose_vectors(np.r_[new, strange], list("abcd"))]
        said = facts(diagnoser.panel, chosen.policy, chosen.decision)
        words = [threshold_words(said["policy"]), *claim_words(said["claim"]), *worth_lines(said["policy"])]
        words += said["warnings"]
        for result in results:
            assert isinstance(result, Diagnosis)
            assert isinstance(results[0], Diagnosis)
            words += _sentences(result, results[0], diagnoser)
            assert _shares_that_differ(result, diagnoser) == set()
            counted = [p for p in result.predictions if p.calibrated is not None]
            assert f"{len(counted)} " in who(result, "id").text
    assert [text for text in words if WRONG.search(text)] == []
