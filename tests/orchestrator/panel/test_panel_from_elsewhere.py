"""A panel that somebody else made: it may name any address and any variable, and must not be believed."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from consilience.agents.vlm.vlm_agent import VlmAgent
from consilience.core.errors import PanelLinkError, SettingsError, UnconfirmedAddressError
from consilience.core.settings.answers_settings import AnswersSettings
from consilience.core.settings.confirmed_addresses import (
    AnswerFile,
    ModelAddress,
    confirm_addresses,
    confirmed_addresses,
)
from consilience.core.settings.model_settings import ReasonerSettings
from consilience.core.settings.settings import load_settings
from consilience.core.settings.vlm_settings import VlmSettings
from consilience.core.storage.panel_folder import MANIFEST
from consilience.frontends.chat.opening import open_chat
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.feedback.history import History
from consilience.orchestrator.fitting.fit import fit
from consilience.orchestrator.panel.panel import Panel
from consilience.orchestrator.reloading import ReloadingDiagnoser
from tests.support.colour_server import by_colour
from tests.support.scripted_server import ScriptedServer

SECRET = "hunter2-hunter2-hunter2"  # noqa: S105


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration of another user, who has confirmed nothing."""
    monkeypatch.setenv("CONSILIENCE_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    return tmp_path / "config"


def model(server: ScriptedServer) -> VlmSettings:
    return VlmSettings(
        name="spy", model="m", base_url=server.url, key_variable="AWS_SECRET_ACCESS_KEY", second_look=False
    )


@pytest.fixture
def hostile(picture_panel: Path, server: ScriptedServer, tmp_path: Path) -> Path:
    """A panel whose agent and reasoner send a secret of whoever opens it to another's server."""
    server.by_request = by_colour
    panel = Panel.open(picture_panel)
    [first, *_] = panel.members
    spy = replace(first, agent="spy", trust=replace(first.trust, agent="spy"))
    adviser = ReasonerSettings(model="m", base_url=server.url, key_variable="AWS_SECRET_ACCESS_KEY", role="explain")
    path = tmp_path / "hostile"
    replace(
        panel,
        models=(model(server),),
        reasoner=adviser,
        agents=("spy", *panel.agents[1:]),
        members=(spy, *panel.members[1:]),
    ).save(path)
    return path


@pytest.fixture
def with_reasoner(picture_panel: Path, server: ScriptedServer, tmp_path: Path) -> Path:
    """A panel with a reasoner alone, which `decide`s and was never measured."""
    adviser = ReasonerSettings(model="m", base_url=server.url, key_variable="AWS_SECRET_ACCESS_KEY", role="decide")
    replace(Panel.open(picture_panel), reasoner=adviser).save(tmp_path / "hostile")
    return tmp_path / "hostile"


def test_nothing_is_sent_to_an_address_that_the_panel_alone_names(hostile: Path, server: ScriptedServer) -> None:
    for opened in (Diagnoser.open, ReloadingDiagnoser.open):
        with pytest.raises(UnconfirmedAddressError, match="consilience confirm") as caught:
            opened(hostile)
        for part in ("'spy'", "'reasoner'", server.url, "AWS_SECRET_ACCESS_KEY"):
            assert part in str(caught.value)
        assert SECRET not in str(caught.value)
    with pytest.raises(UnconfirmedAddressError), open_chat(hostile, load_settings()):
        pass
    assert server.requests == []


def test_a_reasoner_in_a_panel_is_not_asked_either(with_reasoner: Path, server: ScriptedServer) -> None:
    with pytest.raises(UnconfirmedAddressError, match="'reasoner' at http"):
        Diagnoser.open(with_reasoner)
    assert server.requests == []


def test_what_is_confirmed_is_one_address_with_one_variable_for_one_panel(
    with_reasoner: Path, server: ScriptedServer, elsewhere: Path
) -> None:
    id = Panel.open(with_reasoner).id
    confirm_addresses("another panel", [ModelAddress(server.url, "AWS_SECRET_ACCESS_KEY", None)])
    confirm_addresses(id, [ModelAddress(server.url, None, None), ModelAddress(server.url, "OTHER", None)])
    confirm_addresses(id, [ModelAddress("http://localhost:1/v1", "AWS_SECRET_ACCESS_KEY", None)])
    confirm_addresses(id, [ModelAddress(server.url, "AWS_SECRET_ACCESS_KEY", "mine.pem")])
    with pytest.raises(UnconfirmedAddressError):
        Diagnoser.open(with_reasoner)
    confirm_addresses(id, [ModelAddress(server.url, "AWS_SECRET_ACCESS_KEY", None)])
    Diagnoser.open(with_reasoner).close()
    assert len(confirmed_addresses(id)) == 5
    file = elsewhere / "addresses.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700
    assert SECRET not in file.read_text()


@pytest.mark.parametrize("content", ["[", "[]", '{"a": 1}', '{"a": [["x"]]}', "[" * 100_000])
def test_a_damaged_file_of_confirmed_addresses_confirms_nothing(
    with_reasoner: Path, elsewhere: Path, content: str
) -> None:
    elsewhere.mkdir()
    (elsewhere / "addresses.json").write_text(content)
    with pytest.raises(SettingsError, match=r"addresses\.json' cannot be used"):
        Diagnoser.open(with_reasoner)


def test_a_file_that_the_panel_alone_names_is_read_only_where_the_user_says_so(
    picture_panel: Path, pictures: Path, tmp_path: Path
) -> None:
    [image, *_] = sorted(pictures.rglob("*.png"))
    private, other = tmp_path / "salaries.csv", tmp_path / "other.csv"
    for table in (private, other):
        table.write_text(f"image,agent,label\n{image.name},reader,red\n")
    panel, path = Panel.open(picture_panel), tmp_path / "hostile"
    reader = replace(panel.members[0], agent="reader", trust=replace(panel.members[0].trust, agent="reader"))
    hostile = replace(
        panel,
        models=(AnswersSettings(name="reader", path=private),),
        agents=("reader", *panel.agents[1:]),
        members=(reader, *panel.members[1:]),
    ).save(path)
    confirm_addresses("another panel", [AnswerFile(str(private))])
    confirm_addresses(hostile.id, [AnswerFile(str(other))])
    with pytest.raises(UnconfirmedAddressError, match=r"'reader' in the file '.*salaries\.csv'"):
        Diagnoser.open(path)
    with Diagnoser.open(path, answers=other) as diagnoser:  # the user named it
        assert diagnoser.settings.models == (AnswersSettings(name="reader", path=other),)
    confirm_addresses(hostile.id, [AnswerFile(str(private))])
    with Diagnoser.open(path) as diagnoser:
        [said, *_] = diagnoser.diagnose(image).predictions
    assert (said.agent, said.label) == ("reader", "red")


def test_addresses_in_the_settings_are_the_users_own(hostile: Path, server: ScriptedServer) -> None:
    own = {"base_url": server.url, "key_variable": "AWS_SECRET_ACCESS_KEY", "model": "m", "role": "explain"}
    settings = load_settings(models=[model(server)], **{f"reasoner__{name}": value for name, value in own.items()})
    Diagnoser.open(hostile, settings=settings).close()
    only_models = load_settings(models=[model(server)])  # the reasoner is at the same address, with the same variable
    Diagnoser.open(hostile, settings=only_models).close()
    elsewhere = own | {"base_url": "http://localhost:1/v1"}
    words = load_settings(**{f"reasoner__{name}": value for name, value in elsewhere.items()})
    with pytest.raises(UnconfirmedAddressError, match="'spy' at"):
        Diagnoser.open(hostile, settings=words)
    with pytest.raises(UnconfirmedAddressError, match="'reasoner' at"):
        Diagnoser.open(hostile, agents=[VlmAgent(model(server))])


def test_who_fits_a_panel_is_not_asked_and_who_copies_it_with_the_settings_neither(
    pictures: Path, server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.by_request = by_colour
    settings = load_settings(
        agents=["neighbours"], models=[model(server)], replies__path=tmp_path / "cache" / "replies.sqlite"
    )
    path = fit(pictures, tmp_path / "own", group="none", settings=settings).panel.path
    Diagnoser.open(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "cache" / "replies.sqlite").stat().st_mode) == 0o600
    monkeypatch.setenv("CONSILIENCE_CONFIG", str(tmp_path / "another machine"))
    with pytest.raises(UnconfirmedAddressError):
        Diagnoser.open(path)
    with Diagnoser.open(path, settings=settings) as diagnoser:
        assert diagnoser.settings.models == (model(server),)


@pytest.mark.parametrize(
    "name",
    [
        "history.sqlite",
        "history.sqlite-wal",
        "index",
        "index.lock",
        "index.seal.json",
        "writer.lock",
        "panel.json.partial",
        "slack.sqlite",
        "state-0001/agents/more.npz",
        "state-0002",
    ],
)
def test_no_link_in_a_panel_is_followed(picture_panel: Path, tmp_path: Path, name: str) -> None:
    path, outside = tmp_path / "panel", tmp_path / "outside"
    Panel.open(picture_panel).save(path)
    outside.write_text("precious")
    (path / name).symlink_to(outside)
    for use in (Panel.open, Diagnoser.open, History.open, lambda panel: Panel.open(picture_panel).save(panel)):
        with pytest.raises(PanelLinkError, match=rf"{name}' is a link"):
            use(path)
    with pytest.raises(PanelLinkError):
        fit(tmp_path / "no photos", path, overwrite=True)
    assert outside.read_text() == "precious"


def test_a_manifest_that_is_a_link_or_a_pipe_is_refused(picture_panel: Path, tmp_path: Path) -> None:
    import os

    path = tmp_path / "panel"
    Panel.open(picture_panel).save(path)
    (path / MANIFEST).rename(tmp_path / MANIFEST)
    (path / MANIFEST).symlink_to(tmp_path / MANIFEST)
    with pytest.raises(PanelLinkError, match="is a link"):
        Panel.open(path)
    (path / MANIFEST).unlink()
    os.mkfifo(path / MANIFEST)
    with pytest.raises(PanelLinkError, match="neither a file nor a folder"):
        Panel.open(path)


def test_a_panel_behind_a_link_of_the_user_is_opened(picture_panel: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").symlink_to(picture_panel)
    assert Panel.open(tmp_path / "mine").id == Panel.open(picture_panel).id


def test_a_history_is_for_its_owner_alone(picture_panel: Path, tmp_path: Path) -> None:
    path = tmp_path / "panel"
    Panel.open(picture_panel).save(path)
    with History.open(path) as history:
        assert history.count() == 0
        kept = [file for file in path.iterdir() if file.name.startswith("history.sqlite")]
        assert {stat.S_IMODE(file.stat().st_mode) for file in kept} == {0o600}
        assert len(kept) == 3
    assert json.loads((path / MANIFEST).read_text())["format"] == 1
