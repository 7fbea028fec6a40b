"""As on Kubernetes: a keeper that others run, an engine that gives up root, sockets outside the kubelet's directories."""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from harness import BINARY, eventually, within
from node_plugin import KEYS, NodePlugin, context_of

USER = "65532:65532"


def status(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.split() for name, value in (line.split(":", 1) for line in lines)}


def test_engine_and_keeper_have_no_rights(server):
    base = Path(tempfile.mkdtemp(prefix="millrace-csi-keeper-"))
    keeper_directory, run = base / "keeper", base / "run"
    for directory in (keeper_directory, run):
        directory.mkdir()
    base.chmod(0o755)
    os.chown(keeper_directory, 65532, 65532)
    socket = keeper_directory / "keeper.sock"
    with open(base / "log", "wb") as log:
        keeper = subprocess.Popen(
            [str(BINARY.parent / "millrace-keeper"), "--socket", str(socket), "--user", USER], stderr=log)
    try:
        options = ["--keeper-socket", str(socket), "--child-user", USER, "--run-dir", str(run)]
        with NodePlugin(*options, sockets=run) as plugin:
            # The kubelet's directories are root's alone.
            plugin.directory.chmod(0o700)
            target = plugin.target()
            plugin.publish("pv", target, context_of(server, "set/"), KEYS)
            file = within(20, open, target / "file-001", "rb", 0)
            engine = plugin.pid_of("engine")
            for pid in (engine, keeper.pid):
                found = status(pid)
                assert set(found["Uid"]) == {"65532"} and set(found["Gid"]) == {"65532"} and not found["Groups"]
                assert int(found["CapEff"][0], 16) == 0 and int(found["CapPrm"][0], 16) == 0
            assert int(status(keeper.pid)["VmRSS"][0]) < 8 << 10

            # A pod that is replaced: SIGTERM drains the engine, the container's end kills what is left.
            plugin.stop(signal.SIGTERM)
            eventually(lambda: plugin.pid_of("engine") is None, 30, "the drained engine's end")
            plugin.start()
            assert within(30, file.read) == b"content of 1\n"
            assert within(30, (target / "file-002").read_bytes) == b"content of 2\n"
            within(30, file.close)
            plugin.unpublish("pv", target)
            assert not plugin.mounts()
    finally:
        keeper.send_signal(signal.SIGTERM)
        assert keeper.wait(20) == 0
        shutil.rmtree(base)
