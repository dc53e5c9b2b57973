"""C-ECHO and C-STORE of CT images: into the spool as they come, and acknowledged once they are on the disk."""

from __future__ import annotations

import io
import logging
import threading
import time
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, Verification

from oarseg.dicom.read.decoders import has_decoder
from oarseg.identity import uid_hash
from oarseg.node import internals
from oarseg.node.config import MIB, Config
from oarseg.node.log import say, short
from oarseg.node.metrics import Counters
from oarseg.node.server import NodeServer, server_context
from oarseg.node.spool import Refused, Spool
from oarseg.process import without_warnings

PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
COMPRESSED = (
    JPEGLosslessSV1, JPEGLossless, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless, HTJ2KLosslessRPCL, RLELossless,
    JPEG2000, JPEGLSNearLossless,
)  # fmt: skip
SUCCESS, MISMATCH, NOT_UNDERSTOOD = 0x0000, 0xA900, 0xC000
# Told to peers. What claims to be much longer is no PDU of a peer that listens.
LONGEST_PDU = 128 << 10
PDU_ABORT_FACTOR = 8
# A message is received whole before it can be refused; one that goes on for this many limits ends its association.
ABORT_FACTOR = 2
# Messages received that are not yet answered: by the standard, one at a time is sent.
UNANSWERED = 2
GOODBYE_SECONDS = 1.0
_TAGS = ["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"]
LONGEST_UID = 64


def accepted_syntaxes() -> list[UID]:
    """Return the transfer syntaxes whose pixels can be decoded here; others are not negotiated."""
    return [*PLAIN, *(syntax for syntax in COMPRESSED if has_decoder(syntax))]


