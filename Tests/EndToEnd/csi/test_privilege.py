"""Only the plugin is root: engine and keeper are a user without rights, on a root that nobody can write to."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from harness import BINARY, clean_environment, eventually, within
from harness.mount import ROOT
from node_plugin import KEYS, NodePlugin, context_of
from readers import KINDS, Reader, fill
from test_survival import progress, rest

sys.path.insert(0, str(Path(__file__).parents[1] / "cluster"))
USER = 65532


@pytest.fixture
def open_directory():
    """A directory that the user can reach, unlike those of the tests."""
    path = Path(os.path.realpath(tempfile.mkdtemp(prefix="millrace-user-")))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def status_of(pid) -> dict:
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())


def assert_powerless(pid):
    status = status_of(pid)
    assert status["Uid"].split() == [str(USER)] * 4 and status["Gid"].split() == [str(USER)] * 4
    assert status["Groups"].split() in ([], [str(USER)])
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[kind], 16) == 0, (kind, status[kind])


def network_sockets(pid) -> list:
    """Those that listen for TCP or take UDP, as the kernel's tables have them."""
    inodes = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            inodes.add(os.readlink(f"/proc/{pid}/fd/{name}").removeprefix("socket:[").removesuffix("]"))
        except OSError:
            pass
    found = []
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            # 0A: LISTEN. A UDP socket without a peer takes from everybody.
            is_open = words[3] == "0A" if table.startswith("tcp") else words[2].endswith(":0000")
            if is_open and words[9] in inodes:
                found.append(f"{table} {words[1]}")
    return found


def test_nothing_listens_on_a_network(plugin, server):
    target = plugin.target()
    plugin.publish("pv", target, context_of(server, "set/"), KEYS)
    assert within(20, (target / "file-001").read_bytes) == b"content of 1\n"
    for pid in (plugin.process.pid, plugin.pid_of("engine"), plugin.pid_of("keeper")):
        assert network_sockets(pid) == []
    # The test would see one.
    assert len(network_sockets(server.process.pid)) == 1
    plugin.unpublish("pv", target)


def test_engine_and_keeper_give_up_root(open_directory, server):
    """Killed, upgraded, replaced: without any right they go on as well."""
    cache = open_directory / "cache"
    cache.mkdir()
    os.chown(cache, USER, USER)
    run = open_directory / "run"
    with NodePlugin(f"--child-user={USER}:{USER}", f"--run-dir={run}", f"--cache-dir={cache}", "--cache-size=64Mi",
                    sockets=run) as plugin:
        fill(server)
        target = plugin.target()
        plugin.publish("pv", target, context_of(server, "data/", metadataTTL="1h"), KEYS)
        readers = [Reader(kind, target, number) for number, kind in enumerate(KINDS)]
        try:
            eventually(lambda: all(reader.reads > 0 for reader in readers), 60, "the first reads")
            for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
                assert_powerless(plugin.pid_of("engine"))
                assert_powerless(plugin.pid_of("keeper"))
                pid = plugin.kill("engine", number)
                eventually(lambda pid=pid: plugin.pid_of("engine") not in (None, pid), 60, "the next engine")
                rest(readers, 1)
                progress(readers)
            keeper = plugin.kill("keeper")
            eventually(lambda: plugin.pid_of("keeper") not in (None, keeper), 60, "the next keeper")
            eventually(lambda: "a new keeper has the sessions" in plugin.logs(), 60, "the hand-over")
            plugin.restart(signal.SIGKILL)
            plugin.kill("engine")
            progress(readers)
        finally:
            for reader in readers:
                reader.stop()
        plugin.unpublish("pv", target)
        assert not plugin.mounts()


