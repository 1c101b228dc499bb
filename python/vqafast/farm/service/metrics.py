"""What Prometheus is told."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

import vqafast

if TYPE_CHECKING:
    from vqafast.farm.service.desk import Desk
    from vqafast.models.spec import ModelSpec
    from vqafast.scoring.assessment import Assessment

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Metrics:
    """Numbers of one service, in a registry of its own: two may live in one process."""

    def __init__(self, desk: Desk, spec: ModelSpec) -> None:
        made = self._registry = CollectorRegistry()
        self._requests = Counter(
            "vqafast_requests",
            "Requests answered, by route and HTTP status",
            ("route", "status"),
            registry=made,
        )
        self._failures = Counter(
            "vqafast_failures", "Requests without a score, by code", ("code",), registry=made
        )
        self._latency = Histogram(
            "vqafast_request_seconds", "From a request's head to its answer", ("route",), buckets=_SECONDS,
            registry=made,
        )  # fmt: skip
        self._stages = Counter(
            "vqafast_stage_seconds", "Busy seconds of scoring; stages overlap", ("stage",), registry=made
        )
        self._frames = Counter("vqafast_frames", "Frames by fate", ("fate",), registry=made)
        self._uploaded = Counter("vqafast_uploaded_bytes", "Bytes of bodies", registry=made)
        waiting = Gauge("vqafast_waiting", "Requests for which no worker is free", registry=made)
        waiting.set_function(lambda: desk.waiting)
        under_way = Gauge("vqafast_under_way", "Requests that a worker has", registry=made)
        under_way.set_function(lambda: desk.under_way)
        started = Gauge("vqafast_workers_started", "Processes started, replacements included", registry=made)
        started.set_function(lambda: 0 if desk.pool is None else desk.pool.started)
        resident = Gauge(
            "vqafast_workers_resident_bytes", "Memory of all processes that score", registry=made
        )
        resident.set_function(lambda: 0 if desk.pool is None else desk.pool.held)
        info = Gauge(
            "vqafast_info", "Always 1; what scores", ("version", "model", "model_version", "weights_sha256"),
            registry=made,
        )  # fmt: skip
        info.labels(vqafast.__version__, spec.name, spec.version, spec.weights_sha256).set(1)

    def answered(self, route: str, status: int, code: str | None, seconds: float) -> None:
        """Count an answer; `code` is that of an error."""
        self._requests.labels(route, str(status)).inc()
        self._latency.labels(route).observe(seconds)
        if code is not None:
            self._failures.labels(code).inc()

    def scored(self, result: Assessment) -> None:
        """Add the times and frames of a score."""
        for stage, seconds in asdict(result.timings).items():
            if stage != "total":
                self._stages.labels(stage).inc(seconds)
        for fate, count in asdict(result.counts).items():
            self._frames.labels(fate).inc(count)

    def uploaded(self, size: int) -> None:
        """Count bytes of a body."""
        self._uploaded.inc(size)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)
