"""Settings of the kind `endpoint`: a vision-language model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from consilience.core.settings.model_settings import ENDPOINT_REACH, EndpointSettings, LookSettings

Structured = Literal["json_schema", "choice", "none"]


class VlmSettings(LookSettings, EndpointSettings):
    """Settings of one vision-language agent behind an OpenAI-compatible endpoint.

    Raises:
        ValueError: a setting is unknown, out of range, or does not go with another.
    """

    AGENT: ClassVar[str] = "consilience.agents.vlm.vlm_agent:VlmAgent"
    REACH: ClassVar[frozenset[str]] = ENDPOINT_REACH | {"pictures_a_request"}

    kind: Literal["endpoint"] = Field(default="endpoint", description="a model behind an OpenAI-compatible endpoint")
    structured: Structured | None = Field(
        default=None,
        description="what the endpoint enforces: a JSON schema, vLLM's choice of a label, or nothing; "
        "none given: choice for logprob, else json_schema",
    )
    image_detail: Literal["auto", "low", "high"] = Field(default="auto", description="how closely OpenAI's models look")

    pictures_a_request: int | None = Field(
        default=None,
        ge=1,
        description="pictures that the endpoint takes in a request: of more, similar cases come on one numbered sheet; "
        "none: that is found out",
    )

    @model_validator(mode="after")
    def _go_together(self) -> VlmSettings:
        if self.confidence == "logprob" and self.structured == "json_schema":
            raise ValueError("confidence: logprob reads a reply that is a label alone; use structured: choice or none")
        if self.confidence == "verbalised" and self.structured == "choice":
            raise ValueError("confidence: verbalised needs more than a label; use structured: json_schema or none")
        return self

    @property
    def place(self) -> str:
        """The address of the endpoint."""
        return self.base_url

    @property
    def enforced(self) -> Structured:
        """The form to enforce: `structured` if it is set, else "choice" for logprob and "json_schema" elsewhere."""
        return self.structured or ("choice" if self.confidence == "logprob" else "json_schema")

    @property
    def label_only(self) -> bool:
        """Whether the model answers with nothing but a label."""
        return self.confidence == "logprob" or self.enforced == "choice"
