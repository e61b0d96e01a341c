"""Settings of the kind `transformers`: a vision-language model in this process."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from consilience.core.settings.model_settings import LookSettings


class TransformersSettings(LookSettings):
    """Settings of one vision-language agent that runs in this process, on Hugging Face transformers."""

    AGENT: ClassVar[str] = "consilience.agents.vlm.transformers_agent:TransformersAgent"
    REACH: ClassVar[frozenset[str]] = frozenset({"device", "batch_size"})

    kind: Literal["transformers"] = Field(
        default="transformers", description="a model in this process, on Hugging Face transformers"
    )
    model: str = Field(min_length=1, description="a folder with a checkpoint, or a model of the hub by its name")
    adapter: str | None = Field(
        default=None, min_length=1, description="a folder with a LoRA adapter, as `consilience tune` writes it"
    )
    device: str = Field(default="auto", min_length=1, description="where it runs: auto, cpu, cuda, mps, ...")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="of the weights; auto: float32 on a CPU, as the checkpoint says elsewhere"
    )
    batch_size: int = Field(default=8, ge=1, le=1024, description="images that it reads at a time")

    @property
    def place(self) -> str:
        """The device."""
        return self.device
