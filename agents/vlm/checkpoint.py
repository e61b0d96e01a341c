"""Opens an image-text checkpoint of Hugging Face transformers, on the device where it is to run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from consilience.core.errors import AgentError, first_line, import_extra

EXTRA = "transformers"


def open_checkpoint(name: str, device: str, dtype: str) -> tuple[Any, Any]:
    """Return the processor and the model, ready to be used.

    No code of a checkpoint is run, and its weights are read from safetensors alone.

    Args:
        name: the folder that holds it, or its name on the hub.
        device: as in `TransformersSettings`.
        dtype: as in `TransformersSettings`; `auto` is float32 on a CPU.

    Raises:
        AgentError: it cannot be found or fetched, is no image-text model with a chat template, or lacks weights; there
            is no such device, or its memory is too small.
        MissingExtraError: the extra 'transformers' is not installed.
    """
    torch, transformers = import_extra("torch", EXTRA), import_extra("transformers", EXTRA)
    import_extra("torchvision", EXTRA)  # which processors want
    place = _device(device, torch)
    if dtype == "auto" and place.type == "cpu":
        dtype = "float32"
    safe = {"local_files_only": Path(name).is_dir(), "trust_remote_code": False}
    try:
        processor = transformers.AutoProcessor.from_pretrained(name, **safe)
        if not hasattr(processor, "image_processor") or processor.chat_template is None:
            raise ValueError("it has no processor of images, or no template for conversations")
        model, loaded = transformers.AutoModelForImageTextToText.from_pretrained(
            name, dtype=dtype, use_safetensors=True, output_loading_info=True, **safe
        )
        if loaded["missing_keys"]:  # transformers would make them up
            raise ValueError(f"{len(loaded['missing_keys'])} of its weights are missing")
        return processor, model.to(place).eval()
    except torch.OutOfMemoryError as cause:
        raise AgentError(f"'{name}' does not fit into the memory of '{place}'; use a smaller model or dtype") from cause
    except Exception as cause:  # whatever a foreign loader, the hub's client or the network raises
        raise AgentError(
            f"'{name}' cannot be used as an image-text model: {first_line(cause)}. Give a folder that holds one, with "
            "processor, chat template and .safetensors, or its name on the Hugging Face hub where that can be reached"
        ) from cause


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Return the ids of the tokens that end a reply. Raises AgentError if there is none."""
    tokens = model.generation_config.eos_token_id
    tokens = tokenizer.eos_token_id if tokens is None else tokens
    if tokens is None:
        raise AgentError(f"'{model.name_or_path}' does not say which token ends a reply; take an instruction-tuned one")
    return [tokens] if isinstance(tokens, int) else list(tokens)


def special_texts(processor: Any) -> Sequence[str]:
    """Return the texts that the tokenizer reads as control tokens (ends of turns, pictures, ...), longest first."""
    tokenizer = processor.tokenizer
    marks = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return sorted({*marks, *tokenizer.all_special_tokens} - {""}, key=len, reverse=True)


def _device(name: str, torch: Any) -> Any:
    """Return the device of that name, tried out; auto: CUDA, else MPS, else CPU. Raises AgentError if there is none."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.ones(1, device=name).tolist()
    except (RuntimeError, AssertionError, NotImplementedError) as cause:
        raise AgentError(f"there is no device '{name}' here ({first_line(cause)}); use auto, or cpu") from cause
    return torch.device(name)
