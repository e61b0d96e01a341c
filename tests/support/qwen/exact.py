"""What a constrained choice comes to, by transformers: every way through the tokens, counted out."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from consilience.agents.vlm.conversation import Message, MessagePicture


class Exact:
    """The tiny model in this process. At each step only tokens count with which a word goes on, or ends."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

        self.processor = AutoProcessor.from_pretrained(folder)
        self.model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = self.processor.tokenizer
        self.end = tokenizer.convert_tokens_to_ids("<|im_end|>")
        self.pieces = {n: tokenizer.decode([n]) for n in range(len(tokenizer)) if n not in tokenizer.all_special_ids}

    def shares(self, messages: list[Message], words: list[str]) -> dict[str, float]:
        """Return the probability of each word; ways of under 1e-5 are left out."""
        pictures = [part for message in messages for part in message.parts if isinstance(part, MessagePicture)]
        text = self.processor.apply_chat_template([_turn(message) for message in messages], add_generation_prompt=True)
        asked = self.processor(text=[text], images=[_sent(picture) for picture in pictures], return_tensors="pt")
        shares = dict.fromkeys(words, 0.0)
        self._walk(asked, (), 1.0, shares)
        return shares

    def _walk(self, asked: Any, path: tuple[int, ...], reached: float, shares: dict[str, float]) -> None:
        text = "".join(self.pieces[token] for token in path)
        allowed = [n for n, piece in self.pieces.items() if any(word.startswith(text + piece) for word in shares)]
        allowed += [self.end] if text in shares else []
        scores = self._scores(asked, path)[allowed]
        probabilities = np.exp(scores - scores.max())
        for token, probability in zip(allowed, probabilities / probabilities.sum(), strict=True):
            if token == self.end:
                shares[text] += reached * float(probability)
            elif reached * probability > 1e-5:
                self._walk(asked, (*path, token), reached * float(probability), shares)

    def _scores(self, asked: Any, path: tuple[int, ...]) -> np.ndarray:
        """The model's scores (tokens,) of what follows the question and these tokens."""
        import torch

        more = torch.tensor([path], dtype=torch.long)
        longer = {
            "input_ids": more,
            "attention_mask": torch.ones_like(more),
            "mm_token_type_ids": torch.zeros_like(more),
        }
        inputs = {
            name: torch.cat([value, longer[name]], dim=1) if name in longer else value for name, value in asked.items()
        }
        with torch.inference_mode():
            return np.asarray(self.model(**inputs).logits[0, -1])


def _turn(message: Message) -> dict[str, Any]:
    parts = [{"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in message.parts]
    return {"role": message.role, "content": parts}


def _sent(picture: MessagePicture) -> Any:
    """The picture as the server gets it."""
    return PIL.Image.open(io.BytesIO(picture.jpeg()))