class Receiver:
    """The SCP. ``start`` listens; ``done`` returns the series that have come whole."""

    def __init__(self, config: Config, spool: Spool, counters: Counters) -> None:
        self.config, self.spool, self.counters = config, spool, counters
        self._lock = threading.RLock()
        # Of each association that is open, the series it brought. Of each series, when one of it was open last, by a
        # clock that nobody sets.
        self._open: dict[Any, set[str]] = {}
        self._last: dict[str, float] = {}
        self._server: NodeServer | None = None
        self.thread: threading.Thread | None = None
        self._ae = self._entity()

    def _entity(self) -> AE:
        limits = self.config.limits
        ae = AE(self.config.node.ae_title)
        ae.maximum_associations = limits.associations
        ae.network_timeout = ae.acse_timeout = ae.dimse_timeout = limits.idle_seconds
        ae.maximum_pdu_size = LONGEST_PDU
        ae.require_called_aet = True
        ae.require_calling_aet = [] if "*" in self.config.allow.ae_titles else list(self.config.allow.ae_titles)
        ae.add_supported_context(Verification)
        ae.add_supported_context(CTImageStorage, accepted_syntaxes())
        return ae

    def start(self) -> None:
        """Listen, in threads of its own. Raises OSError where the port cannot be had, ConfigError (TLS)."""
        node, limits = self.config.node, self.config.limits
        handlers = [
            (evt.EVT_C_ECHO, self._on_echo), (evt.EVT_C_STORE, self._on_store), (evt.EVT_PDU_RECV, self._on_pdu),
            (evt.EVT_REJECTED, self._on_rejected),
            (evt.EVT_ACCEPTED, lambda event: self.counters.add("associations_accepted")),
            (evt.EVT_CONN_OPEN, self._on_open), (evt.EVT_CONN_CLOSE, self._on_end),
        ]  # fmt: skip
        self._server = self._ae.make_server(
            (node.address, node.port), ssl_context=server_context(self.config.tls), evt_handlers=handlers,
            server_class=NodeServer, peers=self.config.allow.peers, connections=limits.associations,
            idle_seconds=limits.idle_seconds, report=self._on_turned_away,
        )  # fmt: skip
        self.thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="listener", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Listen no longer and end every association. Acknowledged instances are kept."""
        if self._server:
            server, self._server = self._server, None
            server.shutdown()
            # What is not yet an association ends with its thread. A peer that is silent within a message is not waited
            # for.
            for assoc in server.active_associations:
                if assoc.is_established:
                    assoc.abort(block=False)
            until = time.monotonic() + GOODBYE_SECONDS
            while server.active_associations and time.monotonic() < until:
                time.sleep(0.01)

    def open_associations(self) -> int:
        """Return how many associations are open now."""
        server = self._server
        return len(server.active_associations) if server else 0

    def done(self) -> list[str]:
        """Return the series whose associations have ended and to which nothing has come for the quiet time.

        The quiet time of series that an earlier run received begins anew: the sender may be trying again.
        """
        now, quiet = time.monotonic(), self.config.node.quiet_seconds
        with self._lock:
            self._open = {assoc: held for assoc, held in self._open.items() if assoc.is_alive()}
            busy = set().union(*self._open.values())
            pending = self.spool.state.pending()
            self._last = {key: now if key in busy else self._last.get(key, now) for key in pending}
            return [key for key, last in self._last.items() if key not in busy and now - last >= quiet]

    def finish(self) -> list[tuple[str, str]]:
        """Complete the series that are done. Returns each, and what that means (see ``NodeState.complete``)."""
        # Held, so that no instance is registered between the two.
        places = [place.name for place in self.config.destinations]
        with self._lock:
            return [(series, self.spool.state.complete(series, places)) for series in self.done()]

    def _on_echo(self, event: evt.Event) -> int:
        self.counters.add("echoes")
        return SUCCESS

    def _on_store(self, event: evt.Event) -> int | Dataset:
        try:
            content = event.encoded_dataset()
            series, instance = _identity(event, content)
            with self._lock:
                self._open.setdefault(event.assoc, set()).add(uid_hash(series))
            new = self.spool.store(series, instance, content)
        except Refused as error:
            return self._refuse(error.status, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the sender must know that it was not kept
            return self._refuse(NOT_UNDERSTOOD, f"unexpected {type(error).__name__}")
        self.counters.add("instances_stored" if new else "instances_known")
        self.counters.add("bytes_received", len(content))
        return SUCCESS

    def _refuse(self, status: int, reason: str) -> Dataset:
        self.counters.add("instances_refused")
        say("instance refused", logging.WARNING, reason=reason, status=f"{status:04X}")
        answer = Dataset()
        answer.Status = status
        answer.ErrorComment = reason[:64]
        return answer

    def _on_pdu(self, event: evt.Event) -> None:
        """Abort a message without end, and messages that wait for no answer: both would fill the memory."""
        held, reason = internals.received(event.assoc), ""
        if held.command_bytes > LONGEST_PDU:
            reason = "a command far larger than any"
        elif held.data_bytes > ABORT_FACTOR * self.config.limits.instance_mib * MIB:
            reason = "a message far larger than instance_mib"
        elif held.waiting > UNANSWERED:
            reason = "messages sent without waiting for answers"
        if reason:
            self.counters.add("associations_aborted")
            say("association aborted", logging.WARNING, reason=reason, address=event.assoc.requestor.address)
            internals.drop_received(event.assoc)
            event.assoc.abort()

    def _on_rejected(self, event: evt.Event) -> None:
        self.counters.add("associations_rejected")
        peer, called = event.assoc.requestor, event.assoc.requestor.primitive.called_ae_title
        reason = {
            internals.CALLING_TITLE: "the calling AE title is not in [allow] ae_titles",
            internals.CALLED_TITLE: f"the called AE title is not {self.config.node.ae_title}",
            internals.TOO_MANY: f"more than {self.config.limits.associations} associations at once",
        }.get(internals.rejection(event.assoc), "the request was not accepted")
        say(
            "association rejected", logging.WARNING,
            reason=reason, calling=peer.ae_title, called=called, address=peer.address,
        )  # fmt: skip

    def _on_turned_away(self, reason: str, address: str) -> None:
        self.counters.add("connections_closed")
        say("connection closed", logging.WARNING, reason=reason, address=address)

    def _on_open(self, event: evt.Event) -> None:
        internals.bound_reads(event.assoc, self.config.limits.idle_seconds, PDU_ABORT_FACTOR * LONGEST_PDU)

    def _on_end(self, event: evt.Event) -> None:
        internals.end_without_request(event.assoc)
        with self._lock:
            for series in self._open.pop(event.assoc, ()):
                self._last[series] = time.monotonic()
                say("association ended", series=short(series))


def _identity(event: evt.Event, content: bytes) -> tuple[str, str]:
    """Return the UIDs of series and instance. Raises Refused: not the announced object, or it cannot be read."""
    try:
        with without_warnings():
            found = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True, specific_tags=_TAGS)
            series, instance, kind = (str(found.get(tag) or "") for tag in reversed(_TAGS))
    except Exception as error:  # noqa: BLE001 - a damaged object makes pydicom raise nearly anything
        raise Refused("the object cannot be read", NOT_UNDERSTOOD) from error
    if not 0 < len(series) <= LONGEST_UID or not 0 < len(instance) <= LONGEST_UID:
        raise Refused("no SeriesInstanceUID or SOPInstanceUID", NOT_UNDERSTOOD)
    if kind != CTImageStorage or instance != event.request.AffectedSOPInstanceUID:
        raise Refused("the object is not the one announced", MISMATCH)
    return series, instance
