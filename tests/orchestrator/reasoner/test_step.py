"""The three roles of a reasoner in a run: what each may change, and what not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience import Diagnoser, Diagnosis, fit, load_settings
from consilience.core.errors import AgentError, SettingsError
from consilience.core.settings.settings import Settings
from consilience.orchestrator.panel.panel import Panel
from tests.support.reasoner_cases import output_of, text_of
from tests.support.scripted_server import Scripted, ScriptedServer, chat


@pytest.fixture
def settings(server: ScriptedServer, tmp_path: Path) -> Callable[..., Settings]:
    """Settings with a reasoner in a role, `model` being what decides who it is."""

    def with_reasoner(role: str, **more: Any) -> Settings:
        usual = {"model": "tiny", "base_url": server.url, "max_retries": 0, "role": role}
        prefixed = {f"reasoner__{name}": value for name, value in usual.items()}
        arguments: dict[str, Any] = {"agents": "neighbours,gaussian", "replies__path": tmp_path / "replies.sqlite"}
        return load_settings(**arguments | prefixed | more)

    return with_reasoner


def diagnosed(panel: Path, vectors: np.ndarray, **options: Any) -> list[Diagnosis]:
    with Diagnoser.open(panel, **options) as diagnoser:
        results = list(diagnoser.diagnose_vectors(vectors, [f"{row}" for row in range(len(vectors))]))
    return [result for result in results if isinstance(result, Diagnosis)]


def diagnosis_of(request: dict[str, Any]) -> str:
    """The label that a request says is the diagnosis'."""
    label: str = json.loads(text_of(request).split("The diagnosis is ")[1].split(". Explain")[0])
    return label


def without(results: list[Diagnosis], *names: str) -> list[dict[str, Any]]:
    """All that the diagnoses say but for these parts and the time that they took."""
    dropped = {"seconds", *names}
    plain = [{key: value for key, value in result.to_dict().items() if key not in dropped} for result in results]
    for diagnosis in plain:
        diagnosis["predictions"] = [
            {key: value for key, value in prediction.items() if key != "seconds"}
            for prediction in diagnosis["predictions"]
        ]
    return plain


# explain


def test_explaining_changes_the_rationale_and_nothing_else(
    server: ScriptedServer, settings: Any, panel: Path, blobs: Any
) -> None:
    server.by_request = lambda request: chat(output_of(diagnosis_of(request), 0.9, "Because I say so."))
    vectors = blobs.drawn(9, 5)[0]
    rules = diagnosed(panel, vectors)
    explained = diagnosed(panel, vectors, settings=settings("explain"))
    for result, ruled in zip(explained, rules, strict=True):
        told, doubts = "In the language model's words: “Because I say so.”", ". ".join(ruled.reasons)
        assert result.rationale == (told if ruled.settled else f"{told} A person should look. {doubts}.")
    assert {result.settled for result in explained} == {True, False}
    assert len(server.requests) == 9
    assert without(explained, "rationale") == without(rules, "rationale")


def test_what_explaining_costs_is_counted(server: ScriptedServer, settings: Any, panel: Path, blobs: Any) -> None:
    server.by_request = lambda request: chat(output_of(diagnosis_of(request)))
    priced = settings("explain", reasoner__price_per_million_input_tokens=10.0)
    first = diagnosed(panel, blobs.drawn(1, 5)[0], settings=priced)
    again = diagnosed(panel, blobs.drawn(1, 5)[0], settings=priced)
    assert first[0].cost_usd == pytest.approx(0.001)
    assert again[0].cost_usd == 0.0
    assert again[0].rationale == first[0].rationale
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (Scripted({"error": {"message": "out of memory"}}, 500), "status 500: out of memory"),
        (chat("I think so."), "no JSON object"),
        (chat(output_of("cedar", rationale="99.9 % of experts agree.")), ""),
    ],
)
def test_rules_take_over_and_say_why(
    server: ScriptedServer, settings: Any, panel: Path, blobs: Any, reply: Scripted, cause: str
) -> None:
    server.replies = [reply]
    [rules] = diagnosed(panel, blobs.between(0, 1, 0.1))
    [explained] = diagnosed(panel, blobs.between(0, 1, 0.1), settings=settings("explain"))
    assert explained.rationale.startswith(f"{rules.rationale} The reasoner was not used: ")
    assert cause in explained.rationale
    assert without([explained], "rationale") == without([rules], "rationale")


