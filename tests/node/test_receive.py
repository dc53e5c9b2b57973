"""What the node takes, what it refuses and how, and peers that misbehave."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import socket
import ssl
import struct
import subprocess
import threading
import time

import pydicom
import pytest

pytest.importorskip("pynetdicom", reason="needs pynetdicom: pip install 'oarseg[node]'")
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    RLELossless,
)
from pynetdicom.sop_class import Verification

from oarseg.identity import uid_hash
from oarseg.node import receive

pytestmark = pytest.mark.slow


def stored(site, one) -> bytes:
    series, instance = uid_hash(one.SeriesInstanceUID), uid_hash(one.SOPInstanceUID)
    return (site.folder / "spool/series" / series / f"{instance}.dcm").read_bytes()


def test_echo(site):
    site.start()
    assoc = site.associate(contexts=[(Verification, [ImplicitVRLittleEndian])])
    assert assoc.send_c_echo().Status == 0
    assoc.release()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless])
def test_instances_are_kept_as_they_came(site, tools, syntax):
    site.over = {"node": {"quiet_seconds": 60}}
    site.start()
    one = tools.ct_slices(1)[0]
    if syntax.is_compressed:
        one.compress(syntax, generate_instance_uid=False)
    elif syntax.is_implicit_VR:
        written = io.BytesIO()
        one.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(written, one, implicit_vr=True, little_endian=True, enforce_file_format=True)
        one = pydicom.dcmread(io.BytesIO(written.getvalue()))
    assoc = site.associate(contexts=[(CTImageStorage, [syntax])])
    assert assoc.send_c_store(one).Status == 0
    assoc.release()
    kept = pydicom.dcmread(io.BytesIO(stored(site, one)))
    assert kept.file_meta.TransferSyntaxUID == syntax and kept.PixelData == one.PixelData
    assert kept.PatientName == tools.patient


def test_what_cannot_be_read_here_is_not_negotiated(site):
    site.start()
    offered = [(MRImageStorage, [ExplicitVRLittleEndian]), (CTImageStorage, [DeflatedExplicitVRLittleEndian])]
    assoc = site.associate(contexts=[*offered, (CTImageStorage, [ExplicitVRBigEndian])])
    assert [c.abstract_syntax for c in assoc.accepted_contexts] == [CTImageStorage]
    assert sorted(c.abstract_syntax for c in assoc.rejected_contexts) == [CTImageStorage, MRImageStorage]
    assoc.release()


@pytest.fixture
def log(caplog):
    """The values of the node's log lines by event, as they come."""
    logging.getLogger("oarseg.node").propagate = True
    caplog.set_level(logging.INFO, "oarseg.node")
    return lambda event: [r.values for r in caplog.records if r.getMessage() == event]


@pytest.mark.parametrize(
    "title, called, reason", [("STRANGER", "OARSEG", "calling AE title"), ("SCANNER", "ANOTHER", "is not OARSEG")]
)
def test_other_ae_titles_are_rejected_and_the_log_says_which_and_why(site, tools, log, title, called, reason):
    node = site.start()
    assoc = site.associate(title, called)
    assert assoc.is_rejected
    # Counted once the peer has its answer.
    tools.wait_for(lambda: node.counters.values["associations_rejected"] == 1)
    (line,) = tools.wait_for(lambda: log("association rejected"))
    assert (line["calling"], line["called"], line["address"]) == (title, called, "127.0.0.1")
    assert reason in line["reason"]


def test_any_ae_title_if_so_set(site, tools):
    site.over = {"allow": {"ae_titles": ["*"]}}
    site.start()
    assert site.send(tools.ct_slices(1), "STRANGER") == [0]


def test_other_addresses_are_not_let_in_and_the_log_says_which(site, tools, log):
    site.over = {"allow": {"peers": ["192.0.2.0/24", "2001:db8::/32"]}}
    node = site.start()
    assert not site.associate().is_established
    tools.wait_for(lambda: node.counters.values["connections_closed"] == 1)
    (line,) = tools.wait_for(lambda: log("connection closed"))
    assert line == {"reason": "the address is not in [allow] peers", "address": "127.0.0.1"}


def test_limits_refuse_with_a_status_and_keep_what_was_taken(site, tools):
    site.over = {"limits": {"free_gib": 0, "series_instances": 3, "instance_mib": 0.01}}
    node = site.start()
    big, slices = tools.ct_slices(1)[0], tools.ct_slices(5)
    big.PixelData = bytes(20_000)
    assoc = site.associate()
    refused = assoc.send_c_store(big)
    assert refused.Status == 0xA700 and "larger than 0.01 MiB" in refused.ErrorComment
    assert [assoc.send_c_store(one).Status for one in slices] == [0, 0, 0, 0xA700, 0xA700]
    assoc.release()
    tools.wait_for(lambda: site.totals(node) == {"delivered": 1})
    assert site.segmenter.calls == [3] and node.counters.values["instances_refused"] == 3


