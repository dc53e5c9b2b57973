"""Orthanc, a server that is not ours, as a process of a test."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("Orthanc")


class Orthanc:
    """A process with its storage in ``folder``, on ``http`` of this machine.

    Args: ``settings``: of ``orthanc.json``, over those here. ``user``, ``password``: what it asks for, if anything.
    """

    def __init__(self, folder: Path, http: int, settings: dict[str, Any], user: str = "", password: str = "") -> None:
        self.url = f"http://127.0.0.1:{http}"
        folder.mkdir(exist_ok=True)
        everything = {
            "Name": "test", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "storage"),
            "HttpPort": http, "RemoteAccessAllowed": False, "AuthenticationEnabled": bool(user),
            "RegisteredUsers": {user: password} if user else {}, "Plugins": [],
        }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(everything | settings))
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        passwords.add_password(None, self.url, user, password)
        self.opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))
        self.log = open(folder / "log", "wb")  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen([PROGRAM, str(folder / "orthanc.json")], stdout=self.log, stderr=self.log)

    def ask(self, path: str, body: bytes | None = None) -> Any:
        with self.opener.open(urllib.request.Request(self.url + path, data=body), timeout=60) as answer:
            return json.loads(answer.read())

    def ready(self) -> bool:
        try:
            return bool(self.ask("/system"))
        except OSError:
            return False

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.log.close()