def test_a_reasoner_without_time_left_is_not_waited_for(
    server: ScriptedServer, settings: Any, panel: Path, blobs: Any
) -> None:
    server.replies = [Scripted(fault="silence")]
    impatient = settings("explain", policy__agent_timeout_seconds=0.3)
    [explained] = diagnosed(panel, blobs.drawn(1, 5)[0], settings=impatient)
    assert explained.rationale.endswith("The reasoner was not used: no answer within 0.3 seconds.")


# advise


def oracle(request: dict[str, Any]) -> Scripted:
    """Names the label of the most similar image."""
    nearest = text_of(request).split("with their similarities:\n- ")[1]
    label, _ = json.JSONDecoder().raw_decode(nearest)
    again: dict[str, Any] = {"ask_again": []} if "can be asked" in text_of(request) else {}
    return chat(output_of(label, 0.9, "The nearest.", **again))


def fool(request: dict[str, Any]) -> Scripted:
    """Names the same label whatever it reads."""
    again: dict[str, Any] = {"ask_again": []} if "can be asked" in text_of(request) else {}
    return chat(output_of("cedar", 0.99, **again))


@pytest.fixture
def advised(server: ScriptedServer, settings: Any, vectors: Path, tmp_path: Path) -> Callable[..., Path]:
    """Fits a panel with an adviser who replies as given."""

    def fitted(replies: Callable[[dict[str, Any]], Scripted], **more: Any) -> Path:
        server.by_request = replies
        fit(vectors, tmp_path / "advised", settings=settings("advise"), group="none", **more)
        return tmp_path / "advised"

    return fitted


def test_an_adviser_earns_trust_and_is_weighed(server: ScriptedServer, settings: Any, advised: Any, blobs: Any) -> None:
    path = advised(oracle)
    assert len(server.requests) == 90
    panel = Panel.open(path)
    assert panel.agents == ("neighbours", "gaussian")
    [member] = [member for member in panel.members if member.agent == "reasoner"]
    assert member.trust.n == 90
    assert member.trust.accuracy is not None
    assert member.trust.accuracy > 0.8
    [result] = diagnosed(path, blobs.between(0, 1, 0.1))
    [advice] = [prediction for prediction in result.predictions if prediction.agent == "reasoner"]
    assert advice.weight is not None
    assert advice.weight > 0
    assert advice.calibrated is not None
    assert "reasoner (apple" in result.rationale
    assert result.rounds == 1
    assert {trust.agent for trust in result.trust} == {"neighbours", "gaussian", "reasoner"}


def test_an_adviser_who_knows_nothing_changes_nothing(
    server: ScriptedServer, settings: Any, advised: Any, panel: Path, blobs: Any
) -> None:
    path, vectors = advised(fool), blobs.drawn(60, 7, 0.5)[0]
    rules, result = diagnosed(panel, vectors), diagnosed(path, vectors)
    assert [diagnosis.label for diagnosis in result] == [diagnosis.label for diagnosis in rules]
    assert max(abs(a.probability - b.probability) for a, b in zip(result, rules, strict=True)) < 0.1


def test_its_records_of_labelled_images_are_out_of_fold(
    server: ScriptedServer, settings: Any, advised: Any, vectors: Path
) -> None:
    """No image is among its own neighbours, and what the agents said is not what they were fitted on."""
    advised(oracle)
    assert not any("(1.00" in text_of(request) for request in server.requests)


def test_a_rerun_of_fit_asks_the_adviser_nothing(
    server: ScriptedServer, settings: Any, advised: Any, vectors: Path, tmp_path: Path
) -> None:
    first = Panel.open(advised(oracle))
    asked = len(server.requests)
    fit(vectors, tmp_path / "again", settings=settings("advise"), group="none")
    assert len(server.requests) == asked
    assert Panel.open(tmp_path / "again").members == first.members


