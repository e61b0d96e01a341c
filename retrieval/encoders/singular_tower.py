"""An open_clip text tower with a factor for each singular value of its matrices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

STACKED = "in_proj_weight"
"""How the projections to queries, keys and values are called, which stand one above the other in one matrix."""


class SingularTower:
    """Reads texts with each matrix W = U diag(s) V^T of its attention and MLPs as U diag(s (1 + change)) V^T.

    Attributes:
        size: how many singular values there are in all.
    """

    def __init__(self, matrices: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Any]) -> None:
        """Decompose the matrices, tensors (out, in), by the names under which `read` takes others in their place."""
        import torch

        self._read = read
        self._parts: dict[str, list[Any]] = {}
        for name, matrix in matrices.items():
            blocks = matrix.chunk(3) if name.endswith(STACKED) else (matrix,)
            self._parts[name] = [torch.linalg.svd(block, full_matrices=False) for block in blocks]
        self.size = sum(len(values) for parts in self._parts.values() for _, values, _ in parts)

    def __call__(self, changes: Any) -> Any:
        """Unit vectors, a tensor (c, d), for a tensor (size,) of changes, 0: none, through which gradients flow."""
        import torch

        matrices, start = {}, 0
        for name, parts in self._parts.items():
            blocks = []
            for left, values, right in parts:
                factors = 1 + changes[start : start + len(values)].to(values)
                blocks.append((left * (values * factors)) @ right)
                start += len(values)
            matrices[name] = torch.cat(blocks)
        return self._read(matrices)
