"""Settings of where a panel is used: how often each label occurs there, and what mistakes and questions cost.

Which labels there are, only a panel knows: whether each has a share and a cost is checked when it is opened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from consilience.core.settings.settings_group import SettingsGroup
from consilience.core.storage.json_text import parsed_json

SUM_TOLERANCE = 0.005
"""By how much shares may miss a sum of 1: people write 0.333."""


def _number(value: Any, what: str) -> float:
    """Return a finite number that is not negative."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0.0 <= number < math.inf:
        raise ValueError(f"{what} is {value!r}; it must be a finite number, at least 0")
    return number


def _mapping(value: Any) -> Any:
    """Return a text in JSON, or `name=number, name=number`, as a mapping; keys are texts. Anything else as it is."""
    text = value.strip() if isinstance(value, str) else ""
    if text.startswith("{"):
        try:
            value = parsed_json(text)
        except ValueError as cause:
            raise ValueError(f"it must be a mapping; as a text, in JSON: {cause}") from cause
    elif "=" in text:
        entries = [entry.rpartition("=") for entry in text.split(",")]
        value = {name.strip(): share.strip() for name, _, share in entries}
    return {str(key): entry for key, entry in value.items()} if isinstance(value, Mapping) else value


class CostSettings(SettingsGroup):
    """Settings of costs: what each mistake costs, and asking a person, in one unit; the cheapest answer is given."""

    mistakes: float | dict[str, float | dict[str, float]] | None = Field(
        default=None,
        description="what a wrong label costs: a number; or by true label a number, or by true and said label",
    )
    person: float | None = Field(
        default=None, description="what asking a person costs, in the unit of the mistakes; none: costs decide nothing"
    )

    @field_validator("mistakes", mode="before")
    @classmethod
    def _costs(cls, value: Any) -> Any:
        value = _mapping(value)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            return _number(value, "the cost of a mistake")
        return {
            true: {str(said): _number(cost, f"the cost of '{said}' for '{true}'") for said, cost in costs.items()}
            if isinstance(costs, Mapping)
            else _number(costs, f"the cost of mistakes about '{true}'")
            for true, costs in value.items()
        }

    @field_validator("person", mode="before")
    @classmethod
    def _price(cls, value: Any) -> Any:
        return None if value is None else _number(value, "the price of a person")

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.mistakes is None) != (self.person is None):
            missing = "person" if self.person is None else "mistakes"
            raise ValueError(f"costs take both mistakes and person, in one unit: set decision.costs.{missing}, too")
        return self

    @property
    def are_set(self) -> bool:
        """Return whether costs decide."""
        return self.mistakes is not None


class DecisionSettings(SettingsGroup):
    """Settings of the place where a panel is used, as far as it differs from its labelled images."""

    frequencies: Literal["estimate"] | dict[str, float] | None = Field(
        default=None,
        description="share of each label where the panel is used, or estimate, from the images that are diagnosed; "
        "none: as among the labelled images",
    )
    costs: CostSettings = Field(default=CostSettings(), description="what mistakes and asking a person cost")

    @field_validator("frequencies", mode="before")
    @classmethod
    def _shares(cls, value: Any) -> Any:
        value = _mapping(value)
        if value is None or value == "estimate":
            return value
        if not isinstance(value, Mapping):
            raise ValueError("it must be a share for each label, such as {scab: 0.05, healthy: 0.95}, or estimate")
        shares = {label: _number(share, f"the share of '{label}'") for label, share in value.items()}
        if abs((total := sum(shares.values())) - 1.0) > SUM_TOLERANCE:
            raise ValueError(f"the shares sum to {total:.4g}; they must sum to 1")
        return {label: share / total for label, share in shares.items()}


AS_LABELLED = DecisionSettings()
"""A panel is used where its labelled images come from, and every mistake is the same."""
