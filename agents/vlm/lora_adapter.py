"""Reads and writes LoRA adapters (Hu et al. 2022), in the two files that peft writes.

They are `adapter_config.json` and `adapter_model.safetensors`, and may come from anywhere: nothing but LoRA is read,
and no pickle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from consilience.core.errors import AgentError, first_line, import_extra
from consilience.core.storage.atomic_write import replacing
from consilience.core.storage.json_text import parsed_json

EXTRA = "tune"
CONFIGURATION, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

RANKS = (8, 16, 32, 64, 128, 256)
"""The ranks that vLLM serves; an adapter of a rank between two of them is served with room for the next."""


def configuration_of(folder: Path) -> dict[str, Any]:
    """Return the configuration of the adapter in a folder.

    Raises:
        AgentError: the folder holds no adapter, a damaged one, or one that is not plain LoRA of a rank up to 256.
    """
    if not (folder / CONFIGURATION).is_file() or not (folder / WEIGHTS).is_file():
        raise AgentError(f"'{folder}' holds no adapter: it must have {CONFIGURATION} and {WEIGHTS}")
    try:
        config = parsed_json((folder / CONFIGURATION).read_text("utf-8"))
        is_plain = config["peft_type"] == "LORA" and not config.get("megatron_config") and config["r"] in range(1, 257)
    except (ValueError, KeyError, TypeError) as cause:
        raise AgentError(f"'{folder / CONFIGURATION}' is damaged ({cause!r}); tune it again") from cause
    if not is_plain:
        raise AgentError(f"the adapter in '{folder}' is not plain LoRA of a rank up to 256, and is not read")
    return dict(config)


def rank_of(folder: Path) -> int:
    """Return the rank of the adapter in a folder, 1 to 256. Errors as of `configuration_of`."""
    return int(configuration_of(folder)["r"])


def merged(model: Any, folder: Path) -> Any:
    """Return the model with the adapter in a folder added to its weights.

    Raises:
        AgentError: the folder holds no adapter, or one of another model.
        MissingExtraError: the extra 'tune' is not installed.
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
    """Read an adapter's weights from a file into a model that already has an adapter of the same form.

    Raises:
        AgentError: the weights are not those that the model's adapter has.
    """
    weights = import_extra("safetensors.torch", EXTRA).load_file(str(file))
    mismatch = import_extra("peft", EXTRA).set_peft_model_state_dict(adapted, weights)
    missing = [name for name in mismatch.missing_keys if "lora_" in name]
    if missing or mismatch.unexpected_keys:
        raise AgentError(f"'{file}' holds the adapter of another model: {len(missing)} of its weights are missing")


def save(adapted: Any, folder: Path) -> None:
    """Write the adapter of a model into a folder; its weights appear whole or not at all."""
    peft, safetensors = import_extra("peft", EXTRA), import_extra("safetensors.torch", EXTRA)
    configuration = adapted.peft_config["default"]
    configuration.save_pretrained(str(folder))
    weights = {name: tensor.contiguous().cpu() for name, tensor in peft.get_peft_model_state_dict(adapted).items()}
    with replacing(folder / WEIGHTS) as partial:
        safetensors.save_file(weights, str(partial), metadata={"format": "pt"})
