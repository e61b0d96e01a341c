"""Settings from a file, the environment and arguments."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.core.errors import SettingsError
from consilience.core.image_limits import ImageLimits
from consilience.core.settings.settings import FIELDS, Settings, load_settings
from consilience.core.settings.transformers_settings import TransformersSettings
from consilience.core.settings.vlm_settings import VlmSettings


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CONSILIENCE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


def refusal(path: Path | None = None, **arguments: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(path, **arguments)
    return str(caught.value)


def test_nothing_given_gives_the_defaults() -> None:
    settings = load_settings()
    assert settings == Settings()
    assert settings.encoders == ("efficientnet-lite0",)
    assert (settings.device, settings.agents, settings.batch_size) == ("auto", None, 64)
    assert settings.images == ImageLimits()
    assert (settings.memory.url, settings.memory.neighbours) == (None, 10)
    assert (settings.policy.target, settings.policy.second_look) == (0.95, "when-it-helps")


def test_the_environment_outdoes_the_file_and_arguments_outdo_both(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("seed: 1\nbatch_size: 1\npolicy:\n  target: 0.6\n  coverage: 0.6\nencoders: of the file\n")
    monkeypatch.setenv("CONSILIENCE_SEED", "2")
    monkeypatch.setenv("CONSILIENCE_BATCH_SIZE", "2")
    monkeypatch.setenv("CONSILIENCE_POLICY__COVERAGE", "0.7")
    settings = load_settings(file, seed=3, policy__target=0.8)
    assert (settings.encoders, settings.batch_size, settings.seed) == (("of the file",), 2, 3)
    assert (settings.policy.coverage, settings.policy.target) == (0.7, 0.8)


def test_a_value_overruled_by_a_stronger_source_is_not_judged(file: Path) -> None:
    file.write_text("seed: -1")
    assert load_settings(file, seed=5).seed == 5


def test_what_is_none_or_empty_counts_as_not_given(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("seed: 4\npolicy:\n")
    monkeypatch.setenv("CONSILIENCE_SEED", "")
    assert load_settings(file, seed=None, encoders=None, policy__max_cost_usd=None) == Settings(seed=4)
    file.write_text("")
    assert load_settings(file) == Settings()


def test_a_variable_names_the_default_file(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("seed: 6")
    other = tmp_path / "other.yaml"
    other.write_text("seed: 7")
    monkeypatch.setenv("CONSILIENCE_SETTINGS", str(file))
    assert load_settings().seed == 6
    assert load_settings(other).seed == 7


@pytest.mark.parametrize("name", ["CACHE", "PANEL", "TEST_DATA"])
def test_variables_that_are_no_settings_are_left_to_their_readers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"CONSILIENCE_{name}", "somewhere")
    assert load_settings() == Settings()


def test_texts_of_variables_become_numbers_truths_and_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIENCE_AGENTS", " probe, tip-adapter,probe ")
    monkeypatch.setenv("CONSILIENCE_IMAGES__ALLOW_PRIVATE_URLS", "true")
    monkeypatch.setenv("CONSILIENCE_POLICY__MAX_SECONDS", "1e3")
    monkeypatch.setenv("CONSILIENCE_ENCODERS", "123")
    settings = load_settings()
    assert settings.agents == ("probe", "tip-adapter")
    assert settings.images.allow_private_urls is True
    assert settings.policy.max_seconds == 1000.0
    assert settings.encoders == ("123",)


def test_agents_in_a_file_are_a_list(file: Path) -> None:
    file.write_text("agents: [probe, neighbours]")
    assert load_settings(file).agents == ("probe", "neighbours")
    assert load_settings(file, agents="tip-adapter").agents == ("tip-adapter",)
    assert load_settings(file, agents=["gaussian"]).agents == ("gaussian",)
    assert load_settings(file, agents="[gaussian, tip-adapter]").agents == ("gaussian", "tip-adapter")
    assert load_settings(file, agents="[]").agents == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sed: 1", ["'sed'", "no setting", "nearest is seed"]),
        ("policy: {targt: 1}", ["'policy.targt'", "nearest is policy.target"]),
        ("encoders: {name: x}", ["'encoders'", "a list of names"]),
        ("encoders: [a, b, a]", ["the encoder 'a' is named twice"]),
        ("1: x", ["'1'", "no setting"]),
        ("seed: 1\nbatch_size: 2\nseed: 3", ["line 3", "'seed' stands twice"]),
        ("policy:\n  target: 0.5\n  target: 0.6", ["line 3", "'target' stands twice"]),
        ("policy: {target: 0.5}\npolicy.target: 0.6", ["'policy.target' twice"]),
        ("policy: 3", ["'policy' must hold settings", "policy.max_rounds"]),
        ("- seed", ["must hold a mapping", "not a list"]),
        ("seed: [", ["not valid YAML", "line 1"]),
        ("seed: 2020-13-45", ["not valid YAML", "quote"]),
        ("seed: \x01", ["not valid YAML"]),
        ("[" * 1500, ["not valid YAML"]),
        ("seed: !!python/object/apply:os.getcwd []", ["not valid YAML", "line 1"]),
        ("batch_size: true", ["'batch_size' to true", "a whole number, at least 1 and at most 4096"]),
        ("batch_size: 64.5", ["'batch_size' to 64.5", "whole number"]),
        ("seed: [1]", ["'seed' to [1]", "a whole number, at least 0 and at most 4294967295"]),
        ("agents: 3", ["'agents' to 3", "a list of names or nothing"]),
        ("agents: [probe, 3]", ["'agents' to ['probe', 3]", "a list of names"]),
        ("policy: {second_look: yes}", ["'policy.second_look' to true", "one of when-it-helps, always, never"]),
        ("policy: {target: .nan}", ["'policy.target' to nan", "a finite number, above 0 and at most 1"]),
        ("policy: {max_seconds: .inf}", ["'policy.max_seconds' to inf", "a finite number, above 0"]),
        ("policy: {max_cost_usd: -1}", ["'policy.max_cost_usd' to -1", "a finite number, at least 0 or nothing"]),
        ("images: {allow_private_urls: maybe}", ["'images.allow_private_urls' to 'maybe'", "true or false"]),
    ],
)
def test_a_wrong_file_is_refused_by_its_name_and_the_keys(file: Path, text: str, words: list[str]) -> None:
    file.write_text(text)
    message = refusal(file)
    for word in (f"the settings file '{file}'", *words):
        assert word in message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "missing.yaml' cannot be read: No such file" in refusal(tmp_path / "missing.yaml")
    assert "cannot be read: Is a directory" in refusal(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("encoders: größe".encode("latin-1"))
    assert "is not UTF-8 text" in refusal(tmp_path / "latin.yaml")
    monkeypatch.setenv("CONSILIENCE_SETTINGS", str(tmp_path / "lost.yaml"))
    assert "lost.yaml' cannot be read" in refusal()


def test_a_byte_order_mark_is_no_part_of_the_first_key(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfseed: 8")
    assert load_settings(file).seed == 8


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("CONSILIENCE_POLICY_TARGET", "CONSILIENCE_POLICY__TARGET"),
        ("CONSILIENCE_BATCHSIZE", "CONSILIENCE_BATCH_SIZE"),
        ("CONSILIENCE_PANL", "CONSILIENCE_PANEL"),
        ("CONSILIENCE_seed", "CONSILIENCE_SEED"),
    ],
)
def test_an_unknown_variable_is_refused_even_if_empty(name: str, nearest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "")
    assert refusal().startswith(f"the variable {name} is no setting (the nearest is {nearest})")


def test_an_unknown_argument_is_refused() -> None:
    assert "the argument 'polcy__target' is no setting (the nearest is policy__target)" in refusal(polcy__target=0.9)
    assert "the argument 'policy' is no setting" in refusal(policy={"target": 0.9})


def test_all_wrong_values_are_named_with_their_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIENCE_POLICY__TARGET", "1.5")
    message = refusal(policy__max_rounds=9)
    assert "the variable CONSILIENCE_POLICY__TARGET sets 'policy.target' to '1.5'" in message
    assert "the argument 'policy__max_rounds' sets 'policy.max_rounds' to 9; it must be a whole number" in message


def test_a_servers_address_with_its_password_is_never_shown(file: Path) -> None:
    secret = "http://user:hunter2@host:8000"  # noqa: S105
    file.write_text(f"memory:\n  url: [{secret!r}]\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    assert "memory.url" in str(caught.value)
    for text in ("memory:\n  url: [%s\n", "memory: %s\n", "memory: {url: '%s', url: x}", "seed: x: %s"):
        file.write_text(text % secret)
        assert "hunter2" not in refusal(file)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    settings = load_settings(memory__url=secret)
    assert settings.memory.url == secret
    assert "hunter2" not in repr(settings)


def test_settings_are_frozen_and_refuse_unknown_names() -> None:
    with pytest.raises(pydantic.ValidationError):
        Settings().seed = 1
    with pytest.raises(pydantic.ValidationError):
        Settings(sead=1)  # type: ignore[call-arg]


def test_every_setting_is_described() -> None:
    assert [key for key, field in FIELDS.items() if not field.description] == []


@given(st.floats(allow_nan=True))
def test_a_target_is_accepted_exactly_in_its_range(target: float) -> None:
    if 0 < target <= 1:
        assert load_settings(policy__target=target).policy.target == target
    else:
        assert "policy__target" in refusal(policy__target=target)


QWEN = "kind: endpoint, name: qwen, model: tiny, base_url: 'http://localhost:8000/v1'"


def test_agents_that_answer_in_words_come_from_a_file(file: Path) -> None:
    file.write_text(
        f"models:\n- {{{QWEN}, price_per_million_input_tokens: 2, extra_body: {{seed: 1}}}}\n"
        "- {kind: endpoint, name: gemma, model: g, base_url: 'https://host/v1/', key_variable: A_KEY, "
        "confidence: logprob}\n"
        "- {kind: transformers, name: local, model: folder, batch_size: 2}\n"
        "reasoner: {model: words, base_url: 'http://host/v1', role: advise}\nreplies: {path: kept.sqlite}\nagents: []\n"
    )
    settings = load_settings(file)
    assert [agent.name for agent in settings.models] == ["qwen", "gemma", "local"]
    qwen, gemma, local = settings.models
    assert isinstance(qwen, VlmSettings)
    assert isinstance(gemma, VlmSettings)
    assert isinstance(local, TransformersSettings)
    assert (local.batch_size, local.place, gemma.place) == (2, "auto", "https://host/v1")
    assert (qwen.price_per_million_input_tokens, qwen.extra_body, qwen.is_free) == (2.0, {"seed": 1}, False)
    assert (gemma.base_url, gemma.key_variable, gemma.enforced, gemma.is_free) == (
        "https://host/v1",
        "A_KEY",
        "choice",
        True,
    )
    assert settings.reasoner is not None
    assert (settings.reasoner.model, settings.reasoner.role) == ("words", "advise")
    assert (settings.replies.path, settings.agents) == (Path("kept.sqlite"), ())
    other = {"kind": "endpoint", "name": "other", "model": "m", "base_url": "http://h"}
    assert [model.name for model in load_settings(file, models=[other]).models] == ["other"]
    assert load_settings(models=settings.models).models == settings.models


def test_settings_of_the_reasoner_have_paths(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("reasoner: {model: words, base_url: 'http://host/v1'}")
    monkeypatch.setenv("CONSILIENCE_REASONER__ROLE", "decide")
    reasoner = load_settings(file, reasoner__max_tokens="7").reasoner
    assert reasoner is not None
    assert (reasoner.role, reasoner.max_tokens) == ("decide", 7)
    message = refusal()
    assert message.startswith("the variable CONSILIENCE_REASONER__ROLE sets 'reasoner' without its 'model'")
    assert "'reasoner' without its 'base_url': address of the endpoint" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"models: {{{QWEN}}}", ["sets 'models'; it must be a list of mappings, in a settings file or as an argument"]),
        ("models: [qwen]", ["sets 'models.0'; it must be a mapping"]),
        (
            f"models: [{{{QWEN}}}, {{kind: endpoint, name: b}}]",
            ["'models.1' without its 'model'", "'models.1' without its 'base_url'"],
        ),
        ("models: [{name: b}]", ["sets 'models.0' without its 'kind': one of endpoint, transformers"]),
        ("models: [{kind: oracle}]", ["'models.0.kind' to 'oracle'; it must be one of endpoint, transformers"]),
        ("models: [{kind: [x]}]", ["'models.0.kind' to ['x']; it must be one of endpoint, transformers"]),
        (
            "models: [{kind: transformers, modell: b}]",
            ["'models.0.modell', which is no setting (the nearest is model)"],
        ),
        ("models: [{kind: transformers, name: b, model: c, dtype: int8}]", ["'models.0.dtype' to 'int8'", "float16"]),
        (f"models: [{{{QWEN}, modle: x}}]", ["sets 'models.0.modle', which is no setting (the nearest is model)"]),
        (f"models: [{{{QWEN}, 1: x}}]", ["sets 'models.0.1', which is no setting"]),
        (f"models: [{{{QWEN}, model: x}}]", ["'model' stands twice"]),
        (f"models: [{{{QWEN}, max_retries: true}}]", ["'models.0.max_retries' to true", "at least 0 and at most 10"]),
        (f"models: [{{{QWEN}, max_retries: 11}}]", ["'models.0.max_retries' to 11", "at least 0 and at most 10"]),
        (f"models: [{{{QWEN}, confidence: sure}}]", ["to 'sure'; it must be one of verbalised, logprob, sampled"]),
        (f"models: [{{{QWEN}, temperature: .nan}}]", ["to nan; it must be a finite number, at least 0 and at most 2"]),
        (f"models: [{{{QWEN}, second_look: often}}]", ["'models.0.second_look' to 'often'; it must be true or false"]),
        (f"models: [{{{QWEN}, extra_body: [seed]}}]", ["'models.0.extra_body'; it must be a mapping"]),
        (
            f"models: [{{{QWEN}, confidence: logprob, structured: json_schema}}]",
            ["'models.0': confidence: logprob reads"],
        ),
        (f"models: [{{{QWEN}}}, {{{QWEN}}}]", ["'models': two agents are called 'qwen'"]),
        (
            f"models: [{{{QWEN}}}, {{kind: transformers, name: qwen, model: m}}]",
            ["'models': two agents are called 'qwen'; give each a name of its own"],
        ),
        (f"models: [{{{QWEN}, name: ''}}]".replace("name: qwen, ", ""), ["'models.0.name' to ''", "not empty"]),
        ("reasoner: [x]", ["'reasoner' must hold settings"]),
        ("reasoner: {modell: x}", ["'reasoner.modell', which is no setting", "reasoner.model"]),
        ("policy: {max_run_cost_usd: 0}", ["'policy.max_run_cost_usd' to 0", "above 0"]),
    ],
)
def test_a_wrong_agent_is_refused_by_its_path(file: Path, text: str, words: list[str]) -> None:
    file.write_text(text)
    message = refusal(file)
    for word in (f"the settings file '{file}'", *words):
        assert word in message


def test_a_list_of_agents_is_not_set_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIENCE_MODELS", "[{name: qwen}]")
    assert refusal() == (
        "the variable CONSILIENCE_MODELS sets 'models'; it must be a list of mappings, in a settings file or as an "
        "argument in Python"
    )


@pytest.mark.parametrize(
    "setting",
    [
        "base_url: 'http://user:hunter2@host/v1'",
        "base_url: ['http://user:hunter2@host/v1']",
        "base_url: 'http://user:hunter2'",
        "base_url: 'http://[hunter2/v1'",
        "base_url: 'http://host/v1?key=hunter2'",
        "base_url: hunter2",
        "key_variable: sk-hunter2",
        "key_variable: [hunter2]",
        "extra_body: hunter2",
    ],
)
@pytest.mark.parametrize("group", ["models: [{kind: endpoint, name: qwen, model: m, %s}]", "reasoner: {model: m, %s}"])
def test_no_address_or_key_of_an_agent_is_ever_shown(group: str, setting: str, file: Path) -> None:
    usual = "" if setting.startswith("base_url") else "base_url: 'http://host/v1', "
    file.write_text(group % (usual + setting))
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    assert setting.partition(":")[0] in str(caught.value)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_proxies_that_are_trusted_are_addresses_or_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSILIENCE_WEB__TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8, ::1")
    assert load_settings().web.trusted_proxies == ("127.0.0.1/32", "10.0.0.0/8", "::1/128")


@pytest.mark.parametrize("wrong", ["*", "proxy.example", "10.0.0.1/8"])
def test_whoever_else_is_no_proxy_to_trust(wrong: str) -> None:
    with pytest.raises(SettingsError, match=r"web.trusted_proxies.*write an address \(127.0.0.1\) or a network"):
        load_settings(web__trusted_proxies=wrong)