def test_a_full_spool_refuses(site, tools):
    site.over = {"limits": {"free_gib": 0, "spool_gib": 20_000 / (1 << 30)}, "node": {"quiet_seconds": 60}}
    site.start()
    assert site.send(tools.ct_slices(4)) == [0, 0, 0xA700, 0xA700]


def test_a_message_without_end_ends_its_association(site, tools):
    site.over = {"limits": {"free_gib": 0, "instance_mib": 0.1}}
    node = site.start()
    big = tools.ct_slices(1)[0]
    big.PixelData = bytes(4 << 20)
    assoc = site.associate()
    assert assoc.send_c_store(big).get("Status") is None
    assert node.counters.values["associations_aborted"] >= 1
    assert site.send(tools.ct_slices(3)) == [0, 0, 0]
    tools.wait_for(lambda: node.receiver.open_associations() == 0)


def pdu(assoc, control: int, content: bytes) -> bytes:
    """A P-DATA-TF PDU with one fragment."""
    value = struct.pack(">LBB", len(content) + 2, assoc.accepted_contexts[0].context_id, control) + content
    return struct.pack(">BBL", 4, 0, len(value)) + value


@pytest.mark.parametrize("what", ["a command without end", "messages without waiting for answers"])
def test_memory_is_not_filled_by_a_peer(site, tools, monkeypatch, what):
    node = site.start()
    monkeypatch.setattr(node.spool, "store", lambda *_: time.sleep(0.5))
    assoc = site.associate()
    if what == "a command without end":
        message = pdu(assoc, 1, bytes(50_000))
    else:
        from pynetdicom.dimse_messages import C_STORE_RQ
        from pynetdicom.dimse_primitives import C_STORE

        one, request, encoded = tools.ct_slices(1)[0], C_STORE(), C_STORE_RQ()
        request.MessageID, request.Priority = 7, 2
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CTImageStorage, one.SOPInstanceUID
        request.DataSet = io.BytesIO(receive_bytes(one))
        encoded.primitive_to_message(request)
        parts = [p.presentation_data_value_list[0] for p in encoded.encode_msg(1, 60_000)]
        message = b"".join(pdu(assoc, part[1][0], part[1][1:]) for part in parts)
    for _ in range(20):
        assoc.dul.socket.send(message)
    tools.wait_for(lambda: node.counters.values["associations_aborted"] >= 1)
    tools.wait_for(lambda: node.receiver.open_associations() == 0)


def test_an_object_that_is_not_the_announced_one_is_refused(site, tools):
    site.start()
    from pynetdicom.dimse_primitives import C_STORE

    one, other = tools.ct_slices(2)
    del other.SeriesInstanceUID
    assoc = site.associate()
    assert assoc.send_c_store(other).Status == 0xC000
    request = C_STORE()
    request.MessageID, request.Priority = 7, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CTImageStorage, other.SOPInstanceUID
    request.DataSet = io.BytesIO(receive_bytes(one))
    assoc._reactor_checkpoint.clear()
    assoc.dimse.send_msg(request, assoc.accepted_contexts[0].context_id)
    _, answer = assoc.dimse.get_msg(block=True)
    assoc._reactor_checkpoint.set()
    assert answer.Status == 0xA900
    assoc.release()


def receive_bytes(one) -> bytes:
    from pynetdicom.dsutils import encode

    return encode(one, False, True)


def test_associations_beyond_the_limit_are_rejected_and_the_rest_served(site, tools, log):
    site.over = {"limits": {"free_gib": 0, "associations": 3}}
    node = site.start()
    held = [site.associate() for _ in range(3)]
    assert all(assoc.is_established for assoc in held)
    more = site.associate()
    assert more.is_rejected
    assert tools.wait_for(lambda: log("association rejected"))[0]["reason"] == "more than 3 associations at once"
    for assoc in held:
        assoc.release()
    tools.wait_for(lambda: node.receiver.open_associations() == 0)
    assert site.send(tools.ct_slices(3)) == [0] * 3


GARBAGE = {
    "noise": os.urandom(4096),
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "nothing": b"",
    "a PDU of 4 GiB": struct.pack(">BBL", 4, 0, 0xFFFFFFFF) + bytes(100_000),
    "a request cut short": struct.pack(">BBL", 1, 0, 500) + bytes(40),
    "a request of zeros": struct.pack(">BBL", 1, 0, 200) + bytes(200),
    "data without association": struct.pack(">BBL", 4, 0, 10) + bytes(10),
}


