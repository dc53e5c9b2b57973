"""The node as a whole: receiver, worker, a sender a destination, and the loop that ties them together."""

from __future__ import annotations

import sqlite3
import time

from oarseg import __version__
from oarseg.errors import ConfigError, OutputError
from oarseg.node.config import GIB, Config
from oarseg.node.dead_letter import restore
from oarseg.node.deliver import Sender, give_up_strangers
from oarseg.node.log import say, short
from oarseg.node.loop import Loop
from oarseg.node.metrics import Counters, start_http
from oarseg.node.receive import Receiver
from oarseg.node.retention import keep_to
from oarseg.node.spool import Spool
from oarseg.node.worker import Segmenter, Worker, make_segmenter, recover

TICK_SECONDS, RETENTION_SECONDS = 0.25, 2.0


class Node:
    """A node that runs from ``start`` to ``stop``.

    ``segmenter``: what contours; the bundle of the settings by default, loaded here. Raises an OarsegError where the
    spool, a weight or a setting cannot be used.
    """

    def __init__(self, config: Config, segmenter: Segmenter | None = None) -> None:
        self.config, self.counters = config, Counters()
        self.spool = Spool(config.node.spool, config.limits)
        try:
            self.worker = Worker(config, self.spool, self.counters, segmenter or make_segmenter(config))
            self.receiver = Receiver(config, self.spool, self.counters)
            self.senders = [Sender(config, self.spool, self.counters, place) for place in config.destinations]
            recover(self.spool)
            give_up_strangers(config, self.spool)
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
        """Listen and work. Raises ConfigError where a port cannot be had."""
        node, http = self.config.node, self.config.http
        try:
            self.receiver.start()
        except OSError as error:
            raise ConfigError(f"cannot listen on {node.address} port {node.port} ({error.strerror})") from error
        try:
            if http.port:
                self._http = start_http(http.address, http.port, self.counters, self._gauges, self._wrong)
        except OSError as error:
            self.receiver.stop()
            raise ConfigError(f"cannot listen on {http.address} port {http.port} ({error.strerror})") from error
        for loop in self._loops:
            loop.start()
        say("started", version=__version__, ae_title=node.ae_title, address=node.address, port=node.port)

    def stop(self) -> None:
        """End: no more is received, what is under way is given ``stop_seconds``. What is left goes on at a start."""
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
        self._finish_series()
        if self.worker.contoured.is_set():
            self.worker.contoured.clear()
            for sender in self.senders:
                sender.wake.set()
        if time.monotonic() - self._kept > RETENTION_SECONDS:
            keep_to(self.config.retention, self.spool)
            self._kept = time.monotonic()
        return False

    def _finish_series(self) -> None:
        for series, meaning in self.receiver.finish():
            say("complete", series=short(series), instances=self.spool.state.count(series), meaning=meaning)
            self.worker.wake.set()
            for sender in self.senders:
                sender.wake.set()

    def _wrong(self) -> list[str]:
        threads = [thread for thread in (self.receiver.thread, *self._loops) if thread]
        wrong = [f"{thread.name} ended" for thread in threads if not thread.is_alive()]
        wrong += [f"{loop.name}: {loop.wrong}" for loop in self._loops if loop.wrong]
        if self.spool.free() < self.config.limits.free_gib * GIB:
            wrong.append("too little space left on the disk; instances are refused")
        return wrong

    def _gauges(self) -> list[tuple[str, str, dict[str, str], float]]:
        state = self.spool.state
        rows = [("series", "Series by state.", {"state": name}, float(n)) for name, n in state.totals().items()]
        waiting = state.queue()
        rows += [
            ("deliveries_pending", "Results on their way.", {"destination": place.name},
             float(waiting.get(place.name, 0)))
            for place in self.config.destinations
        ]  # fmt: skip
        oldest = state.oldest_unfinished()
        return [
            *rows,
            ("oldest_unfinished_seconds", "Age of the oldest unfinished job's state.", {},
             time.time() - oldest if oldest else 0.0),
            ("associations_open", "Associations open now.", {}, float(self.receiver.open_associations())),
            ("spool_bytes", "Bytes of images in the spool.", {}, float(self.spool.bytes)),
            ("spool_free_bytes", "Bytes free on the spool's disk.", {}, float(self.spool.free())),
            ("up", "1: every part of the node runs.", {}, float(not self._wrong())),
        ]  # fmt: skip