def test_an_adviser_that_fails_is_no_member_and_that_is_said(
    server: ScriptedServer, settings: Any, advised: Any, blobs: Any
) -> None:
    path = advised(oracle)
    server.by_request = lambda request: Scripted({"error": {"message": "out of memory"}}, 500)
    [result] = diagnosed(path, blobs.between(0, 1, 0.1))
    assert "The reasoner was not used: " in result.rationale
    [advice] = [prediction for prediction in result.predictions if prediction.agent == "reasoner"]
    assert advice.weight == 0.0
    assert result.label == "apple"


def test_a_panel_cannot_be_advised_by_whom_it_has_no_trust_in(settings: Any, panel: Path) -> None:
    with pytest.raises(AgentError, match="fit"):
        Diagnoser.open(panel, settings=settings("advise"))


def test_an_adviser_may_be_reached_otherwise_and_not_be_another(
    server: ScriptedServer, settings: Any, advised: Any, blobs: Any
) -> None:
    path = advised(oracle)
    assert diagnosed(path, blobs.drawn(1, 5)[0], settings=settings("advise", reasoner__concurrency=2))
    with pytest.raises(SettingsError, match="model"):
        Diagnoser.open(path, settings=settings("advise", reasoner__model="other"))


@pytest.mark.parametrize("words", ["It is sound; no person needs to look.", "Read more at https://evil.test/."])
@pytest.mark.parametrize("role", ["explain", "decide"])
def test_words_that_contradict_or_lead_elsewhere_are_not_shown(
    server: ScriptedServer, settings: Any, panel: Path, blobs: Any, words: str, role: str
) -> None:
    label = {"decide": lambda _: "apple", "explain": diagnosis_of}[role]
    server.by_request = lambda request: chat(output_of(label(request), 0.9, words))
    [result] = diagnosed(panel, blobs.between(0, 1, 0.1), settings=settings(role))
    assert words.rstrip(".") not in result.rationale
    assert "The reasoner was not used: " in result.rationale
    assert len(server.requests) == 2  # it may take them back


def test_a_panel_that_was_fitted_with_an_adviser_can_be_explained_instead(
    server: ScriptedServer, settings: Any, advised: Any, blobs: Any
) -> None:
    path = advised(oracle)
    server.by_request = lambda request: chat(output_of(diagnosis_of(request), 0.9, "Because."))
    [result] = diagnosed(path, blobs.between(0, 1, 0.1), settings=settings("explain"))
    assert result.rationale.startswith("In the language model's words: “Because.”")
    assert [prediction.agent for prediction in result.predictions] == ["neighbours", "gaussian"]


def test_nobody_else_may_be_called_reasoner(scripted: Any, good: Any, vectors: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="'reasoner'"):
        fit(vectors, tmp_path / "panel", agents=["gaussian", scripted("reasoner", good)])


# wishes

STRANGE = np.eye(8, dtype=np.float32)[[7]]
"""Far from all that is known: never settled."""


def wishing(request: dict[str, Any]) -> Scripted:
    again = {"ask_again": [{"agent": "expert", "why": "it is torn"}]} if "can be asked" in text_of(request) else {}
    return chat(output_of("apple", 0.5, "Torn.", **again))


def test_a_wish_for_a_second_look_is_granted_where_nothing_is_settled(
    server: ScriptedServer, settings: Any, expert_panel: Path, scripted: Any, poor: Any, follow: Any, blobs: Any
) -> None:
    server.by_request = wishing
    expert = scripted("expert", poor, follow)
    vectors = np.concatenate([STRANGE, blobs.between(0, 1, 0.02)])
    chosen = settings("decide", policy__value_usd=0.0)
    with Diagnoser.open(expert_panel, settings=chosen, agents=[expert]) as opened:
        strange, clear = opened.diagnose_vectors(vectors, ["strange", "clear"])
    assert isinstance(strange, Diagnosis)
    assert isinstance(clear, Diagnosis)
    assert [
        (prediction.agent, prediction.stage) for prediction in strange.predictions if prediction.stage == "second"
    ] == [
        ("expert", "second"),
        ("reasoner", "second"),
    ]
    assert strange.rounds == 2
    assert "expert was asked to look again, as the reasoner wished: it is torn." in strange.rationale
    assert (clear.rounds, len(expert.asked_again)) == (1, 1)


