"""Replies as Slack shows them: within its limits, and with nothing in them that it would obey."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.frontends.chat.reply import Button, Reply, ReplyTable
from consilience.frontends.slack.blocks import message, plain

HOSTILE = "<!channel> <@U1> *bold* <https://evil.example|click> & `code`"


def types(block: Any) -> set[str]:
    if isinstance(block, list):
        return {name for part in block for name in types(part)}
    if isinstance(block, dict):
        own = {block["type"]} if isinstance(block.get("type"), str) else set()
        return own | {name for part in block.values() for name in types(part)}
    return set()


def test_what_others_wrote_is_text_and_nothing_else() -> None:
    reply = Reply(HOSTILE, ReplyTable(("A", "B"), ((HOSTILE, HOSTILE),)), closing=HOSTILE, diagnosis="id", settled=True)
    shown = message(reply)
    assert types(shown["blocks"]) == {"rich_text", "rich_text_section", "rich_text_list", "text"}
    assert "<" not in shown["text"]
    assert HOSTILE in json.dumps(shown["blocks"])  # as it is: in rich text nothing is markup


@given(st.text())
def test_a_notification_names_nobody(text: str) -> None:
    assert "<" not in plain(text)


@pytest.mark.parametrize(("labels", "groups"), [(3, 0), (100, 0), (101, 2), (10_500, 100)])
def test_a_menu_takes_as_many_labels_as_slack_does(labels: int, groups: int) -> None:
    choices = tuple(
        f"a label with a long name, so that it must be cut off, which is number {n}" * 2 for n in range(labels)
    )
    [_, actions] = message(Reply("x", buttons=(Button("Wrong", "wrong", choices),), diagnosis="id"))["blocks"]
    [menu] = actions["elements"]
    assert actions["block_id"] == "id"
    assert len(menu.get("option_groups", [])) == groups
    options = [option for group in menu.get("option_groups", [menu]) for option in group["options"]]
    assert [option["value"] for option in options] == [str(n) for n in range(min(labels, 10_000))]
    assert all(0 < len(option["text"]["text"]) <= 75 for option in options)
    assert all(len(group["options"]) <= 100 for group in menu.get("option_groups", [menu]))


@given(st.lists(st.tuples(st.text(), st.text()), max_size=40), st.text(), st.text())
def test_every_text_is_short_enough_and_not_empty(rows: list[tuple[str, str]], text: str, closing: str) -> None:
    shown = message(Reply(text, ReplyTable(("A", "B"), tuple(rows)), closing=closing))

    def texts(part: Any) -> list[str]:
        parts = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        return [part] if isinstance(part, str) else [word for part in parts for word in texts(part)]

    assert all(0 < len(text) <= 3000 for text in texts(shown))
    assert len(shown["blocks"]) <= 50


def test_buttons_of_labels_have_ids_of_their_own_and_carry_the_label() -> None:
    """Slack refuses a message in which two elements of a block have one id."""
    buttons = (Button("rust", "label", value="rust"), Button("scab", "label", value="scab"), Button("None", "none"))
    [*_, actions] = message(Reply("x", buttons=buttons, diagnosis="id"))["blocks"]
    assert [element["action_id"] for element in actions["elements"]] == ["label:0", "label:1", "none"]
    assert [element.get("value") for element in actions["elements"]] == ["rust", "scab", None]
