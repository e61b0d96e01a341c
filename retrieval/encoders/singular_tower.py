"""An open_clip text tower with a factor for each singular value of its matrices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

STACKED = "in_proj_weight"
"""How the projections to queries, keys and values are called, which stand one above the other in one matrix."""


class SingularTower:
    """A text tower in which each matrix W = U diag(s) V^T of attention and MLPs is U diag(s (1 + change)) V^T.

    Attributes:
        size: number of singular values of all matrices together.
    """

    def __init__(self, matrices: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Any]) -> None:
        """Decompose the matrices.

        Args:
            matrices: tensors (out, in) by name.
            read: returns unit vectors, a tensor (c, d), made with other matrices in the place of these, by name.
        """
        import torch

        self._read = read
        self._parts: dict[str, list[Any]] = {}
        for name, matrix in matrices.items():
            blocks = matrix.chunk(3) if name.endswith(STACKED) else (matrix,)
            self._parts[name] = [torch.linalg.svd(block, full_matrices=False) for block in blocks]
        self.size = sum(len(values) for parts in self._parts.values() for _, values, _ in parts)

    def __call__(self, changes: Any) -> Any:
        """Return unit vectors, a tensor (c, d), through which gradients flow.

        Args:
            changes: the relative change of each singular value, a tensor (size,); 0: none.
        """
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
