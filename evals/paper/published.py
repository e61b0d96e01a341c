"""What the authors of the paper published of their experiments, to stand beside a replay of their recordings.

Accuracy on 160 test images of apple leaves, four labels (Roumeliotis et al. 2025, arXiv 2507.10571); their recordings
hold 80 of these images. Of experiment II, fine-tuned agents, no answers are recorded: it can be quoted, not replayed.
"""

from __future__ import annotations

from collections.abc import Mapping

from consilience.evals.paper.replay import RECORDED

PUBLISHED: Mapping[str, Mapping[str, float]] = {
    "I": {"Qwen": 0.450, "GPT": 0.569, RECORDED: 0.481},
    "II": {"best agent": 0.981, RECORDED: 0.975},
    "III": {
        "Qwen": 0.494,
        "GPT": 0.588,
        "neighbours": 0.963,
        "Qwen, second look": 0.731,
        "GPT, second look": 0.875,
        RECORDED: 0.856,
    },
}
"""By experiment and by who is scored (`replay.compare`)."""
