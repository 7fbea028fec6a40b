"""Many mounts served by one engine, as on a Kubernetes node: this stands in for the node plugin (NodeProtocol)."""

import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import tempfile
import time

from . import machine

READ_ONLY, NO_SUID, NO_DEVICES = 1, 2, 4
OPEN, DONE = 32, 0x8000


def fields(*entries: tuple[int, object]) -> bytes:
    """Tag, length and bytes of each: numbers take eight bytes, flags one."""
    out = b""
    for tag, value in entries:
        if isinstance(value, bool):
            value = bytes([value])
        elif isinstance(value, int):
            value = struct.pack("<q", value)
        elif isinstance(value, str):
            value = value.encode()
        out += struct.pack("<HI", tag, len(value)) + value
    return out


def sealed(contents: bytes) -> int:
    descriptor = os.memfd_create("benchmark-secrets", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.write(descriptor, contents)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS,
                fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL)
    return descriptor


class Engine:
    """`millrace engine` with sessions at `paths`. Needs root, for mount(2)."""

    def __init__(self, scratch: str):
        directory = tempfile.mkdtemp(dir=scratch)
        self.scratch, self.paths = directory, []
        address = os.path.join(directory, "socket")
        self.log = open(os.path.join(directory, "log"), "w+")
        self.child = subprocess.Popen([machine.millrace(), "engine", "--socket", address], stdout=self.log,
                                      stderr=self.log)
        self.process = machine.Process(self.child.pid)
        self.socket = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + 20
        while self.socket.connect_ex(address) != 0:
            if self.child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the engine did not start: {self._log_end()}")
            time.sleep(0.02)

    def _log_end(self) -> str:
        self.log.seek(0)
        return self.log.read()[-1500:]

    def mount(self, endpoint: str, bucket: str) -> str:
        """One more session, anonymous; answers its path."""
        number = len(self.paths)
        path = os.path.join(self.scratch, f"mount-{number}")
        os.mkdir(path)
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        libc = ctypes.CDLL(None, use_errno=True)
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if libc.mount(b"millrace", path.encode(), b"fuse.millrace", READ_ONLY | NO_SUID | NO_DEVICES, options):
            raise OSError(ctypes.get_errno(), "mount")
        self.paths.append(path)
        with open("/proc/self/mountinfo") as file:
            connection = next(int(line.split()[2].split(":")[1]) for line in file if line.split()[4] == path)
        spec = fields((1, bucket), (2, ""), (3, endpoint), (4, "us-east-1"), (5, True), (15, "benchmark"))
        payload = fields((1, f"session-{number}"), (2, spec), (3, connection))
        secrets = sealed(fields((1, 0)))
        header = struct.pack("<IHHIHH", 0x43524C4D, 1, OPEN, len(payload), 2, 0)
        socket.send_fds(self.socket, [header + payload], [device, secrets])
        os.close(device)
        os.close(secrets)
        self.socket.settimeout(30)
        answer = self.socket.recv(1 << 16)
        if struct.unpack_from("<H", answer, 6)[0] != DONE:
            raise RuntimeError(f"the engine refused a session: {answer[16:]!r} {self._log_end()}")
        return path

    def stop(self) -> None:
        for path in self.paths:
            subprocess.run(["umount", "-l", path], capture_output=True)
        self.socket.close()
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(20)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.log.close()
