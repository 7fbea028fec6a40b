"""Kubernetes' own sidecars, node-driver-registrar and livenessprobe, in front of the plugin."""

import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest

from harness import BINARY, clean_environment, eventually, within
from node_plugin import KEYS, NodePlugin, context_of, csi, registration, registration_grpc

DIRECTORY = Path(os.environ.get("MILLRACE_SIDECARS", "/nonexistent"))
KUBELETS_PATH = "/var/lib/kubelet/plugins/s3.csi.millrace.dev/csi.sock"


def sidecar(name):
    found = shutil.which(name) or DIRECTORY / name
    if not Path(found).exists():
        pytest.skip(
            f"{name} is not here: build it from kubernetes-csi's repository and set MILLRACE_SIDECARS to its directory; "
            "test_orchestrators.py makes its calls")
    return str(found)


class Sidecar:
    def __init__(self, log, name, *arguments):
        self.log = log
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                [sidecar(name), *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=clean_environment())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)

    def said(self):
        return self.log.read_text(errors="replace")[-3000:]


def test_the_registrar_registers_the_driver(own_plugin, server, tmp_path):
    """It asks for the name and serves the kubelet, which then asks the plugin itself."""
    registry = tmp_path / "registry"
    registry.mkdir()
    with Sidecar(tmp_path / "log", "csi-node-driver-registrar", f"--csi-address={own_plugin.endpoint}",
                 f"--kubelet-registration-path={KUBELETS_PATH}", f"--plugin-registration-path={registry}") as registrar:
        path = registry / "s3.csi.millrace.dev-reg.sock"
        eventually(path.exists, 30, "the registrar's socket")
        with grpc.insecure_channel(f"unix://{path}") as channel:
            stub = registration_grpc.RegistrationStub(channel)
            info = stub.GetInfo(registration.InfoRequest(), timeout=10)
            assert (info.type, info.name, info.endpoint) == ("CSIPlugin", "s3.csi.millrace.dev", KUBELETS_PATH)
            assert list(info.supported_versions) == ["1.0.0"]
            stub.NotifyRegistrationStatus(registration.RegistrationStatus(plugin_registered=True), timeout=10)
        assert own_plugin.node.NodeGetInfo(csi.NodeGetInfoRequest(), timeout=10).node_id == "node-1"
        target = own_plugin.target()
        own_plugin.publish("pv", target, context_of(server, "set/"), KEYS)
        # The plugin is upgraded under the registrar, which stays.
        own_plugin.restart()
        assert registrar.process.poll() is None, registrar.said()
        assert within(20, (target / "file-001").read_bytes) == b"content of 1\n"
        own_plugin.unpublish("pv", target)


def test_livenessprobe_says_how_the_plugin_is(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def health():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=20) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def keeper():
        return subprocess.Popen(
            [BINARY.parent / "millrace-keeper", "--socket", tmp_path / "keeper.sock"], stdin=subprocess.DEVNULL, env={})

    kept = keeper()
    try:
        with NodePlugin(f"--keeper-socket={tmp_path}/keeper.sock") as plugin, Sidecar(
                tmp_path / "log", "livenessprobe", f"--csi-address={plugin.endpoint}", "--probe-timeout=2s",
                f"--http-endpoint=127.0.0.1:{port}") as probe:
            eventually(lambda: health() == 200, 60, "a healthy plugin")
            # What only others start is away: the plugin lives and says that it isn't ready.
            kept.kill()
            kept.wait(10)
            eventually(lambda: health() == 500, 60, "an ill one")
            kept = keeper()
            eventually(lambda: health() == 200, 60, "a healthy one again")
            os.kill(plugin.process.pid, signal.SIGSTOP)
            assert health() == 500
            os.kill(plugin.process.pid, signal.SIGCONT)
            eventually(lambda: health() == 200, 60, "a healthy one again")
            plugin.restart(signal.SIGKILL)
            eventually(lambda: health() == 200, 60, "a healthy one again")
            assert probe.process.poll() is None, probe.said()
    finally:
        kept.kill()
        kept.wait(10)
