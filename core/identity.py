"""Hashes that tell series and cases apart and name no patient."""

from __future__ import annotations

import hashlib

DIGITS = 16


def uid_hash(uid: str) -> str:
    """Return the hex SHA-256 of a UID."""
    return hashlib.sha256(uid.encode()).hexdigest()


def short_hash(*parts: str) -> str:
    """Return the first 16 hex digits of the SHA-256 of ``parts``, such as one UID, or a path and a UID.

    File names that are no UTF-8 (half surrogate pairs in Python) are taken as their bytes.
    """
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()[:DIGITS]
