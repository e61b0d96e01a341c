"""Settings of models that answer in words: how each is reached, and how it is asked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, field_validator, model_validator

from consilience.core.settings.settings_group import SettingsGroup

Confidence = Literal["verbalised", "logprob", "sampled"]

Role = Literal["explain", "advise", "decide"]


class EndpointSettings(SettingsGroup):
    """Settings of an OpenAI-compatible endpoint: how its model is reached, and what it costs.

    Raises:
        ValueError: a setting is unknown, out of range, or does not go with another.
    """

    model: str = Field(min_length=1, description="the model, as the endpoint knows it")
    base_url: str = Field(repr=False, description="address of the endpoint, such as http://localhost:8000/v1")
    key_variable: str | None = Field(
        default=None, repr=False, description="environment variable that holds the key; none: the endpoint wants none"
    )
    timeout_seconds: float = Field(
        default=60.0, gt=0, allow_inf_nan=False, description="after which a request has failed"
    )
    max_retries: int = Field(default=2, ge=0, le=10, description="how often a request that failed is sent again")
    concurrency: int = Field(default=16, ge=1, le=1024, description="requests at once")
    price_per_million_input_tokens: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="in US dollars")
    price_per_million_output_tokens: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="in US dollars")
    price_per_gpu_second: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="in US dollars, for the time that it is busy with us"
    )
    limit_field: Literal["max_completion_tokens", "max_tokens"] | None = Field(
        default=None, description="the option by which it is told the longest answer; none: that is found out"
    )
    verify: Path | None = Field(
        default=None,
        description="file or folder of the certificates that its own must be signed by; none: those of SSL_CERT_FILE, "
        "else the system's",
    )
    extra_body: dict[str, JsonValue] = Field(
        default_factory=dict, repr=False, description="further fields of each request, which win over those set here"
    )

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # whose words quote the value
            is_address = False
        if not is_address:
            raise ValueError("must be an http(s) address, such as http://localhost:8000/v1")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ValueError("must not hold a user, a password or a query; put the key into an environment variable")
        return value.rstrip("/")

    @field_validator("key_variable")
    @classmethod
    def _no_key(cls, value: str | None) -> str | None:
        if value is not None and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value) is None:
            raise ValueError("must be the name of an environment variable, such as OPENAI_API_KEY, not the key")
        return value

    @property
    def is_free(self) -> bool:
        """Whether requests cost nothing: every price is 0."""
        return not (
            self.price_per_million_input_tokens or self.price_per_million_output_tokens or self.price_per_gpu_second
        )


ENDPOINT_REACH = frozenset(EndpointSettings.model_fields) - {"model", "extra_body"}
"""Settings of an endpoint that decide no answer."""


class LookSettings(SettingsGroup):
    """Settings of how a vision-language model looks at an image, wherever it runs. A kind of model is a subclass.

    Its field `kind` tells it from the others in a settings file.
    """

    AGENT: ClassVar[str]
    """Where the agent of these settings is defined, as `module:class`; it is imported when one is opened."""

    REACH: ClassVar[frozenset[str]]
    """The settings that say how the model is reached, which may change; the others decide what it answers."""

    name: str = Field(min_length=1, max_length=100, description="what the agent is called on the panel")
    confidence: Confidence = Field(
        default="verbalised",
        description="probabilities from what the model says, from those of its tokens, or from several answers",
    )
    samples: int = Field(default=5, ge=2, le=100, description="answers to an image, where confidence is sampled")
    temperature: float | None = Field(
        default=None, ge=0, le=2, description="of the model; none: 0, or 1 where confidence is sampled"
    )
    max_tokens: int = Field(default=400, ge=1, description="longest answer, in tokens")
    image_side: int = Field(default=768, ge=28, le=8192, description="longer side of the image sent, in pixels at most")
    second_look: bool = Field(default=True, description="whether it can be asked again with similar cases in hand")
    neighbours_shown: int = Field(default=4, ge=0, le=50, description="similar cases shown as pictures, at most")
    neighbour_side: int = Field(default=96, ge=28, le=1024, description="longer side of each, in pixels at most")
    debate: bool = Field(default=False, description="whether a second look is also told what the other agents said")

    @model_validator(mode="after")
    def _answers_can_differ(self) -> LookSettings:
        if self.confidence == "sampled" and self.temperature == 0:
            raise ValueError("confidence: sampled needs answers that can differ; use a temperature above 0")
        return self

    @property
    def place(self) -> str:
        """Where the model runs: an address, or a device."""
        raise NotImplementedError

    @property
    def heat(self) -> float:
        """The temperature to use: `temperature` if it is set, else 1 where confidence is sampled and 0 elsewhere."""
        usual = 1.0 if self.confidence == "sampled" else 0.0
        return usual if self.temperature is None else self.temperature

    @property
    def answers(self) -> int:
        """The number of answers that are asked for an image."""
        return self.samples if self.confidence == "sampled" else 1

    @property
    def label_only(self) -> bool:
        """Whether the model answers with nothing but a label."""
        return self.confidence == "logprob"


class ReasonerSettings(EndpointSettings):
    """Settings of the reasoner, a language model that reads the record of a diagnosis, never the image."""

    REACH: ClassVar[frozenset[str]] = ENDPOINT_REACH
    """As `LookSettings.REACH`."""

    role: Role = Field(
        default="explain",
        description="explain: it writes the rationale; advise: it is one more member; decide: its label is final",
    )
    temperature: float = Field(default=0.0, ge=0, le=2, description="of the model")
    max_tokens: int = Field(default=400, ge=1, description="longest answer, in tokens")
    structured: Literal["json_schema", "none"] = Field(
        default="json_schema", description="what the endpoint enforces: a JSON schema, or nothing"
    )
