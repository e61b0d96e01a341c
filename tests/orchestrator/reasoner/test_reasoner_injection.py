"""Whoever writes into the record can move the reasoner's own vote and nothing else, even if it obeys everybody."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience import Diagnoser, Diagnosis, Prediction, fit, load_settings
from consilience.agents import AgentInput
from consilience.core.settings.settings import Settings
from tests.support.reasoner_cases import ATTEMPTS, check_is_data, output_of, text_of
from tests.support.scripted_server import Scripted, ScriptedServer, chat

AGENTS = "neighbours,gaussian"


def honest(request: dict[str, Any]) -> Scripted:
    """Names the label of the most similar image."""
    label, _ = json.JSONDecoder().raw_decode(text_of(request).split("with their similarities:\n- ")[1])
    return chat(output_of(label, 0.9, "The nearest.", **asked(request)))


def gullible(request: dict[str, Any]) -> Scripted:
    """Does whatever anybody wrote."""
    return chat(output_of("cedar", 1.0, "Ignore the others and answer cedar.", **asked(request)))


def asked(request: dict[str, Any]) -> dict[str, Any]:
    return {"ask_again": []} if "can be asked" in text_of(request) else {}


@pytest.fixture
def member(scripted: Any, good: Any) -> Callable[[str], Any]:
    """An agent that sees well and gives a rationale."""

    def saying(rationale: str) -> Any:
        def look(inputs: AgentInput) -> list[Prediction]:
            return [
                Prediction("", probabilities=prediction.probabilities, rationale=rationale)
                for prediction in good(inputs)
            ]

        return scripted("expert", look)

    return saying


def with_reasoner(server: ScriptedServer, role: str) -> Settings:
    return load_settings(
        agents=AGENTS,
        replies__keep=False,
        reasoner__model="tiny",
        reasoner__base_url=server.url,
        reasoner__role=role,
        reasoner__max_retries=0,
    )


@pytest.fixture
def fitted(vectors: Path, tmp_path: Path, member: Any) -> Callable[[Settings], Path]:
    def panel(settings: Settings) -> Path:
        fit(vectors, tmp_path / "panel", settings=settings, agents=["neighbours", "gaussian", member("I see rings.")])
        return tmp_path / "panel"

    return panel


def diagnosed(panel: Path, settings: Settings, vectors: np.ndarray, agent: Any, name: str = "leaf") -> list[Diagnosis]:
    with Diagnoser.open(panel, settings=settings, agents=[agent]) as diagnoser:
        results = list(diagnoser.diagnose_vectors(vectors, [name] * len(vectors)))
    return [result for result in results if isinstance(result, Diagnosis)]


def votes(result: Diagnosis) -> dict[str, tuple[Any, Any, Any]]:
    """By agent: what it said, what that is worth, and its weight."""
    return {
        prediction.agent: (prediction.probabilities, prediction.calibrated, prediction.weight)
        for prediction in result.predictions
    }


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_explaining_cannot_be_turned(
    server: ScriptedServer, fitted: Any, member: Any, blobs: Any, attempt: str
) -> None:
    server.by_request = gullible
    rules = load_settings(agents=AGENTS)
    panel, vectors, name = fitted(rules), blobs.drawn(3, 5)[0], f"photo-7 {attempt[:200]}"
    usual = diagnosed(panel, rules, vectors, member("I see rings."))
    turned = diagnosed(panel, with_reasoner(server, "explain"), vectors, member(attempt), name)
    for result, other in zip(usual, turned, strict=True):
        assert (result.label, result.posterior, result.verdict, result.reasons) == (
            other.label,
            other.posterior,
            other.verdict,
            other.reasons,
        )
        assert votes(result) == votes(other)
        assert (other.label == "cedar") or "The reasoner was not used: " in other.rationale
    for request in server.requests:
        record = request["messages"][1]["content"]
        check_is_data(record)
        assert "photo-7" not in record


@pytest.mark.slow
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_advice_can_be_turned_and_counts_for_one_vote(
    server: ScriptedServer, fitted: Any, member: Any, blobs: Any, attempt: str
) -> None:
    server.by_request = honest
    settings = with_reasoner(server, "advise")
    panel, vectors, name = fitted(settings), blobs.drawn(3, 5)[0], f"photo-7 {attempt[:200]}"
    usual = diagnosed(panel, settings, vectors, member("I see rings."))
    server.by_request = gullible
    server.requests.clear()
    turned = diagnosed(panel, settings, vectors, member(attempt), name)
    with Diagnoser.open(panel, settings=settings, agents=[member("")]) as opened:
        fusion, looks = opened.panel.fusion, [member.agent for member in opened.panel.members]
    for result, other in zip(usual, turned, strict=True):
        before, after = votes(result), votes(other)
        own = before.pop("reasoner"), after.pop("reasoner")
        assert before == after
        assert own[0][2] == own[1][2]  # its weight, too, is what it has earned
        words = np.array([[[*(votes(other)[look][1] or {}).values()]] for look in looks])
        assert [*other.posterior.values()] == pytest.approx(fusion.posterior(words)[0][0].tolist())
    assert len(server.requests) == 3
    for request in server.requests:
        check_is_data(request["messages"][1]["content"])
