"""What the node needs of pynetdicom beyond its documentation: limits on what a peer can hold up.

setup.cfg bounds pynetdicom's version, and ``tests/node/test_internals.py`` tests each of these.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

from pynetdicom.association import Association

READ_BYTES = 64 << 10
# By source and diagnostic of the A-ASSOCIATE-RJ (DICOM PS3.8, table 9-21).
CALLING_TITLE, CALLED_TITLE, TOO_MANY = (1, 3), (1, 7), (3, 2)


@dataclass(frozen=True)
class Received:
    """An association's message under way (bytes of its command and data), and how many messages wait for an answer."""

    command_bytes: int
    data_bytes: int
    waiting: int


def received(assoc: Association) -> Received:
    """Return how much of what a peer sent is held in memory."""
    message, waiting = assoc.dimse.message, assoc.dimse.msg_queue.qsize()
    if message is None:
        return Received(0, 0, waiting)
    return Received(message.encoded_command_set.tell(), message.data_set.tell(), waiting)


def drop_received(assoc: Association) -> None:
    """Free that memory now, not when the association's thread comes to it."""
    assoc.dimse.message = None
    assoc.dimse.msg_queue.queue.clear()


def end_without_request(assoc: Association) -> bool:
    """End an association whose connection was closed before the peer requested one; False where it had.

    A load balancer's check closes so: pynetdicom would wait for the request for all of the idle time, and the
    association would count as open.
    """
    if assoc.requestor.primitive is not None:
        return False
    assoc.dul.to_user_queue.put(None)
    return True


def rejection(assoc: Association) -> tuple[int, int]:
    """Return source and diagnostic with which an association was rejected."""
    answer = assoc.acceptor.primitive
    return answer.result_source, answer.diagnostic


def bound_socket(assoc: Association, seconds: float) -> None:
    """Let no single read or write of the connection take longer; pynetdicom would wait for ever."""
    _socket(assoc).settimeout(seconds)


def bound_reads(assoc: Association, seconds: float, longest: int) -> None:
    """Let a PDU take at most ``seconds`` and ``longest`` bytes, however slowly it comes.

    pynetdicom would read as many bytes as a PDU claims to have, up to 4 GiB.
    """
    connection = assoc.dul.socket

    def read(count: int) -> bytearray:
        if count > longest:
            raise OSError("the PDU is too long")
        sock = _socket(assoc)
        until, content = time.monotonic() + seconds, bytearray()
        try:
            while len(content) < count:
                sock.settimeout(max(0.001, until - time.monotonic()))
                part = sock.recv(min(count - len(content), READ_BYTES))
                if not part or time.monotonic() > until:
                    break
                content += part
        finally:
            sock.settimeout(seconds)
        return content

    connection.recv = read


def _socket(assoc: Association) -> socket.socket:
    return assoc.dul.socket.socket
