"""The base of every group of settings: frozen, and strict about what a person writes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError


class SettingsGroup(BaseModel):
    """Settings that belong together. An unknown one is refused, and true does not pass for 1.

    `repr=False` on a setting says that its value may hold a secret, so that no message shows it.
    """

    # The input of a wrong setting may be an address with a password.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise PydanticCustomError("truth_value", "must not be true or false")
        return value
