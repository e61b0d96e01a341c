"""What the bot needs before it starts, and how it says that it lacks it."""

from __future__ import annotations

import shutil
from pathlib import Path

import click.testing
import pytest
import yaml

from consilience.frontends.cli.main import main
from consilience.frontends.slack.inbox import Inbox
from consilience.frontends.slack.slack_api import scopes
from consilience.frontends.slack.slack_server import SlackConnection
from tests.support.fake_slack import APP_TOKEN, BOT_TOKEN, SCOPES, FakeSlack
from tests.support.slack_bot import free_port


def started(slack: FakeSlack, panel: Path, *options: str, **variables: str) -> str:
    """What the command complains of; all its variables are set but for those given as empty."""
    usual = {"SLACK_BOT_TOKEN": BOT_TOKEN, "SLACK_APP_TOKEN": APP_TOKEN, "SLACK_SIGNING_SECRET": "secret"}
    arguments = ["slack", "--panel", str(panel), "--api-url", slack.url, *options]
    result = click.testing.CliRunner().invoke(main, arguments, env=usual | variables)
    assert result.exit_code == 1
    for secret in (BOT_TOKEN, APP_TOKEN):
        assert secret not in result.output
    return result.stderr


@pytest.mark.parametrize(
    ("options", "variables", "words"),
    [
        ((), {"SLACK_BOT_TOKEN": ""}, "the variable SLACK_BOT_TOKEN is not set"),
        ((), {"SLACK_APP_TOKEN": ""}, "the variable SLACK_APP_TOKEN is not set"),
        (("--http",), {"SLACK_SIGNING_SECRET": ""}, "the variable SLACK_SIGNING_SECRET is not set"),
        ((), {"SLACK_BOT_TOKEN": "xoxp-user"}, "the token in SLACK_BOT_TOKEN does not begin with xoxb-"),
        ((), {"SLACK_BOT_TOKEN": "xoxb-wrong"}, "Slack does not accept the token in SLACK_BOT_TOKEN (invalid_auth)"),
        ((), {"SLACK_APP_TOKEN": "xapp-wrong"}, "Slack does not accept the token in SLACK_APP_TOKEN (invalid_auth)"),
        (("--api-url", "http://127.0.0.1:9/api/"), {}, "Slack cannot be reached"),
    ],
)
def test_it_names_what_is_wrong_with_tokens_and_network(
    slack: FakeSlack, panel: Path, options: tuple[str, ...], variables: dict[str, str], words: str
) -> None:
    assert words in started(slack, panel, *options, **variables)


def test_it_names_missing_scopes(slack: FakeSlack, panel: Path) -> None:
    slack.scopes = SCOPES.replace(",files:read", "").replace(",reactions:write", "")
    assert "lacks the scopes files:read, reactions:write" in started(slack, panel)


def test_it_refuses_to_start_without_a_sound_panel(slack: FakeSlack, panel: Path, tmp_path: Path) -> None:
    assert "panel" in started(slack, tmp_path / "none")
    (state,) = panel.rglob("fusion.json")
    state.write_text("{}")
    assert "panel" in started(slack, panel)
    assert slack.calls == []  # it asks nobody before it can answer


def test_only_one_bot_has_an_inbox(slack: FakeSlack, panel: Path) -> None:
    with Inbox(panel / "slack.sqlite"):
        assert "is in use by" in started(slack, panel)
    (panel / "slack.sqlite").write_bytes(b"no inbox at all, but long enough to be looked at as one" * 100)
    shutil.rmtree(panel / "slack.sqlite-wal", ignore_errors=True)
    assert "cannot be used" in started(slack, panel)


def test_a_port_in_use_is_named(slack: FakeSlack, panel: Path) -> None:
    import socket

    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert f"cannot listen on port {port} of 127.0.0.1" in started(slack, panel, "--http", "--port", str(port))


def test_the_manifest_asks_for_what_is_used_and_no_more() -> None:
    printed = click.testing.CliRunner().invoke(main, ["slack", "--manifest"])
    manifest = yaml.safe_load(printed.stdout)
    assert printed.exit_code == 0
    assert manifest["oauth_config"]["scopes"]["bot"] == list(scopes())
    assert sorted(scopes()) == sorted(SCOPES.split(","))
    assert manifest["settings"]["socket_mode_enabled"] is True


def test_no_secret_shows_in_a_connection() -> None:
    shown = repr(SlackConnection("xoxb-1", "xapp-2", "secret-3"))
    assert not any(secret in shown for secret in ("xoxb-1", "xapp-2", "secret-3"))
