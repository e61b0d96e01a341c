"""Parts of a panel as plain data and files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from consilience.core.settings.model_kinds import ModelSettings
from consilience.core.settings.model_settings import ReasonerSettings
from consilience.core.settings.settings import Settings
from consilience.core.storage.json_text import parsed_json
from consilience.core.trust import Trust
from consilience.orchestrator.ensemble import calibration
from consilience.orchestrator.ensemble.members import Member

READ_BY_PEOPLE = 100_000
"""Characters of a JSON file up to which it is broken into lines, which takes far longer than to write it in one."""


def member_to_dict(member: Member) -> dict[str, Any]:
    """Return a member as plain data, for `member_from_dict`."""
    trust, calibrator = member.trust.to_dict(), calibration.to_dict(member.calibrator)
    return {"trust": trust, "calibrator": calibrator, "cost_usd": member.cost_usd, "seconds": member.seconds}


def member_from_dict(data: Mapping[str, Any]) -> Member:
    """Restore a member. Raises KeyError or TypeError: a part is missing or unknown."""
    trust = Trust(**data["trust"])
    calibrator, seconds = calibration.from_dict(data["calibrator"]), data.get("seconds", 0.0)  # not of older panels
    return Member(trust.agent, trust.stage, calibrator, trust, data["cost_usd"], seconds)


def models_to_dict(models: Sequence[ModelSettings], reasoner: ReasonerSettings | None) -> dict[str, Any]:
    """Return models and reasoner as a settings file has them."""
    return {
        "models": [model.model_dump(mode="json") for model in models],
        "reasoner": reasoner and reasoner.model_dump(mode="json"),
    }


def models_from_dict(data: Mapping[str, Any]) -> tuple[tuple[ModelSettings, ...], ReasonerSettings | None]:
    """Return models and reasoner as a settings file has them. Raises ValueError: it has none such."""
    settings = Settings.model_validate(data)
    return settings.models, settings.reasoner


def read_json(path: Path) -> Any:
    """Return what a JSON file holds. Raises OSError or ValueError: it cannot be read."""
    return parsed_json(path.read_text(encoding="utf-8"))


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON, in lines for people if they are not too many. Raises OSError: it cannot be written."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    if len(text) <= READ_BY_PEOPLE:
        text = json.dumps(data, ensure_ascii=False, allow_nan=False, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
