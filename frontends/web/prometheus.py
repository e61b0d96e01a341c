"""Server metrics: what the server counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from consilience.core.diagnosis import Diagnosis

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class ServerMetrics:
    """What one server counts; each name begins with `consilience_`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "consilience_requests", "Answered requests.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "consilience_request_seconds",
            "Seconds until the answer began.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.images = Counter("consilience_images", "Diagnosed images.", ["verdict"], registry=self.registry)
        self.failed = Counter("consilience_failed_images", "Images without a diagnosis.", registry=self.registry)
        self.batch = Histogram(
            "consilience_run_images",
            "Images diagnosed together in a run.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=self.registry,
        )
        self.agent_failures = Counter(
            "consilience_agent_failures", "Predictions that failed.", ["agent"], registry=self.registry
        )
        self.cost = Counter("consilience_cost_usd", "Cost of answers, in US dollars.", registry=self.registry)
        self.feedback = Counter("consilience_feedback", "Votes of people.", ["vote"], registry=self.registry)
        self.waiting = Gauge("consilience_waiting_images", "Images under way.", registry=self.registry)
        self.outdated = Gauge(
            "consilience_panel_outdated", "1 if the panel on disk cannot be opened.", registry=self.registry
        )

    def diagnosed(self, diagnosis: Diagnosis) -> None:
        """Count a diagnosis, its cost, and the agents that failed."""
        self.images.labels(diagnosis.verdict).inc()
        self.cost.inc(diagnosis.cost_usd)
        for prediction in diagnosis.predictions:
            if prediction.error is not None:
                self.agent_failures.labels(prediction.agent).inc()

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)
