"""A tiny open_clip model with random weights, for the tests that need a text tower."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def make(folder: Path) -> str:
    """What to open it by: both towers have a width of 32 to 64, vectors have 32 numbers."""
    torch, open_clip = pytest.importorskip("torch"), pytest.importorskip("open_clip")
    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }
    (folder / "consilience-test-tiny.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    torch.manual_seed(3)
    torch.save(open_clip.create_model("consilience-test-tiny").state_dict(), folder / "tiny.pt")
    return f"open_clip:consilience-test-tiny:{folder / 'tiny.pt'}"
