"""Vision-language agents from the settings: fitted, kept in the panel, opened with it, within their budget."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consilience import Diagnoser, Diagnosis, FailedImage, Prediction, Settings, Task, fit, load_settings
from consilience.agents import Budget, TransformersAgent, VlmAgent, VlmSettings, open_agents, reached, settings_of
from consilience.core.errors import AgentError, BudgetSpentError, PanelDamagedError, SettingsError
from consilience.core.settings.transformers_settings import TransformersSettings
from consilience.orchestrator.panel.panel import Panel
from tests.support.colour_server import COST, by_colour, model
from tests.support.reasoner_cases import output_of
from tests.support.scripted_server import Scripted, ScriptedServer, chat

SECRET = "sk-very-secret-1234567890"  # noqa: S105
IMAGES = 24


@pytest.fixture(autouse=True)
def _replies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIENCE_REPLIES__PATH", str(tmp_path / "replies.sqlite"))


@pytest.fixture
def seeing(server: ScriptedServer, picture_panel: Path) -> ScriptedServer:
    """A model that sees colours; skips where EfficientNet-Lite0 cannot be had."""
    server.by_request = by_colour
    return server


def settings(server: ScriptedServer, **more: Any) -> Settings:
    usual: dict[str, Any] = {"agents": ["neighbours"], "models": [model(server.url)], "policy__second_look": "never"}
    return load_settings(**usual | more)


def prediction_of(diagnosis: object, agent: str = "qwen") -> Prediction:
    assert isinstance(diagnosis, Diagnosis)
    (prediction,) = (p for p in diagnosis.predictions if p.agent == agent)
    return prediction


@pytest.fixture
def fitted(seeing: ScriptedServer, pictures: Path, tmp_path: Path) -> Path:
    fit(pictures, tmp_path / "panel", group="none", settings=settings(seeing))
    return tmp_path / "panel"


def test_a_panel_opens_its_models_by_itself(
    fitted: Path, seeing: ScriptedServer, painted: Callable[..., Path], tmp_path: Path
) -> None:
    assert len(seeing.requests) == 2 * IMAGES  # first and second looks
    assert Panel.open(fitted).agents == ("neighbours", "qwen")
    with Diagnoser.open(fitted, policy__second_look="never") as diagnoser:
        diagnosis = diagnoser.diagnose(painted(tmp_path / "new.png", "green", 999))
        again = diagnoser.diagnose(tmp_path / "new.png")
    assert prediction_of(diagnosis).label == diagnosis.label == "green"
    assert prediction_of(diagnosis).rationale == "it is green"
    assert (prediction_of(diagnosis).cached, prediction_of(again).cached) == (False, True)
    assert prediction_of(diagnosis).cost_usd == pytest.approx(COST)


def test_a_second_fit_pays_nothing(fitted: Path, seeing: ScriptedServer, pictures: Path, tmp_path: Path) -> None:
    asked = len(seeing.requests)
    report = fit(pictures, tmp_path / "other", group="none", settings=settings(seeing))
    assert len(seeing.requests) == asked
    assert report.cost_usd == 0.0
    assert [member.trust for member in Panel.open(fitted).members] == [member.trust for member in report.panel.members]


def test_a_panel_of_models_alone(seeing: ScriptedServer, pictures: Path, tmp_path: Path) -> None:
    two = [model(seeing.url), model(seeing.url, name="../gemma, \0", model="other", second_look=False)]
    report = fit(pictures, tmp_path / "panel", group="none", settings=settings(seeing, agents=[], models=two))
    assert report.panel.agents == ("qwen", "../gemma, \0")
    assert report.panel.heads == ()
    assert report.cost_usd == pytest.approx(3 * IMAGES * COST)
    with Diagnoser.open(tmp_path / "panel") as diagnoser:
        diagnosis = diagnoser.diagnose(pictures / "red" / "1.png")
    assert {p.label for p in diagnosis.predictions} == {"red"}
    assert len(diagnosis.evidence.neighbours) == 10
    with pytest.raises(AgentError, match="at least one agent"):
        fit(pictures, tmp_path / "nobody", agents=[], settings=load_settings(agents=[]))


def test_an_agent_that_was_given_in_python_is_kept_too(seeing: ScriptedServer, pictures: Path, tmp_path: Path) -> None:
    mine = VlmAgent(VlmSettings(**model(seeing.url, extra_body={"seed": 1})))
    fit(pictures, tmp_path / "panel", group="none", agents=["neighbours", mine])
    with Diagnoser.open(tmp_path / "panel") as diagnoser:
        assert prediction_of(diagnoser.diagnose(pictures / "blue" / "1.png")).label == "blue"
    assert seeing.requests[-1]["seed"] == 1
    with Diagnoser.open(tmp_path / "panel", agents=[mine], replies__path=tmp_path / "none.sqlite") as diagnoser:
        assert (
            prediction_of(diagnoser.diagnose(pictures / "blue" / "1.png")).cached is False
        )  # it has no cache of its own
    assert not (tmp_path / "none.sqlite").exists()
    other = VlmAgent(VlmSettings(**model(seeing.url, model="other")))
    with pytest.raises(SettingsError, match=r"'qwen' differ from those that .* in model, extra_body, and its trust"):
        Diagnoser.open(tmp_path / "panel", agents=[other])


def test_models_and_the_adviser_survive_in_the_panel(fitted: Path, seeing: ScriptedServer, pictures: Path) -> None:
    look, advice = seeing.by_request, chat(output_of("blue", ask_again=[]))
    assert look is not None
    seeing.by_request = lambda request: advice if request["model"] == "words" else look(request)
    reasoner = {"reasoner__model": "words", "reasoner__base_url": seeing.url, "reasoner__role": "advise"}
    chosen = settings(seeing, **reasoner)
    written = fit(pictures, fitted, group="none", settings=chosen, overwrite=True).panel
    assert written.models == chosen.models
    assert written.reasoner == chosen.reasoner
    local = TransformersSettings(name="local", model="a/folder")
    both = replace(written, models=(*written.models, local), reasoner=None).save(fitted, overwrite=True)
    assert (both.models, both.reasoner) == ((*written.models, local), None)


REACH = {
    "key_variable": "A_KEY",
    "timeout_seconds": 5.0,
    "max_retries": 1,
    "concurrency": 2,
    "price_per_million_input_tokens": 0.5,
    "price_per_million_output_tokens": 0.5,
    "price_per_gpu_second": 0.5,
    "limit_field": "max_tokens",
    "pictures_a_request": 1,
}
DECISIVE = {
    "model": "other",
    "extra_body": {"seed": 1},
    "confidence": "sampled",
    "structured": "none",
    "samples": 3,
    "temperature": 0.5,
    "max_tokens": 50,
    "image_side": 100,
    "image_detail": "low",
    "neighbours_shown": 1,
    "neighbour_side": 40,
    "debate": True,
    "second_look": False,
}


def test_every_setting_of_a_model_says_how_it_is_reached_or_what_it_answers() -> None:
    assert {*REACH, "base_url", "verify"} == VlmSettings.REACH
    assert {*REACH, "base_url", "verify", *DECISIVE, "kind", "name"} == VlmSettings.model_fields.keys()


def test_a_model_may_be_reached_otherwise(
    fitted: Path, seeing: ScriptedServer, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = seeing.url.replace("127.0.0.1", "localhost")
    monkeypatch.setenv("A_KEY", SECRET)
    supplied = [model(moved, **REACH)]
    with Diagnoser.open(fitted, models=supplied, policy__second_look="never", replies__keep=False) as diagnoser:
        qwen = prediction_of(diagnoser.diagnose(pictures / "red" / "1.png"))
    assert qwen.cost_usd > 110 * 0.5 / 1e6  # and so much for each second
    assert qwen.label == "red"
    assert seeing.headers[-1]["Authorization"] == f"Bearer {SECRET}"
    assert seeing.headers[-1]["Host"].startswith("localhost")


def test_what_decides_an_answer_may_not_change(fitted: Path, seeing: ScriptedServer) -> None:
    for name, value in DECISIVE.items():
        with pytest.raises(SettingsError, match=rf"'qwen' differ from those .* in {name}, and its trust was earned"):
            Diagnoser.open(fitted, models=[model(seeing.url, **{name: value})])


def test_models_that_the_panel_does_not_know_are_refused(
    fitted: Path, seeing: ScriptedServer, picture_panel: Path
) -> None:
    for name in ("gemma", "neighbours"):
        with pytest.raises(AgentError, match=f"no trust in {name}: fit it with these agents first"):
            Diagnoser.open(fitted, models=[model(seeing.url, name=name)])
    with pytest.raises(AgentError, match="no trust in qwen"):
        Diagnoser.open(picture_panel, models=[model(seeing.url)])
    with pytest.raises(SettingsError, match="'qwen' is of another kind"):
        Diagnoser.open(fitted, models=[{"kind": "transformers", "name": "qwen", "model": "tiny"}])


def test_names_of_feature_agents_are_taken(seeing: ScriptedServer, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="'gaussian' is the name of a built-in agent"):
        fit(
            pictures,
            tmp_path / "panel",
            group="none",
            settings=settings(seeing, models=[model(seeing.url, name="gaussian")]),
        )
    assert not (tmp_path / "panel").exists()


def test_words_of_the_task_are_checked_before_any_work(seeing: ScriptedServer, pictures: Path, tmp_path: Path) -> None:
    task = Task.model_validate(
        {
            "labels": [{"name": name} for name in ("blue", "green", "red")],
            "prompts": {"look": {"version": "mine", "texts": {"system": "{nothing}"}}},
        }
    )
    with pytest.raises(SettingsError, match="the text 'system' inserts 'nothing'"):
        fit(pictures, tmp_path / "panel", task=task, settings=settings(seeing))
    assert seeing.requests == []


@pytest.mark.slow
def test_a_model_that_answers_nothing_is_left_out_with_its_cause(
    seeing: ScriptedServer, pictures: Path, tmp_path: Path
) -> None:
    seeing.by_request = lambda _: Scripted({"error": {"message": "no such model"}}, 404)
    panel = fit(pictures, tmp_path / "panel", group="none", settings=settings(seeing)).panel
    assert panel.models == ()
    assert "failed on each of the first images" in panel.choices[0].reason
    assert "status 404: no such model" in panel.choices[0].reason
    unset = settings(seeing, models=[model(seeing.url, key_variable="NOT_SET")])
    (choice,) = fit(pictures, tmp_path / "p", group="none", settings=unset).panel.choices
    assert "variable NOT_SET, which is to hold the key, is not set" in choice.reason


def test_no_key_stands_in_a_panel_the_log_or_the_cache(
    seeing: ScriptedServer,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("A_KEY", SECRET)
    caplog.set_level(logging.DEBUG)
    fit(
        pictures,
        tmp_path / "panel",
        group="none",
        settings=settings(seeing, models=[model(seeing.url, key_variable="A_KEY")]),
    )
    assert seeing.headers[0]["Authorization"] == f"Bearer {SECRET}"
    seeing.by_request = lambda _: Scripted({"error": {"message": f"{SECRET} is no key"}}, 401)
    with Diagnoser.open(tmp_path / "panel", replies__keep=False) as diagnoser:
        assert SECRET not in diagnoser.diagnose(pictures / "red" / "1.png").to_json()
    assert SECRET not in caplog.text
    held = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"models.json", "replies.sqlite"} <= {path.name for path in held}
    assert not any(SECRET.encode() in path.read_bytes() for path in held)


def test_a_fit_stops_at_its_budget_and_goes_on_from_there(
    seeing: ScriptedServer, pictures: Path, tmp_path: Path
) -> None:
    once = {"models": [model(seeing.url, second_look=False)]}
    with pytest.raises(BudgetSpentError, match=r"0.0200 of 0.02 USD \(policy.max_run_cost_usd\)"):
        fit(
            pictures,
            tmp_path / "panel",
            group="none",
            settings=settings(seeing, policy__max_run_cost_usd=10 * COST, **once),
        )
    assert len(seeing.requests) == 10
    assert not (tmp_path / "panel").exists()
    enough = (IMAGES - 10) * COST
    report = fit(
        pictures, tmp_path / "panel", group="none", settings=settings(seeing, policy__max_run_cost_usd=enough, **once)
    )
    assert len(seeing.requests) == IMAGES
    assert report.cost_usd == pytest.approx(enough)


def test_a_diagnoser_stops_at_its_budget_after_what_was_decided(
    fitted: Path, seeing: ScriptedServer, painted: Callable[..., Path], tmp_path: Path
) -> None:
    fresh = [painted(tmp_path / f"{number}.png", "red", 1000 + number) for number in range(6)]
    asked = len(seeing.requests)
    bounds: dict[str, Any] = {"policy__second_look": "never", "batch_size": 2}
    decided: list[Diagnosis | FailedImage] = []
    with Diagnoser.open(fitted, policy__max_run_cost_usd=3 * COST, **bounds) as diagnoser:
        with pytest.raises(BudgetSpentError):
            decided += diagnoser.diagnose_many(fresh)
        with pytest.raises(BudgetSpentError):
            diagnoser.diagnose(fresh[4])
        with pytest.raises(BudgetSpentError):
            list(diagnoser.stream(fresh[4]))
        assert prediction_of(diagnoser.diagnose(fresh[0])).cached
    assert len(seeing.requests) == asked + 3
    with Diagnoser.open(fitted, policy__max_run_cost_usd=3 * COST, **bounds) as diagnoser:
        results = list(diagnoser.diagnose_many(fresh))
    assert len(seeing.requests) == asked + 6
    cached = [prediction_of(result).cached for result in results]
    assert cached[:2] == [True, True]
    assert cached[2:4].count(True) == 1  # of the second batch either was paid for
    assert cached[4:] == [False, False]


def test_what_was_decided_before_the_budget_was_spent_is_handed_out(
    fitted: Path, seeing: ScriptedServer, painted: Callable[..., Path], tmp_path: Path
) -> None:
    fresh = [painted(tmp_path / f"{number}.png", "red", 2000 + number) for number in range(6)]
    decided: list[object] = []
    with (
        Diagnoser.open(
            fitted, policy__max_run_cost_usd=3 * COST, policy__second_look="never", batch_size=2
        ) as diagnoser,
        pytest.raises(BudgetSpentError),
    ):
        decided.extend(iter(diagnoser.diagnose_many(fresh)))
    assert [prediction_of(result).label for result in decided] == ["red", "red"]


def test_connections_are_closed_with_the_diagnoser(fitted: Path, seeing: ScriptedServer, pictures: Path) -> None:
    with Diagnoser.open(fitted, replies__keep=False) as diagnoser:
        diagnoser.diagnose(pictures / "red" / "1.png")
        assert seeing.connections() == 1
    seeing.wait_until_alone()


def test_models_that_were_tampered_with_are_refused(fitted: Path) -> None:
    state = fitted / "state-0001"
    manifest = json.loads((fitted / "panel.json").read_text())
    data = json.dumps(
        {"models": [{"kind": "endpoint", "name": "qwen", "model": "tiny", "base_url": "http://u:hunter2@h/v1"}]}
    ).encode()
    (state / "models.json").write_bytes(data)
    manifest["files"]["models.json"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (fitted / "panel.json").write_text(json.dumps(manifest))
    with pytest.raises(PanelDamagedError, match="does not hold what its format says") as caught:
        Panel.open(fitted)
    assert "hunter2" not in str(caught.value)


def test_models_in_this_process_are_opened_as_well() -> None:
    models = load_settings(
        models=[{"kind": "transformers", "name": "local", "model": "a/folder", "batch_size": 2}]
    ).models
    (agent,) = open_agents(models, None, Budget())
    assert isinstance(agent, TransformersAgent)
    assert settings_of(agent) == models[0]
    assert reached(models[0], models[0].model_copy(update={"batch_size": 4})).model_dump()["batch_size"] == 4
    with pytest.raises(SettingsError, match="in dtype, and its trust"):
        reached(models[0], models[0].model_copy(update={"dtype": "float16"}))