@pytest.mark.parametrize("manifest", ["csi/node.yaml", "chart"])
def test_the_manifests_arguments_start_it(open_directory, server, manifest):
    """What the manifests pass is understood by the plugin, and by the engine that it starts."""
    if manifest == "chart":
        from chart import render
        documents = render({"node": {"cacheDir": "/var/cache/millrace"}})
    else:
        documents = list(yaml.safe_load_all((ROOT / manifest).read_text()))
    pods = [d["spec"]["template"]["spec"] for d in documents if d and d["kind"] == "DaemonSet"]
    arguments = next(c["args"] for p in pods for c in p["containers"] if any("--node-id" in a for a in c.get("args", [])))
    cache = open_directory / "cache"
    cache.mkdir()
    os.chown(cache, USER, USER)
    run = open_directory / "run"
    # Those that name a place of the node get one of the test's.
    places = {"--run-dir": str(run), "--cache-dir": str(cache), "--metrics": "127.0.0.1:0"}
    dropped = ("--endpoint", "--node-id", "--state-dir", "--registration-socket", "--keeper-socket")
    options = []
    for argument in arguments:
        name, value = argument.split("=", 1)
        if name not in dropped:
            options.append(f"{name}={places.get(name, value)}")
    assert f"--child-user={USER}:{USER}" in options and any(o.startswith("--run-dir=") for o in options)
    with NodePlugin(*options, sockets=run) as plugin:
        target = plugin.target()
        plugin.publish("pv", target, context_of(server, "set/"), KEYS)
        assert within(20, (target / "file-001").read_bytes) == b"content of 1\n"
        assert_powerless(plugin.pid_of("engine"))
        plugin.unpublish("pv", target)


class Contained:
    """A program as its container has it: another user, no capability and none to gain, nothing writable but some
    directories."""

    SCRIPT = """
        set -e
        mount --make-rprivate /
        mkdir -p "$1"; mount --rbind / "$1"
        mount -o remount,bind,ro "$1"
        shift 1; root=$1; shift 1
        while [ "$1" != -- ]; do mount --bind "$1" "$root$1"; shift; done
        shift
        exec chroot "$root" setpriv --reuid 65532 --regid 65532 --clear-groups --bounding-set -all --inh-caps -all \
            --no-new-privs "$@"
    """

    def __init__(self, root: Path, writable: list[Path], command: list, log: Path):
        root.mkdir(exist_ok=True)
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                ["unshare", "-m", "bash", "-c", self.SCRIPT, "contained", root, root, *writable, "--", *command],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=clean_environment())

    def end(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        self.process.wait(30)


def test_engine_and_keeper_in_containers_of_their_own(open_directory, server):
    """As pods: others start them, with a read-only root and no capability; the plugin finds them by their sockets."""
    run, cache, root = (open_directory / name for name in ("run", "cache", "root"))
    for path in (run, cache):
        path.mkdir()
        os.chown(path, USER, USER)
    log = open_directory / "log"

    def keeper():
        return Contained(root, [run], [BINARY.parent / "millrace-keeper", "--socket", run / "keeper.sock"], log)

    def engine():
        return Contained(root, [run, cache], [
            BINARY, "engine", "--socket", run / "engine.sock", "--keeper", run / "keeper.sock", "--cache-dir", cache,
            "--cache-size", "64M"], log)

    kept, served = keeper(), engine()
    try:
        with NodePlugin(f"--keeper-socket={run}/keeper.sock", f"--engine-socket={run}/engine.sock", sockets=run) as plugin:
            fill(server)
            target = plugin.target()
            plugin.publish("pv", target, context_of(server, "data/", metadataTTL="1h"), KEYS)
            # In processes of their own: this one starts the engines, and must hold no file that waits for one.
            readers = [Reader(kind, target, number) for number, kind in enumerate(KINDS)]
            try:
                eventually(lambda: all(reader.reads > 0 for reader in readers), 60, "the first reads")
                assert_powerless(plugin.pid_of("engine"))
                assert_powerless(plugin.pid_of("keeper"))
                assert status_of(plugin.pid_of("engine"))["NoNewPrivs"].strip() == "1"
                for number in (signal.SIGTERM, signal.SIGKILL):
                    served.end(number)
                    served = engine()
                    progress(readers)
                # The keeper's pod is replaced while the engine lives.
                kept.end(signal.SIGTERM)
                kept = keeper()
                eventually(lambda: "a new keeper has the sessions" in log.read_text(errors="replace"), 60, "the hand-over")
                served.end()
                served = engine()
                progress(readers)
            finally:
                for reader in readers:
                    reader.stop()
            plugin.unpublish("pv", target)
            assert not plugin.mounts()
            assert "Read-only file system" not in log.read_text(errors="replace")
    except BaseException:
        print(log.read_text(errors="replace")[-5000:])
        raise
    finally:
        served.end()
        kept.end()
