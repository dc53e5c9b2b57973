"""The listening socket: who may connect at all, how many, how long they may be silent, and TLS."""

from __future__ import annotations

import ipaddress
import socket
import socketserver
import ssl
from collections.abc import Callable
from typing import Any

from pynetdicom.transport import ThreadedAssociationServer

from oarseg.errors import ConfigError
from oarseg.node.config import Tls

# Beyond the associations allowed, so many more connections are answered with a refusal; more are closed at once.
SPARE_CONNECTIONS = 200
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class NodeServer(ThreadedAssociationServer):
    """Accepts connections from the networks ``peers`` only; calls ``report`` with reason and address of any other."""

    request_queue_size = 256
    daemon_threads = True

    def __init__(
        self, *args: Any, peers: tuple[str, ...], connections: int, idle_seconds: float,
        report: Callable[[str, str], None], **kwargs: Any,
    ) -> None:  # fmt: skip
        self._peers: list[Network] = [ipaddress.ip_network(peer) for peer in peers]
        self._most, self._idle, self._report = connections + SPARE_CONNECTIONS, idle_seconds, report
        super().__init__(*args, **kwargs)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Return the next connection. Its own thread does the TLS handshake, so that a slow one holds up nobody."""
        assert self.socket is not None
        client, address = self.socket.accept()
        # A peer that stops within a message is let go.
        client.settimeout(self._idle)
        if self.ssl_context and self._is_welcome(address[0]):
            client = self.ssl_context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        return client, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether the peer may connect; False closes the connection."""
        if not self._is_welcome(client_address[0]):
            self._report("the address is not in [allow] peers", client_address[0])
            return False
        if len(self.active_associations) >= self._most:
            self._report(f"more than {self._most} connections at once", client_address[0])
            return False
        return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Go on: a connection that broke is the peer's affair."""
        self._report("the connection broke", client_address[0])

    def shutdown(self) -> None:
        """Listen no longer. pynetdicom's own expects a server that its AE started, which takes no class of ours."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()

    def _is_welcome(self, address: str) -> bool:
        found = ipaddress.ip_address(address.partition("%")[0])
        mapped = getattr(found, "ipv4_mapped", None)
        return any((mapped or found) in network for network in self._peers)


def server_context(tls: Tls) -> ssl.SSLContext | None:
    """Return the context for incoming connections; None without TLS. Raises ConfigError: the files cannot be used."""
    if not tls.certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, tls)
    if tls.authorities:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(tls: Tls) -> ssl.SSLContext:
    """Return the context for connections to a destination. Raises ConfigError where the files cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _load(context, tls)
    return context


def _load(context: ssl.SSLContext, tls: Tls) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key)
        if tls.authorities:
            context.load_verify_locations(tls.authorities)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"[tls] the files cannot be used ({error.strerror or error}); expected PEM") from error
