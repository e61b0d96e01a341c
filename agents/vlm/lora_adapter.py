"""LoRA adapters (Hu et al. 2022) on disk: two files as peft writes them, `adapter_config.json` and
`adapter_model.safetensors`. They may come from anywhere: nothing but LoRA is read, and no pickle.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from consilience.core.errors import AgentError, first_line, import_extra
from consilience.core.storage.atomic_write import replacing

EXTRA = "tune"
CONFIGURATION, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

RANKS = (8, 16, 32, 64, 128, 256)
"""That vLLM serves; an adapter of a rank between them is served with room for the next."""


def configuration_of(folder: Path) -> dict[str, Any]:
    """Return what an adapter says of itself.

    Raises:
        AgentError: the folder holds none that is LoRA, with weights as safetensors.
    """
    if not (folder / CONFIGURATION).is_file() or not (folder / WEIGHTS).is_file():
        raise AgentError(f"'{folder}' holds no adapter: it must have {CONFIGURATION} and {WEIGHTS}")
    try:
        config = json.loads((folder / CONFIGURATION).read_text("utf-8"))
        is_plain = config["peft_type"] == "LORA" and not config.get("megatron_config") and config["r"] in range(1, 257)
    except (ValueError, KeyError, TypeError) as cause:
        raise AgentError(f"'{folder / CONFIGURATION}' is damaged ({cause!r}); tune it again") from cause
    if not is_plain:
        raise AgentError(f"the adapter in '{folder}' is not plain LoRA of a rank up to 256, and is not read")
    return dict(config)


def rank_of(folder: Path) -> int:
    """Return the rank of an adapter. Raises AgentError as `configuration_of`."""
    return int(configuration_of(folder)["r"])


def merged(model: Any, folder: Path) -> Any:
    """Return the model with the adapter's change added to its weights.

    Raises:
        AgentError: it is no adapter, or one of another model. MissingExtraError: the extra 'tune' is not installed.
    """
    peft = import_extra("peft", EXTRA)
    configuration_of(folder)
    try:
        adapted = peft.get_peft_model(model, peft.LoraConfig.from_pretrained(str(folder)))
        load_weights(adapted, folder / WEIGHTS)
    except AgentError:
        raise
    except Exception as cause:  # files from anywhere meet a foreign loader
        raise AgentError(f"the adapter in '{folder}' does not fit the model: {first_line(cause)}") from cause
    return adapted.merge_and_unload().eval()


def load_weights(adapted: Any, file: Path) -> None:
    """Read all of an adapter's weights into a model that has one of the same form. Raises AgentError if they differ."""
    weights = import_extra("safetensors.torch", EXTRA).load_file(str(file))
    mismatch = import_extra("peft", EXTRA).set_peft_model_state_dict(adapted, weights)
    missing = [name for name in mismatch.missing_keys if "lora_" in name]
    if missing or mismatch.unexpected_keys:
        raise AgentError(f"'{file}' holds the adapter of another model: {len(missing)} of its weights are missing")


def save(adapted: Any, folder: Path) -> None:
    """Write the adapter; its weights appear whole or not at all."""
    peft, safetensors = import_extra("peft", EXTRA), import_extra("safetensors.torch", EXTRA)
    configuration = adapted.peft_config["default"]
    configuration.save_pretrained(str(folder))
    weights = {name: tensor.contiguous().cpu() for name, tensor in peft.get_peft_model_state_dict(adapted).items()}
    with replacing(folder / WEIGHTS) as partial:
        safetensors.save_file(weights, str(partial), metadata={"format": "pt"})
