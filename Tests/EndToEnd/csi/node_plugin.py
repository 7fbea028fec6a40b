"""The node plugin under test, and what a kubelet would call on it."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from pathlib import Path

import grpc

from harness import BINARY, clean_environment, eventually
from stubs import load

csi, csi_grpc, registration, registration_grpc = load()
LIBC = ctypes.CDLL(None, use_errno=True)
MNT_FORCE, MNT_DETACH = 1, 2
PLUGIN = BINARY.parent / "millrace-csi"
MULTI_READER = csi.VolumeCapability.AccessMode.MULTI_NODE_READER_ONLY


def capability(flags=(), mode=MULTI_READER):
    return csi.VolumeCapability(
        mount=csi.VolumeCapability.MountVolume(mount_flags=list(flags)), access_mode=csi.VolumeCapability.AccessMode(mode=mode))


def mounts():
    """(mount point, file system, device) of every mount."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ", 1)
        words = before.split()
        found.append((words[4].encode().decode("unicode_escape"), after.split()[0], words[2], words[5]))
    return found


class NodePlugin:
    """`millrace-csi` in a directory of its own; use as a context manager, which leaves nothing behind."""

    def __init__(self, *options: str, registration_socket: bool = False, environment=None, sockets=None, before=(),
                 programs=PLUGIN.parent):
        """`before`: words before the program's, as of a wrapper. `environment`: exactly this one. `programs`: the directory
        where they are."""
        self.program = programs / "millrace-csi"
        # Not resolved by a link on the way, as the plugin follows none.
        self.directory = Path(os.path.realpath(tempfile.mkdtemp(prefix="millrace-csi-test-")))
        self.pods = self.directory / "pods"
        self.pods.mkdir()
        self.endpoint = self.directory / "csi.sock"
        self.state = self.directory / "millrace"
        self.socket_directory = sockets or self.state / "run"
        self.registration = self.directory / "reg.sock"
        self.options = list(options)
        self.before = list(before)
        if registration_socket:
            self.options += ["--registration-socket", str(self.registration)]
        self.environment = environment
        self.process = None
        self.channel = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.tear_down()

    # The process

    def start(self):
        assert self.program.exists(), f"{self.program}: not built: swift build -c release --product millrace-csi"
        self.log = open(self.directory / "plugin.log", "ab")
        self.process = subprocess.Popen(
            [*self.before, str(self.program), "--endpoint", f"unix://{self.endpoint}", "--node-id", "node-1", *self.options],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, cwd="/",
            env=clean_environment() if self.environment is None else self.environment)
        eventually(self.is_ready, 60, "the plugin's Probe")

    def is_ready(self):
        assert self.process.poll() is None, f"the plugin ended:\n{self.logs()}"
        if not self.endpoint.exists():
            return False
        self.connect()
        try:
            return self.identity.Probe(csi.ProbeRequest(), timeout=5).ready.value
        except grpc.RpcError:
            return False

    def connect(self):
        if self.channel:
            self.channel.close()
        self.channel = grpc.insecure_channel(f"unix://{self.endpoint}")
        self.identity = csi_grpc.IdentityStub(self.channel)
        self.node = csi_grpc.NodeStub(self.channel)

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(30)
        if number == signal.SIGKILL:
            self.endpoint.unlink(missing_ok=True)

    def restart(self, number=signal.SIGTERM):
        self.stop(number)
        self.start()

    def pid_of(self, child: str):
        """The engine or the keeper: the process whose socket is in our state directory."""
        needle = str(self.socket_directory / f"{child}.sock")
        for process in Path("/proc").iterdir():
            if not process.name.isdigit():
                continue
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                state = (process / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if state != "Z" and b"--socket" in words and words[words.index(b"--socket") + 1].decode() == needle:
                return int(process.name)
        return None

    def kill(self, child: str, number=signal.SIGKILL):
        pid = eventually(lambda: self.pid_of(child), 30, f"the {child}'s process")
        os.kill(pid, number)
        return pid

    def logs(self) -> str:
        text = ""
        for path in (self.directory / "plugin.log", self.state / "engine.log", self.state / "keeper.log"):
            if path.exists():
                text += f"--- {path.name}\n" + path.read_text(errors="replace")[-6000:]
        return text

    def tear_down(self):
        """Ends everything by force."""
        if self.channel:
            self.channel.close()
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        for child in ("engine", "keeper"):
            pid = self.pid_of(child)
            if pid:
                os.kill(pid, signal.SIGKILL)
                eventually(lambda pid=pid: self.pid_of(child) != pid, 20, f"the end of the {child}")
        for _ in range(3):
            for point, *_rest in reversed(self.mounts()):
                # Not umount(8): it looks at the path first, which hangs where nobody serves it.
                LIBC.umount2(os.fsencode(point), MNT_FORCE | MNT_DETACH)
        assert not self.mounts()
        shutil.rmtree(self.directory)

    # What is there

    def mounts(self):
        return [mount for mount in mounts() if mount[0].startswith(str(self.directory) + "/")]

    def target(self, name: str | None = None) -> Path:
        """A target path as the kubelet makes it: the parent exists, the path doesn't."""
        pod = self.pods / (name or str(uuid.uuid4())) / "volumes" / "kubernetes.io~csi" / "pv"
        pod.mkdir(parents=True, exist_ok=True)
        return pod / "mount"

    # Calls

    def publish(self, volume, target, context, secrets=None, timeout=60, **fields):
        fields.setdefault("volume_capability", capability())
        return self.node.NodePublishVolume(
            csi.NodePublishVolumeRequest(
                volume_id=volume, target_path=str(target), volume_context=context, secrets=secrets or {}, **fields),
            timeout=timeout)

    def unpublish(self, volume, target, timeout=60):
        return self.node.NodeUnpublishVolume(
            csi.NodeUnpublishVolumeRequest(volume_id=volume, target_path=str(target)), timeout=timeout)

    def stats(self, volume, path, timeout=30):
        return self.node.NodeGetVolumeStats(
            csi.NodeGetVolumeStatsRequest(volume_id=volume, volume_path=str(path)), timeout=timeout)

    def stats_or_none(self, volume, path):
        """None while the engine is being restarted."""
        try:
            return self.stats(volume, path)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE, error
            return None

    # What must not leak

    def resources(self) -> dict:
        """Mounts, files, processes, and the descriptors of each process: not its connections to the S3 server."""
        counts = {
            "mounts": len(self.mounts()), "sessions": len(list((self.state / "sessions").iterdir())),
            "targets": len(list((self.state / "targets").iterdir()))}
        for name, pid in (
                ("plugin", self.process.pid), ("engine", self.pid_of("engine")), ("keeper", self.pid_of("keeper"))):
            counts[name] = descriptors(pid) if pid else None
        return counts


def descriptors(pid) -> int:
    """How many a process has that sessions and calls need: not its pool of connections to the S3 server."""
    count = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            count += not os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:")
    return count


def context_of(server, prefix="", **attributes):
    """Volume attributes for an `Embedded` server, with a pod's as the kubelet adds them."""
    context = {
        "endpoint": server.endpoint, "bucket": server.bucket, "prefix": prefix, "pathStyle": "true",
        "csi.storage.k8s.io/ephemeral": "false", "csi.storage.k8s.io/pod.name": "pod",
        "csi.storage.k8s.io/pod.namespace": "default", "csi.storage.k8s.io/pod.uid": "uid",
        "csi.storage.k8s.io/serviceAccount.name": "default",
        **attributes,
    }
    return {name: value for name, value in context.items() if value is not None}


KEYS = {"accessKeyID": "AKIDEXAMPLE", "secretAccessKey": "node-secret-0123456789"}
