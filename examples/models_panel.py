"""A panel with a vision-language model beside heads on an encoder, behind any OpenAI-compatible endpoint.

    export MODEL=Qwen/Qwen2.5-VL-7B-Instruct MODEL_URL=http://localhost:8000/v1      # vLLM on this machine, or
    export MODEL=gpt-4.1-mini MODEL_URL=https://api.openai.com/v1 MODEL_KEY=sk-...   # a provider
    python examples/models_panel.py photos/ panel/ new.jpg

The model is asked about every labelled image once: that is how its trust is earned, and what `fit` costs. Answers are
kept, so that the same run again asks and pays for nothing.
"""

from __future__ import annotations

import os
import sys

import consilience


def main(photos: str, folder: str, *images: str) -> None:
    model = {
        "kind": "endpoint",
        "name": "model",
        "model": os.environ["MODEL"],
        "base_url": os.environ["MODEL_URL"],
        # The name of the variable, never the key: neither settings nor panel ever hold one.
        "key_variable": "MODEL_KEY" if "MODEL_KEY" in os.environ else None,
        # Sure of itself is not the same as right: what it says of its confidence is calibrated like anything else.
        "confidence": "verbalised",
        # Of your provider, in US dollars: they make `cost_usd` and the two bounds below true.
        "price_per_million_input_tokens": 0.4,
        "price_per_million_output_tokens": 1.6,
    }
    settings = consilience.load_settings(
        agents="probe,neighbours",
        models=[model],
        policy__max_run_cost_usd=5.0,  # a run that reaches it stops; run again, it goes on where it was
        policy__max_cost_usd=0.05,  # of one image
    )
    report = consilience.fit(photos, folder, settings=settings)
    print(f"The fit cost {report.cost_usd:.4f} $.")
    for member in report.panel.members:
        print(f"{member.agent}, {member.stage} look: accuracy {member.trust.accuracy:.3f}, n = {member.trust.n}")

    with consilience.Diagnoser.open(folder, settings=settings) as diagnoser:
        for result in diagnoser.diagnose_many(images):
            print(result.to_json() if isinstance(result, consilience.FailedImage) else result.to_markdown())


if __name__ == "__main__":
    main(*sys.argv[1:])
