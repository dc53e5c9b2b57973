"""Machines made of namespaces on one Linux computer, for ``cluster_trial.py``: each its own network, processes, /tmp.

A machine is its first process: when that ends, all processes, addresses and mounts of it are gone. Folders outside
/tmp are the computer's, so every machine sees them under the same path, as with a file server.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

NETWORK = "10.254.77"
TOOLS = ("ip", "unshare", "nsenter", "mount")
# Ray keeps objects there, and takes what is free of it as its own.
SHM = "1g"


class Machine:
    """``number``: last part of its address, and of its name. ``switch``: process id of the bridge's machine."""

    def __init__(self, number: int, switch: int | None = None) -> None:
        self.name, self.address, self.switch = f"machine{number}", f"{NETWORK}.{number}", switch
        self._port = f"port{number}"
        inside = (
            f"hostname {self.name}; mount -t tmpfs none /tmp; mount -t tmpfs -o size={SHM} none /dev/shm; "
            "ip link set lo up; exec sleep infinity"
        )
        spaces = ["--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
        self._outer = subprocess.Popen(["unshare", *spaces, "sh", "-c", inside], stderr=subprocess.PIPE)
        self.pid = self._first_process()
        if switch is None:
            self.do("ip", "link", "add", "bridge", "type", "bridge")
            self.do("ip", "link", "set", "bridge", "up")
        else:
            self._plug_in(switch)

    def _first_process(self) -> int:
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")

        def ready() -> bool:
            if self._outer.poll() is not None:
                raise RuntimeError(f"no namespaces here: {self._outer.stderr.read().decode().strip()}")
            found = children.read_text().split()
            # The shell has done its part when it has become ``sleep``.
            return bool(found) and Path(f"/proc/{found[0]}/comm").read_text().strip() == "sleep"

        wait_for(ready, 20)
        return int(children.read_text())

    def _plug_in(self, switch: int) -> None:
        at_switch = ["nsenter", "-t", str(switch), "-n", "ip", "link"]
        cable = ["type", "veth", "peer", "name", "eth0", "netns", str(self.pid)]
        subprocess.run([*at_switch, "add", self._port, *cable], check=True)
        subprocess.run([*at_switch, "set", self._port, "master", "bridge", "up"], check=True)
        self.do("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self.do("ip", "link", "set", "eth0", "up")

    def pull_cable(self) -> None:
        """From now on nothing reaches it, and it reaches nobody; no connection is closed."""
        command = ["nsenter", "-t", str(self.switch), "-n", "ip", "link", "set", self._port, "down"]
        subprocess.run(command, check=True)

    def start(self, *command: str, **options) -> subprocess.Popen:
        """A command on this machine, with ``options`` of Popen."""
        spaces = ["-n", "-m", "-p", "-u", "-i"]
        return subprocess.Popen(["nsenter", "-t", str(self.pid), *spaces, *command], **options)

    def do(self, *command: str) -> str:
        """What a command on this machine says. Raises RuntimeError where it fails."""
        running = self.start(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said, _ = running.communicate(timeout=240)
        if running.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(command)} failed:\n{said}")
        return said

    def kill(self, name: str) -> None:
        """SIGKILL to its processes of this name."""
        self.do("pkill", "-KILL", "-x", name)

    def switch_off(self) -> None:
        """SIGKILL to its first process, with which the kernel ends all others."""
        if self._outer.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, 9)
            self._outer.wait(30)


@contextlib.contextmanager
def machines(count: int) -> Iterator[list[Machine]]:
    """So many, on one switch; gone at the end. Raises RuntimeError where this computer cannot make any."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing or not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise RuntimeError(f"needs Linux, root, and the programs {', '.join(TOOLS)}; missing: {missing or 'root'}")
    made: list[Machine] = []
    try:
        made.append(Machine(254))
        made.extend(Machine(number, made[0].pid) for number in range(1, count + 1))
        yield made[1:]
    finally:
        for machine in reversed(made):
            machine.switch_off()


def wait_for(condition: Callable[[], object], seconds: float) -> None:
    """Raises RuntimeError where it does not come to pass."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError("it did not come to pass")
        time.sleep(0.1)
