"""A node's numbers for Prometheus: its tasks, the others it sees, its certificate, its own cost."""

from __future__ import annotations

import time

import psutil

from swarm.enrolled_node import EnrolledNode
from swarm.metrics import Metrics
from swarm.peer import Peer
from swarm.task_record import TaskRecord

STATES = ("alive", "suspect", "dead")


class NodeMetrics:
    """`ended` counts tasks; `text` looks at everything else when it is asked for."""

    def __init__(self, version: str) -> None:
        metrics = self._metrics = Metrics()
        self._started = time.monotonic()
        self._process = psutil.Process()
        metrics.gauge("build_info", "The version that runs", ("version",)).set(1, version)
        self._tasks = metrics.counter("tasks", "Tasks that came in here and ended", ("type", "outcome"))
        self._took = metrics.histogram("task_seconds", "From submission to the end", ("type",))
        self._attempts = metrics.counter("task_attempts", "Nodes that were lost or failed under a task")
        self._nodes = metrics.gauge("nodes", "Nodes of the swarm as this one sees them, itself too", ("state",))
        self._running = metrics.gauge("running", "Tasks at work on this node's engines", ("kind", "model"))
        self._waiting = metrics.gauge("waiting", "Tasks in this node's queues", ("kind", "model"))
        self._certificate = metrics.gauge("certificate_seconds", "Until this node's certificate ends")
        self._enrolment = metrics.gauge("enrolment_open", "Whether machines can join here now")
        self._memory = metrics.gauge("memory_bytes", "Resident memory of the node's process")
        self._cpu = metrics.gauge("cpu_seconds", "Processor time of the node's process")
        self._uptime = metrics.gauge("uptime_seconds", "Since the node started")

    def ended(self, task: TaskRecord) -> None:
        """A task that came in here is over."""
        outcome = "refused" if task.refused is not None else task.state
        self._tasks.add(1, task.request.type, outcome)
        self._attempts.add(task.attempts)
        if task.ended_at is not None and outcome == "done":
            self._took.observe(task.ended_at - task.submitted_at, task.request.type)

    def text(self, peer: Peer, enrolled: EnrolledNode | None) -> bytes:
        """The page."""
        members = peer.members()
        for state in STATES:
            self._nodes.set(sum(member.state == state for member in members), state)
        for offered in peer.worker.capabilities():
            self._running.set(offered.running, offered.kind, offered.model)
            self._waiting.set(offered.waiting, offered.kind, offered.model)
        if enrolled is not None:
            certificate = enrolled.identity.certificate
            self._certificate.set(certificate.not_after - time.time() if certificate else 0)
            self._enrolment.set(enrolled.enrolment.port is not None)
        times = self._process.cpu_times()
        self._cpu.set(times.user + times.system)
        self._memory.set(self._process.memory_info().rss)
        self._uptime.set(time.monotonic() - self._started)
        return self._metrics.text()