def test_garbage_on_the_port_disturbs_nobody(site, tools):
    # Longer than a slice takes on a busy machine: the good sender must not be taken for a silent one.
    site.over = {"limits": {"free_gib": 0, "idle_seconds": 3}}
    node, slices = site.start(), tools.ct_slices(4)
    bad = []
    for bytes_ in GARBAGE.values():
        bad.append(socket.create_connection(("127.0.0.1", site.port), timeout=20))
        # The node may have hung up before all is sent.
        with contextlib.suppress(ConnectionError):
            bad[-1].sendall(bytes_)
    assert site.send(slices) == [0] * 4
    for n, sock in enumerate(bad):
        if n % 2 == 0:
            # A silent peer is let go by the node.
            with contextlib.suppress(ConnectionResetError):
                while sock.recv(4096):
                    pass
        sock.close()
    tools.wait_for(lambda: site.totals(node) == {"delivered": 1} and node.receiver.open_associations() == 0)
    assert site.segmenter.calls == [4] and node._wrong() == []


def test_a_slow_peer_holds_up_nobody(site, tools):
    node = site.start()
    slow = socket.create_connection(("127.0.0.1", site.port))
    ended = threading.Event()

    def drip():
        for byte in struct.pack(">BBL", 1, 0, 500) + bytes(500):
            if ended.is_set():
                return
            slow.send(bytes([byte]))
            time.sleep(0.05)

    thread = threading.Thread(target=drip)
    thread.start()
    site.send(tools.ct_slices(3))
    tools.wait_for(lambda: site.totals(node) == {"delivered": 1})
    assert thread.is_alive()
    ended.set()
    thread.join()
    slow.close()


def test_a_peer_that_never_ends_its_request_is_let_go(site, tools):
    site.over = {"limits": {"free_gib": 0, "idle_seconds": 1, "associations": 1}}
    node = site.start()
    with socket.create_connection(("127.0.0.1", site.port)) as slow:
        slow.sendall(struct.pack(">BBL", 1, 0, 5000))
        tools.wait_for(lambda: node.receiver.open_associations() == 1)

        def sent_on() -> bool:
            with contextlib.suppress(ConnectionError):
                slow.send(b"x")
            return node.receiver.open_associations() == 0

        # It holds the one association that is allowed, though never silent, no longer than a silent one.
        tools.wait_for(sent_on)
    assert site.send(tools.ct_slices(3)) == [0] * 3


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for localhost, of itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
        "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout node.key -out node.pem"
    )
    try:
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs openssl")
    return folder


def test_tls_both_ways(site, tools, certificate):
    files = {name: str(certificate / file) for name, file in
             {"certificate": "node.pem", "key": "node.key", "authorities": "node.pem"}.items()}  # fmt: skip
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files["certificate"], files["key"])
    site.archive.stop()
    site.archive.tls = server
    site.archive.start()
    place = site.settings()["destination"][0]
    site.over = {"tls": files, "destination": [{**place, "tls": True}]}
    node = site.start()
    client = ssl.create_default_context(cafile=files["authorities"])
    # A sender without a certificate, one without TLS, and one that waits within its handshake.
    stuck = socket.create_connection(("127.0.0.1", site.port))
    assert not site.associate(tls=(client, "localhost")).is_established
    assert not site.associate().is_established
    client.load_cert_chain(files["certificate"], files["key"])
    assoc = site.associate(tls=(client, "localhost"))
    assert assoc.is_established
    assert [assoc.send_c_store(one).Status for one in tools.ct_slices(3)] == [0, 0, 0]
    assoc.release()
    tools.wait_for(lambda: site.totals(node) == {"delivered": 1})
    assert len(site.archive.uids) == 1
    stuck.close()


def test_syntaxes_are_those_that_can_be_decoded(monkeypatch):
    everything = receive.accepted_syntaxes()
    assert JPEG2000Lossless in everything and DeflatedExplicitVRLittleEndian not in everything
    monkeypatch.setattr(receive, "has_decoder", lambda syntax: False)
    assert receive.accepted_syntaxes() == list(receive.PLAIN)


def test_a_connection_that_is_closed_at_once_holds_no_association(site, tools):
    site.over = {"limits": {"associations": 2, "idle_seconds": 600}}
    node = site.start()
    for _ in range(25):
        socket.create_connection(("127.0.0.1", site.port)).close()

    def is_welcome() -> bool:
        assoc = site.associate()
        assoc.release()
        return assoc.is_released

    # A busy node has not accepted all of them yet.
    tools.wait_for(is_welcome)
    tools.wait_for(lambda: node.receiver.open_associations() == 0)
    assert site.send(tools.ct_slices(3)) == [0] * 3
