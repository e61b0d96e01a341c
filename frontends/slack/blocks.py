"""Blocks: a reply as Slack's rich text, in which nothing that somebody wrote is read as markup or as a mention."""

from __future__ import annotations

from typing import Any

from consilience.core.render.phrases import one_line
from consilience.frontends.chat.reply import Button, Reply, ReplyTable

Block = dict[str, Any]

MAX_TEXT_CHARACTERS = 2900
"""Characters of one text; Slack takes 3,000."""

MAX_TABLE_ROWS = 20
"""Rows of a table that are shown."""

MAX_OPTIONS, MAX_GROUPS, MAX_OPTION_CHARACTERS = 100, 100, 75
"""Options in a group of a menu, groups in a menu, and characters of an option that Slack takes."""


def message(reply: Reply) -> dict[str, Any]:
    """Return the fields of a message that shows a reply: `text` for notifications, and `blocks`."""
    blocks = [_rich(_lines(reply.text, is_bold=reply.settled is not None))]
    if reply.table is not None:
        blocks.append(_listed(reply.table))
    if reply.closing:
        blocks.append(_rich([_text(reply.closing)]))
    if reply.buttons:
        elements = [_element(button, place) for place, button in enumerate(reply.buttons)]
        blocks.append({"type": "actions", "block_id": reply.diagnosis, "elements": elements})
    return {"text": plain(reply.text.partition("\n")[0]) or " ", "blocks": blocks}


def plain(text: str) -> str:
    """Return text in which Slack finds no mention, link or entity."""
    return one_line(text, MAX_TEXT_CHARACTERS).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _text(words: str, **style: bool) -> Block:
    element: Block = {
        "type": "text",
        "text": one_line(words, MAX_TEXT_CHARACTERS) or " ",
    }  # Slack refuses an empty text
    return element | ({"style": style} if style else {})


def _lines(text: str, is_bold: bool) -> list[Block]:
    """Return lines of text, the first one bold if it is a verdict."""
    first, *others = text.split("\n")
    elements = [_text(first, bold=True) if is_bold else _text(first)]
    for line in others:
        elements += [{"type": "text", "text": "\n"}, _text(line)]
    return elements


def _rich(elements: list[Block]) -> Block:
    return {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": elements}]}


def _listed(table: ReplyTable) -> Block:
    """Return a table as a line for each row: Slack's own tables cannot be read on a phone."""
    lines = []
    for cells in table.rows[:MAX_TABLE_ROWS]:
        rest = [f"{name} {cell}" for name, cell in zip(table.columns[1:], cells[1:], strict=True) if cell != "–"]
        name, facts = _text(cells[0] or "?", bold=True), _text(": " + " · ".join(rest))
        lines.append({"type": "rich_text_section", "elements": [name, facts]})
    if (more := len(table.rows) - MAX_TABLE_ROWS) > 0:
        lines.append({"type": "rich_text_section", "elements": [_text(f"and {more} more")]})
    return {"type": "rich_text", "elements": [{"type": "rich_text_list", "style": "bullet", "elements": lines}]}


def _element(button: Button, place: int) -> Block:
    words = {"type": "plain_text", "text": button.text, "emoji": False}
    if button.value:  # no two elements may have one id
        return {"type": "button", "action_id": f"{button.action}:{place}", "text": words, "value": button.value}
    if not button.choices:
        return {"type": "button", "action_id": button.action, "text": words}
    menu = {"type": "static_select", "action_id": button.action, "placeholder": words}
    options = [
        {
            "text": {"type": "plain_text", "text": one_line(label, MAX_OPTION_CHARACTERS), "emoji": False},
            "value": str(number),
        }
        for number, label in enumerate(button.choices[: MAX_OPTIONS * MAX_GROUPS])
    ]
    if len(options) <= MAX_OPTIONS:
        return menu | {"options": options}
    groups = [
        {
            "label": {"type": "plain_text", "text": f"{start + 1} to {start + len(part)}"},
            "options": part,
        }
        for start in range(0, len(options), MAX_OPTIONS)
        if (part := options[start : start + MAX_OPTIONS])
    ]
    return menu | {"option_groups": groups}
