"""What describes a vision-language agent: its endpoint, and how it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator


class VlmSettings(BaseModel):
    """Settings of one vision-language agent behind an OpenAI-compatible endpoint.

    Raises:
        ValueError: a setting is unknown, out of range, or does not go with another.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(min_length=1, max_length=100, description="what the agent is called on the panel")
    model: str = Field(min_length=1, description="the model, as the endpoint knows it")
    base_url: str = Field(description="address of the endpoint, such as http://localhost:8000/v1")
    key_variable: str | None = Field(
        default=None, min_length=1, description="environment variable that holds the key; none: the endpoint wants none"
    )
    confidence: Literal["verbalised", "logprob", "sampled"] = Field(
        default="verbalised",
        description="probabilities from what the model says, from those of its tokens, or from several answers",
    )
    structured: Literal["json_schema", "choice", "none"] | None = Field(
        default=None,
        description="what the endpoint enforces: a JSON schema, vLLM's choice of a label, or nothing; "
        "none given: choice for logprob, else json_schema",
    )
    samples: int = Field(default=5, ge=2, le=100, description="answers to an image, where confidence is sampled")
    temperature: float | None = Field(
        default=None, ge=0, le=2, description="of the model; none: 0, or 1 where confidence is sampled"
    )
    max_tokens: int = Field(default=400, ge=1, description="longest answer, in tokens")
    image_side: int = Field(default=768, ge=28, le=8192, description="longer side of the image sent, in pixels at most")
    image_detail: Literal["auto", "low", "high"] = Field(default="auto", description="how closely OpenAI's models look")
    second_look: bool = Field(default=True, description="whether it can be asked again with similar cases in hand")
    neighbours_shown: int = Field(default=4, ge=0, le=50, description="similar cases shown as pictures, at most")
    neighbour_side: int = Field(default=96, ge=28, le=1024, description="longer side of each, in pixels at most")
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
    extra_body: dict[str, JsonValue] = Field(
        default_factory=dict, description="further fields of each request, which win over those set here"
    )
    prompts: Path | None = Field(default=None, description="folder with files that override prompts")

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError("must be an http(s) address, such as http://localhost:8000/v1")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ValueError("must not hold a user, a password or a query; put the key into an environment variable")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _go_together(self) -> VlmSettings:
        if self.confidence == "logprob" and self.structured == "json_schema":
            raise ValueError("confidence: logprob reads a reply that is a label alone; use structured: choice or none")
        if self.confidence == "verbalised" and self.structured == "choice":
            raise ValueError("confidence: verbalised needs more than a label; use structured: json_schema or none")
        return self

    @property
    def enforced(self) -> Literal["json_schema", "choice", "none"]:
        """`structured`, or what goes with the confidence."""
        return self.structured or ("choice" if self.confidence == "logprob" else "json_schema")

    @property
    def label_only(self) -> bool:
        """Whether the model answers with nothing but a label."""
        return self.confidence == "logprob" or self.enforced == "choice"