@pytest.mark.parametrize("bound", [{"policy__second_look": "never"}, {"policy__max_rounds": 1}])
def test_a_wish_is_not_granted_beyond_what_the_policy_allows(
    server: ScriptedServer,
    settings: Any,
    expert_panel: Path,
    scripted: Any,
    poor: Any,
    follow: Any,
    blobs: Any,
    bound: Any,
) -> None:
    server.by_request = wishing
    expert = scripted("expert", poor, follow)
    [result] = diagnosed(expert_panel, STRANGE, settings=settings("decide", **bound), agents=[expert])
    assert (result.rounds, expert.asked_again) == (1, [])


# decide


def test_a_decision_is_final_and_shares_out_the_rest(
    server: ScriptedServer, settings: Any, panel: Path, blobs: Any
) -> None:
    server.replies = [chat(output_of("cedar", 0.6, "I know better."))]
    [rules] = diagnosed(panel, blobs.between(0, 1, 0.1))
    [result] = diagnosed(panel, blobs.between(0, 1, 0.1), settings=settings("decide"))
    assert (rules.label, rules.verdict) == ("apple", "confident")
    assert (result.label, result.verdict) == ("cedar", "refer")
    assert result.probability == pytest.approx(0.6)
    assert any("The agents disagree" in reason for reason in result.reasons)
    ratio = rules.posterior["apple"] / rules.posterior["beech"]
    assert result.posterior["apple"] / result.posterior["beech"] == pytest.approx(ratio, rel=1e-3)
    assert "The reasoner decided for cedar. In the language model's words: “I know better.”" in result.rationale
    *looks, decision = without([result])[0]["predictions"]
    assert looks == without([rules])[0]["predictions"]
    assert (decision["agent"], decision["weight"], decision["calibrated"]) == ("reasoner", 0.0, None)


def test_a_decision_for_what_is_not_most_probable_is_referred(
    server: ScriptedServer, settings: Any, panel: Path, blobs: Any
) -> None:
    server.replies = [chat(output_of("cedar", 0.34))]
    [result] = diagnosed(panel, blobs.between(0, 1, 0.1), settings=settings("decide"))
    assert (result.label, result.verdict) == ("cedar", "refer")
    assert "The reasoner chose cedar, but apple is more probable" in result.reasons


def test_without_a_decision_the_fusion_stands(server: ScriptedServer, settings: Any, panel: Path, blobs: Any) -> None:
    server.replies = [chat("no idea")]
    [rules] = diagnosed(panel, blobs.between(0, 1, 0.1))
    [result] = diagnosed(panel, blobs.between(0, 1, 0.1), settings=settings("decide"))
    assert (result.label, result.posterior, result.verdict) == (rules.label, rules.posterior, rules.verdict)
    assert "The reasoner was not used: " in result.rationale


# budgets


@pytest.mark.parametrize("role", ["explain", "decide"])
def test_the_budget_of_a_run_is_not_exceeded_for_a_reasoner(
    server: ScriptedServer, settings: Any, panel: Path, blobs: Any, role: str
) -> None:
    server.by_request = oracle
    chosen = settings(
        role,
        reasoner__price_per_million_input_tokens=10.0,
        reasoner__concurrency=1,
        policy__max_run_cost_usd=0.003,
    )
    results = diagnosed(panel, blobs.drawn(6, 5, 0.1)[0], settings=chosen)
    assert len(server.requests) == 3
    assert sum("The reasoner was not used: the budget" in result.rationale for result in results) == 3
    assert sum(result.cost_usd for result in results) == pytest.approx(0.003)
