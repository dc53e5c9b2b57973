"""Sending: one thread a destination, so that one that is down holds up no other. C-STORE, tried again until it works.

An object's UIDs are on disk before its first try. A crash between sending and noting it sends the same object again,
which a destination knows by its SOPInstanceUID.
"""

from __future__ import annotations

import io
import logging
import time

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association

from oarseg.node import internals
from oarseg.node.config import Config, Destination
from oarseg.node.database import DeliveryState, ResultObject, Sending
from oarseg.node.dead_letter import bury
from oarseg.node.log import say, short
from oarseg.node.loop import Loop
from oarseg.node.metrics import Counters
from oarseg.node.server import client_context
from oarseg.node.spool import Spool

CONNECT_SECONDS, ANSWER_SECONDS = 10, 60
# The warnings of C-STORE: the object was stored, with something altered.
STORED = (0x0000, 0xB000, 0xB006, 0xB007)


class NotSent(Exception):
    """A try that failed; the text is the reason."""


class Sender(Loop):
    """Sends to one destination until it is stopped."""

    def __init__(self, config: Config, spool: Spool, counters: Counters, place: Destination) -> None:
        super().__init__(f"sender {place.name}", self._next, 0.5)
        self.config, self.spool, self.counters, self.place = config, spool, counters, place

    def _next(self) -> bool:
        sending = self.spool.state.due(self.place.name, time.time(), self.config.delivery.longest_retry_seconds)
        if sending is None:
            return False
        names = {"series": short(sending.series), "job": sending.job, "destination": self.place.name}
        results = self.spool.state.results(sending.job)
        try:
            self._send(sending, results)
        except NotSent as error:
            self._again(sending, str(error), names)
        except Exception as error:  # noqa: BLE001 - whatever a peer does, other results must go on
            self._again(sending, f"unexpected {type(error).__name__}", names)
        else:
            self.spool.state.end_delivery(sending.job, self.place.name, DeliveryState.DONE)
            bury(self.spool, sending.job)
            say("sent", **names, objects=len(results), attempt=sending.attempts + 1)
        return True

    def _again(self, sending: Sending, reason: str, names: dict) -> None:
        """Note a failed try. Each wait is twice the one before."""
        self.counters.add("send_failures")
        rules, now = self.config.delivery, time.time()
        if now - sending.since >= rules.give_up_hours * 3600:
            reason = f"{reason}; given up after {sending.attempts + 1} tries in {rules.give_up_hours:g} hours"
            self.counters.add("deliveries_given_up")
            give_up(self.spool, sending.job, self.place.name, reason)
            return
        wait = min(rules.longest_retry_seconds, rules.first_retry_seconds * 2.0 ** min(sending.attempts, 60))
        self.spool.state.not_sent(sending.job, self.place.name, reason, now + wait)
        say("not sent", logging.WARNING, **names, reason=reason, attempt=sending.attempts + 1, wait=wait)

    def _send(self, sending: Sending, results: list[ResultObject]) -> None:
        assoc = associate(self.config, self.place, results)
        try:
            for result in results:
                self._store(assoc, sending, result)
                self.counters.add("objects_sent")
        except BaseException:
            assoc.abort()
            raise
        assoc.release()

    def _store(self, assoc: Association, sending: Sending, result: ResultObject) -> None:
        dataset = pydicom.dcmread(self.spool.results(sending.job) / result.file)
        syntaxes = {c.transfer_syntax[0] for c in assoc.accepted_contexts if c.abstract_syntax == result.sop_class}
        if not syntaxes:
            raise NotSent(f"it takes no {result.file}")
        if dataset.file_meta.TransferSyntaxUID not in syntaxes:
            dataset = _encoded(dataset, min(syntaxes))
        status = assoc.send_c_store(dataset).get("Status")
        if status is None:
            raise NotSent("it did not answer, or ended the association")
        if status not in STORED:
            raise NotSent(f"it refused {result.file} with status {status:04X}")


def _encoded(dataset: Dataset, syntax: UID) -> Dataset:
    """Return the same object in a transfer syntax of the destination."""
    dataset.file_meta.TransferSyntaxUID = syntax
    encoded = io.BytesIO()
    pydicom.dcmwrite(encoded, dataset, implicit_vr=syntax.is_implicit_VR, little_endian=True, enforce_file_format=True)
    encoded.seek(0)
    return pydicom.dcmread(encoded)


def associate(config: Config, place: Destination, results: list[ResultObject]) -> Association:
    """Return an association that offers the results' classes. Raises NotSent."""
    ae = AE(config.node.ae_title)
    ae.connection_timeout, ae.acse_timeout = CONNECT_SECONDS, ANSWER_SECONDS
    ae.dimse_timeout = ae.network_timeout = ANSWER_SECONDS
    for kind in sorted({result.sop_class for result in results}):
        for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
            ae.add_requested_context(kind, syntax)
    tls = (client_context(config.tls), place.host) if place.tls else None
    bounded = [(evt.EVT_CONN_OPEN, lambda event: internals.bound_socket(event.assoc, ANSWER_SECONDS))]
    try:
        assoc = ae.associate(place.host, place.port, ae_title=place.ae_title, tls_args=tls, evt_handlers=bounded)
    except (OSError, RuntimeError, ValueError) as error:
        raise NotSent(f"no connection ({type(error).__name__})") from error
    if assoc.is_established:
        return assoc
    raise NotSent("it rejected the association" if assoc.is_rejected else "no connection")


def give_up(spool: Spool, job: int, destination: str, reason: str) -> None:
    """Note that a job's results will never be sent to a destination, and write the dead letter."""
    spool.state.end_delivery(job, destination, DeliveryState.DEAD, reason)
    bury(spool, job)
