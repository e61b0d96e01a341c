"""A tiny Qwen2.5-VL: the real architecture, processor, chat template and file layout, with random weights, 5 MB.

Any engine that runs Qwen2.5-VL runs it. Its tokenizer is fitted on prompts of this project, so that they stay short.
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SPECIAL = (  # in Qwen2.5-VL's order
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

WORDS = (  # how Qwen2's tokenizer cuts text before it merges bytes
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)

CHAT_TEMPLATE = (  # the text rules of the published one, without tools
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content %}"
    "<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

PROMPTS = ("follow-up", "look", "reasoner", "repair", "second-look", "zero-shot")
"""Whose words the tokenizer knows. A further prompt does not change the model, nor what it has learned by heart."""

CONTEXT = 4096
"""Tokens that it can read."""

PIXELS = (56 * 56, 448 * 448)
"""The least and most pixels to which a picture is scaled: 4 to 256 tokens."""


def make(folder: Path, seed: int = 0) -> Path:
    """Write the checkpoint into a new folder and return it. The same for the same seed and PROMPTS."""
    import torch
    from transformers import GenerationConfig, Qwen2_5_VLForConditionalGeneration

    folder.mkdir(parents=True)
    tokenizer = _tokenizer()
    token = dict(zip(SPECIAL, tokenizer.convert_tokens_to_ids(list(SPECIAL)), strict=True))
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(_configuration(len(tokenizer), token)).float().eval()
    model.generation_config = GenerationConfig(
        bos_token_id=token["<|endoftext|>"],
        pad_token_id=token["<|endoftext|>"],
        eos_token_id=[token["<|im_end|>"], token["<|endoftext|>"]],
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for name, kind in (("preprocessor_config", "image"), ("video_preprocessor_config", "video")):
        (folder / f"{name}.json").write_text(json.dumps(_processor(kind), indent=1))
    return folder


def _corpus() -> Iterator[str]:
    prompts = importlib.resources.files("consilience.prompts")
    yield from ((prompts / f"{name}.yaml").read_text("utf-8") for name in PROMPTS)
    yield '{"rationale": "", "label": "", "confidence": 0.95}'
    yield "0 1 2 3 4 5 6 7 8 9 %"


def _tokenizer() -> Any:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    pieces = Tokenizer(models.BPE())
    pieces.normalizer = normalizers.NFC()
    cut = pre_tokenizers.Split(Regex(WORDS), behavior="isolated")
    pieces.pre_tokenizer = pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(False, use_regex=False)])
    every_byte = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1000, min_frequency=1, show_progress=False, initial_alphabet=every_byte)
    pieces.train_from_iterator(_corpus(), trainer)
    learned = json.loads(pieces.to_str())["model"]
    options: dict[str, Any] = {  # not as its hints say: a merge is two pieces, and there may be no such token
        "vocab": learned["vocab"],
        "merges": [tuple(merge) for merge in learned["merges"]],
        "unk_token": None,
    }
    tokenizer = Qwen2Tokenizer(
        **options,
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL),
        model_max_length=CONTEXT,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _configuration(vocabulary: int, token: dict[str, int]) -> Any:
    from transformers import Qwen2_5_VLConfig

    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": -(-vocabulary // 64) * 64,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,  # heads of 64: vLLM's attention on a CPU wants multiples of 32
            "num_key_value_heads": 1,
            "max_position_embeddings": CONTEXT,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 12, 12]},
            "bos_token_id": token["<|endoftext|>"],
            "eos_token_id": token["<|im_end|>"],
            "pad_token_id": token["<|endoftext|>"],
        },
        vision_config={
            "depth": 2,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_heads": 2,
            "window_size": 112,
            "out_hidden_size": 128,
            "fullatt_block_indexes": [1],
        },
        image_token_id=token["<|image_pad|>"],
        video_token_id=token["<|video_pad|>"],
        vision_start_token_id=token["<|vision_start|>"],
        vision_end_token_id=token["<|vision_end|>"],
        tie_word_embeddings=False,
    )


def _processor(kind: str) -> dict[str, Any]:
    least, most = PIXELS
    return {
        "min_pixels": least,
        "max_pixels": most,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        f"{kind}_processor_type": f"Qwen2VL{kind.capitalize()}Processor",
        "processor_class": "Qwen2_5_VLProcessor",
    }
