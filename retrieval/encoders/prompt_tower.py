"""An open_clip text tower to train through: with learned vectors in the place of words, or with other matrices."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np

from consilience.retrieval.encoders.singular_tower import SingularTower

PROMPT_PREFIX = "a photo of a"
"""What the learned vectors start as; there are as many as it has tokens."""

EMBEDDING = "token_embedding"


class PromptTower:
    """A text tower that reads '<learned vectors> <label>.' for c labels, differentiably (CoOp, Zhou et al. 2022).

    The vectors are put where the words' embeddings would stand, behind the embedding layer: the tower's own code does
    the rest.

    Args:
        model: of open_clip.
        tokenize: the model's tokenizer.
        names: the c labels.
        lock: held while the model computes.

    Attributes:
        length: number m of learned vectors.
    """

    def __init__(self, model: Any, tokenize: Callable[[list[str]], Any], names: Sequence[str], lock: Lock) -> None:
        self._model, self._lock = model, lock
        self._tokens = tokenize([f"{PROMPT_PREFIX} {name}." for name in names])
        self.length = _tokens_of(tokenize([PROMPT_PREFIX])[0]) - _tokens_of(tokenize([""])[0])
        self._ready: Any = None

    def start(self) -> np.ndarray:
        """Return the vectors to start from, the embeddings of PROMPT_PREFIX: float32 (m, width)."""
        with self._lock:
            embedding = embedding_of(self._prepared())
            vectors = embedding.weight[self._tokens[0, 1 : 1 + self.length].to(embedding.weight.device)]
            return np.asarray(vectors.detach().cpu().numpy())

    def __call__(self, context: Any) -> Any:
        """Return the unit vectors of the labels, a tensor (c, d), through which gradients flow.

        Args:
            context: the learned vectors, a tensor (m, width).
        """
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

    @cached_property
    def singular(self) -> SingularTower:
        """The same tower, reading 'a photo of a <label>.', with a factor for each of its singular values."""
        with self._lock:
            model = self._prepared()
            transformer = f"{name_of_embedding(model).removesuffix(EMBEDDING)}transformer."
            matrices = {
                name: weights.detach()
                for name, weights in model.named_parameters()
                if name.startswith(transformer) and weights.ndim == 2
            }
            return SingularTower(matrices, self._with_weights)

    def _with_weights(self, weights: Mapping[str, Any]) -> Any:
        """Return unit vectors, a tensor (c, d), made with these weights, by name, in the place of the tower's own."""
        import torch

        class Reader(torch.nn.Module):
            def __init__(self, model: Any) -> None:
                super().__init__()
                self.model = model

            def forward(self, tokens: Any) -> Any:
                return self.model.encode_text(tokens, normalize=True)

        with self._lock:
            model = self._prepared()
            tokens = self._tokens.to(embedding_of(model).weight.device)
            named = {f"model.{name}": tensor for name, tensor in weights.items()}
            return torch.func.functional_call(Reader(model), named, (tokens,))

    def _prepared(self) -> Any:
        """Return the model with frozen weights in full precision."""
        if self._ready is None:
            half = embedding_of(self._model).weight.element_size() < 4
            self._ready = copy.deepcopy(self._model).float() if half else self._model
            self._ready.requires_grad_(False)
        return self._ready


def _tokens_of(row: Any) -> int:
    """Return how many tokens a text has, with its marks of beginning and end; the rest of its row is padding."""
    return int((row != row[-1]).sum()) + 1 if row[-1] == row[-2] else len(row)


def embedding_of(model: Any) -> Any:
    """Return the layer of an open_clip model that embeds words; None if it has no text tower of that kind."""
    name = name_of_embedding(model)
    return model.get_submodule(name) if name else None


def name_of_embedding(model: Any) -> str:
    """Return the name of the layer that embeds words; empty if there is none, or more than one."""
    embeddings = [name for name, _ in model.named_modules() if name.split(".")[-1] == EMBEDDING]
    return embeddings[0] if len(embeddings) == 1 else ""
