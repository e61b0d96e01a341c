"""An open_clip text tower with learned vectors in the place of words."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import numpy as np

WORDS = "a photo of a"
"""What the learned vectors start as; there are as many as it has tokens."""


class PromptTower:
    """Reads '<learned vectors> <label>.' for each of c labels, differentiably.

    The vectors are put where the words' embeddings would stand, behind the embedding layer: the tower's own code does
    the rest.
    """

    def __init__(self, model: Any, tokenize: Callable[[list[str]], Any], names: Sequence[str], lock: Lock) -> None:
        self._model, self._lock = model, lock
        self._tokens = tokenize([f"{WORDS} {name}." for name in names])
        self.length = _tokens_of(tokenize([WORDS])[0]) - _tokens_of(tokenize([""])[0])
        self._ready: Any = None

    def start(self) -> np.ndarray:
        """The embeddings of WORDS, float32 (m, width)."""
        with self._lock:
            embedding = embedding_of(self._prepared())
            found = embedding.weight[self._tokens[0, 1 : 1 + self.length].to(embedding.weight.device)]
            return np.asarray(found.detach().cpu().numpy())

    def __call__(self, context: Any) -> Any:
        """Unit vectors, a tensor (c, d), for learned vectors, a tensor (m, width), through which gradients flow."""
        with self._lock:
            model = self._prepared()
            embedding = embedding_of(model)

            import torch

            def spliced(_module: Any, _inputs: Any, words: Any) -> Any:
                shared = context.to(words).expand(len(words), -1, -1)
                return torch.cat([words[:, :1], shared, words[:, 1 + self.length :]], dim=1)

            hook = embedding.register_forward_hook(spliced)
            try:
                return model.encode_text(self._tokens.to(embedding.weight.device), normalize=True)
            finally:
                hook.remove()

    def _prepared(self) -> Any:
        """The model with frozen weights in full precision."""
        if self._ready is None:
            half = embedding_of(self._model).weight.element_size() < 4
            self._ready = copy.deepcopy(self._model).float() if half else self._model
            self._ready.requires_grad_(False)
        return self._ready


def _tokens_of(row: Any) -> int:
    """How many tokens a text has, its marks of beginning and end included; the rest of its row is padding."""
    return int((row != row[-1]).sum()) + 1 if row[-1] == row[-2] else len(row)


def embedding_of(model: Any) -> Any:
    """The layer that embeds the words of its text tower; None if it has none of that kind."""
    found = [layer for name, layer in model.named_modules() if name.split(".")[-1] == "token_embedding"]
    return found[0] if len(found) == 1 else None
