"""What pynetdicom does not document and the node relies on: each still does what the node needs."""

from __future__ import annotations

import io
import socket
import struct
import threading
import time

import pytest

pytest.importorskip("pynetdicom", reason="needs pynetdicom: pip install 'oarseg[node]'")
from ports import free_port
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from oarseg.node import internals
from oarseg.node.server import NodeServer


@pytest.fixture
def listen():
    """Starts an SCP with handlers; stopped at the end. Returns its port."""
    running = []

    def start(handlers: list, idle: float = 20.0, titles: tuple = ("SCANNER",)) -> int:
        ae, port = AE("OARSEG"), free_port()
        ae.network_timeout = ae.acse_timeout = ae.dimse_timeout = idle
        ae.require_called_aet, ae.require_calling_aet, ae.maximum_associations = True, list(titles), 2
        ae.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
        server = ae.make_server(
            ("127.0.0.1", port), evt_handlers=handlers, server_class=NodeServer, peers=("127.0.0.0/8",),
            connections=5, idle_seconds=idle, report=lambda reason, address: None,
        )  # fmt: skip
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        running.append((server, thread))
        return port

    yield start
    for server, thread in running:
        for assoc in server.active_associations:
            assoc.abort(block=False)
        server.shutdown()
        thread.join(10)
        assert not thread.is_alive()


def connect(port: int, title: str = "SCANNER", called: str = "OARSEG"):
    ae = AE(title)
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    return ae.associate("127.0.0.1", port, ae_title=called)


def wait_for(condition, seconds: float = 20.0):
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return value


def store_request(assoc, one) -> list[bytes]:
    """The P-DATA-TF PDUs of a C-STORE request."""
    request, message = C_STORE(), C_STORE_RQ()
    request.MessageID, request.Priority = 7, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CTImageStorage, one.SOPInstanceUID
    request.DataSet = io.BytesIO(encode(one, False, True))
    message.primitive_to_message(request)
    context = assoc.accepted_contexts[0].context_id
    pdus = []
    for part in message.encode_msg(context, 4096):
        fragment = part.presentation_data_value_list[0][1]
        value = struct.pack(">LB", len(fragment) + 1, context) + fragment
        pdus.append(struct.pack(">BBL", 4, 0, len(value)) + value)
    return pdus


def test_the_server_is_the_entitys_without_being_started_by_it(listen):
    """Associations count against the limit of the entity, and the server ends by its own shutdown."""
    seen = []
    port = listen([(evt.EVT_REQUESTED, lambda event: seen.append(event.assoc))])
    held = [connect(port) for _ in range(2)]
    assert all(assoc.is_established for assoc in held)
    assert connect(port).is_rejected
    assert len([assoc for assoc in seen if assoc.is_alive()]) >= 2
    for assoc in held:
        assoc.release()


def test_a_rejection_says_why(listen):
    reasons = []
    port = listen([(evt.EVT_REJECTED, lambda event: reasons.append(internals.rejection(event.assoc)))])
    assert connect(port, "STRANGER").is_rejected and connect(port, called="ANOTHER").is_rejected
    held = [connect(port) for _ in range(2)]
    assert connect(port).is_rejected
    for assoc in held:
        assoc.release()
    wait_for(lambda: len(reasons) == 3)
    assert reasons == [internals.CALLING_TITLE, internals.CALLED_TITLE, internals.TOO_MANY]


def test_what_is_received_is_measured_as_it_comes_and_can_be_dropped(listen, ct_slices):
    sizes, after, kept = [], [], []

    def measure(event):
        sizes.append(internals.received(event.assoc))
        if sizes[-1].data_bytes > 4000:
            internals.drop_received(event.assoc)
            after.append(internals.received(event.assoc))
            event.assoc.abort()

    port = listen([(evt.EVT_PDU_RECV, measure), (evt.EVT_C_STORE, lambda event: kept.append(1) or 0)])
    assoc = connect(port)
    for part in store_request(assoc, ct_slices(1)[0]):
        assoc.dul.socket.send(part)
    wait_for(lambda: after)
    assert max(size.command_bytes for size in sizes) > 50
    assert after[0] == internals.Received(0, 0, 0) and not kept


def test_messages_without_answer_are_counted(listen, ct_slices):
    waiting, go = [], threading.Event()
    port = listen(
        [(evt.EVT_PDU_RECV, lambda event: waiting.append(internals.received(event.assoc).waiting)),
         (evt.EVT_C_STORE, lambda event: go.wait(20) and 0)]
    )  # fmt: skip
    assoc = connect(port)
    message = b"".join(store_request(assoc, ct_slices(1)[0]))
    for _ in range(5):
        assoc.dul.socket.send(message)
    wait_for(lambda: waiting and max(waiting) >= 2)
    go.set()
    assoc.abort()


def test_a_connection_closed_before_its_request_ends_at_once(listen):
    ended, servers = [], []

    def closed(event):
        servers.append(event.assoc)
        ended.append(internals.end_without_request(event.assoc))

    port = listen([(evt.EVT_CONN_CLOSE, closed)], idle=600)
    socket.create_connection(("127.0.0.1", port)).close()
    wait_for(lambda: ended == [True] and not servers[0].is_alive())
    # One that made its request is left to pynetdicom.
    connect(port).release()
    wait_for(lambda: ended == [True, False])


def test_a_pdu_has_a_longest_size_and_time(listen):
    opened = []

    def bound(event):
        opened.append(event.assoc)
        internals.bound_reads(event.assoc, 0.5, 1000)

    closed = (evt.EVT_CONN_CLOSE, lambda event: internals.end_without_request(event.assoc))
    port = listen([(evt.EVT_CONN_OPEN, bound), closed], idle=600)
    for content in (struct.pack(">BBL", 1, 0, 100_000), struct.pack(">BBL", 1, 0, 500) + bytes(40)):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
            peer.sendall(content)
            wait_for(lambda: opened and not opened[-1].is_alive(), 10)
        opened.clear()


def test_a_destination_that_does_not_read_is_given_up(listen, ct_slices):
    """The bound holds for what is sent too."""
    release = threading.Event()
    port = listen([(evt.EVT_DATA_RECV, lambda event: event.data[:1] == b"\x04" and release.wait(20))])
    ae = AE("SCANNER")
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    bound = [(evt.EVT_CONN_OPEN, lambda event: internals.bound_socket(event.assoc, 0.5))]
    assoc = ae.associate("127.0.0.1", port, ae_title="OARSEG", evt_handlers=bound)
    big = ct_slices(1)[0]
    big.PixelData = bytes(40 << 20)
    began = time.monotonic()
    assert assoc.send_c_store(big).get("Status") is None
    release.set()
    assert time.monotonic() - began < 15
