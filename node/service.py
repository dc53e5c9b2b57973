"""The node as a whole: receiver, worker, a sender a destination, and the loop that ties them together."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from oarseg import __version__
from oarseg.errors import ConfigError, OutputError
from oarseg.node.config import GIB, Config
from oarseg.node.dead_letter import restore
from oarseg.node.deliver import Sender, give_up
from oarseg.node.log import say, short
from oarseg.node.loop import Loop
from oarseg.node.metrics import PREFIX, Counters, start_http
from oarseg.node.receive import Receiver
from oarseg.node.retention import keep_to
from oarseg.node.spool import Spool
from oarseg.node.worker import ContourLoop, Segmenter, make_segmenter, recover

TICK_SECONDS, RETENTION_SECONDS = 0.25, 2.0


class Node(Collector):
    """A node that runs from ``start`` to ``stop``.

    ``segmenter``: what contours; by default the bundle of the settings, which is loaded here. As a collector it gives
    Prometheus the node's gauges. Raises an OarsegError where the spool, a weight or a setting cannot be used.
    """

    def __init__(self, config: Config, segmenter: Segmenter | None = None) -> None:
        self.config, self.counters = config, Counters()
        self.spool = Spool(config.node.spool, config.limits)
        try:
            self.senders = [Sender(config, self.spool, self.counters, place) for place in config.destinations]
            work = segmenter or make_segmenter(config)
            self.worker = ContourLoop(config, self.spool, self.counters, work, self.senders)
            self.receiver = Receiver(config, self.spool, self.counters)
            recover(self.spool)
            for job, name in self.spool.state.strangers([place.name for place in config.destinations]):
                give_up(self.spool, job, name, "the destination is no longer in the settings")
            restore(self.spool)
        except sqlite3.Error as error:
            self.spool.close()
            raise OutputError(f"spool {config.node.spool} cannot be written ({error}); is the disk full?") from error
        except BaseException:
            self.spool.close()
            raise
        self._kept = 0.0
        self._loops = (Loop("rounds", self._round, TICK_SECONDS), *self.senders, self.worker)
        self._http = None

    def start(self) -> None:
        """Listen and work. Raises ConfigError where a port cannot be used."""
        node, http = self.config.node, self.config.http
        try:
            self.receiver.start()
        except OSError as error:
            raise ConfigError(f"cannot listen on {node.address} port {node.port} ({error.strerror})") from error
        try:
            if http.port:
                self._http = start_http(http.address, http.port, (self.counters, self), self._wrong)
        except OSError as error:
            self.receiver.stop()
            raise ConfigError(f"cannot listen on {http.address} port {http.port} ({error.strerror})") from error
        for loop in self._loops:
            loop.start()
        say("started", version=__version__, ae_title=node.ae_title, address=node.address, port=node.port)

    def stop(self) -> None:
        """Stop receiving, and give the work under way ``stop_seconds``. The next start goes on with the rest."""
        say("stopping")
        until = time.monotonic() + self.config.node.stop_seconds
        for loop in self._loops:
            loop.stop()
        self.receiver.stop()
        for loop in self._loops:
            if loop.ident is not None:
                loop.join(max(0.0, until - time.monotonic()))
        if self._http:
            self._http.shutdown()
            self._http.server_close()
        if not any(loop.is_alive() for loop in self._loops):
            self.spool.close()
        say("stopped")

    def _round(self) -> bool:
        for series, meaning in self.receiver.finish():
            say("complete", series=short(series), instances=self.spool.state.count(series), meaning=meaning)
            for loop in (self.worker, *self.senders):
                loop.wake.set()
        if time.monotonic() - self._kept > RETENTION_SECONDS:
            keep_to(self.config.retention, self.spool)
            self._kept = time.monotonic()
        return False

    def _wrong(self) -> list[str]:
        threads = [thread for thread in (self.receiver.thread, *self._loops) if thread]
        wrong = [f"{thread.name} ended" for thread in threads if not thread.is_alive()]
        wrong += [f"{loop.name}: {loop.wrong}" for loop in self._loops if loop.wrong]
        if self.spool.free() < self.config.limits.free_gib * GIB:
            wrong.append("too little space left on the disk; instances are refused")
        return wrong

    def collect(self) -> Iterator[Metric]:
        """Yield the node's gauges as Prometheus reads them."""
        state, wrong = self.spool.state, self._wrong()
        yield _gauge("series", "Series by state.", state.totals(), "state")
        waiting = state.queue()
        pending = {place.name: waiting.get(place.name, 0) for place in self.config.destinations}
        yield _gauge("deliveries_pending", "Results on their way.", pending, "destination")
        oldest = state.oldest_unfinished()
        age = time.time() - oldest if oldest else 0
        yield _gauge("oldest_unfinished_seconds", "Age of the oldest unfinished job's state.", age)
        yield _gauge("associations_open", "Associations open now.", self.receiver.open_associations())
        yield _gauge("spool_bytes", "Bytes of images in the spool.", self.spool.bytes)
        yield _gauge("spool_free_bytes", "Bytes free on the spool's disk.", self.spool.free())
        yield _gauge("up", "1: every part of the node runs.", not wrong)


def _gauge(name: str, text: str, value: Any, label: str = "") -> Metric:
    """Return a gauge; with a ``label``, ``value`` maps its values to numbers."""
    if not label:
        return GaugeMetricFamily(PREFIX + name, text, value=float(value))
    gauge = GaugeMetricFamily(PREFIX + name, text, labels=[label])
    for key, number in value.items():
        gauge.add_metric([key], number)
    return gauge
