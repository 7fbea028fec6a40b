"""What runs out or is refused ends in the right code, and leaves nothing: mounts, files, descriptors, processes."""

import os
import resource
import signal
import subprocess

import grpc
import pytest

from harness import eventually, generated, within
from harness.mount import ROOT
from keeper_client import Keeper, fields
from node_plugin import KEYS, NodePlugin, context_of, csi
from test_publish import refused

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


def publishes_and_reads(plugin, server, volume="pv-after"):
    target = plugin.target()
    plugin.publish(volume, target, context_of(server, "set/"), KEYS)
    assert within(20, (target / "file-001").read_bytes) == b"content of 1\n"
    plugin.unpublish(volume, target)


def nothing_leaked(plugin, before):
    """The engine's workers let go of the session that they served last when they serve the next."""
    def is_back():
        now = plugin.resources()
        return all(
            now[name] == count if name in ("mounts", "sessions", "targets") else now[name] is not None and now[name] <= count + 4
            for name, count in before.items())

    eventually(is_back, 60, f"as before: {before}, now {plugin.resources()}")


@pytest.fixture
def counted(own_plugin, server):
    """A plugin of the test's own that has worked once; nothing may be left at the end."""
    publishes_and_reads(own_plugin, server, "pv-before")
    before = own_plugin.resources()
    yield own_plugin
    publishes_and_reads(own_plugin, server)
    nothing_leaked(own_plugin, before)


def test_the_plugins_descriptors_run_out(counted, server):
    pid = counted.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1, hard))
    try:
        for number in range(3):
            target = counted.target()
            message = refused(EXHAUSTED, counted.publish, f"pv-{number}", target, context_of(server, "other/"), KEYS)
            assert "Too many open files" in message
            assert not target.exists()
        assert counted.identity.Probe(csi.ProbeRequest(), timeout=10)
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def test_the_engines_descriptors_run_out(counted, server):
    kept = counted.target()
    counted.publish("pv-kept", kept, context_of(server, "set/"), KEYS)
    pid = counted.pid_of("engine")
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 2, hard))
    try:
        target = counted.target()
        with pytest.raises(grpc.RpcError) as caught:
            counted.publish("pv-x", target, context_of(server, "other/"), KEYS, timeout=90)
        assert caught.value.code() in (EXHAUSTED, grpc.StatusCode.UNAVAILABLE), caught.value
        assert not target.exists()
        # Who is mounted reads on.
        assert within(20, (kept / "file-001").read_bytes) == b"content of 1\n"
    finally:
        if counted.pid_of("engine") == pid:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    counted.unpublish("pv-kept", kept)


def test_the_disk_of_the_plugins_state_is_full(server):
    plugin = NodePlugin()
    plugin.state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=711", "tmpfs", plugin.state], check=True)
    with plugin:
        publishes_and_reads(plugin, server, "pv-before")
        before = plugin.resources()
        filler = plugin.state / "filler"
        with open(filler, "wb", buffering=0) as file:
            with pytest.raises(OSError):
                while True:
                    file.write(b"x" * 4096)
        target = plugin.target()
        message = refused(EXHAUSTED, plugin.publish, "pv-full", target, context_of(server, "set/"), KEYS)
        assert "No space left" in message and not target.exists()
        filler.unlink()
        publishes_and_reads(plugin, server)
        nothing_leaked(plugin, before)


def test_mounting_is_not_allowed(server):
    """As in a container that is not privileged."""
    without = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]
    with NodePlugin(before=without) as plugin:
        target = plugin.target()
        message = refused(grpc.StatusCode.INTERNAL, plugin.publish, "pv", target, context_of(server, "set/"), KEYS)
        assert "CAP_SYS_ADMIN" in message and not target.exists()
        assert (plugin.resources()["mounts"], plugin.resources()["sessions"], plugin.resources()["targets"]) == (0, 0, 0)
        assert plugin.is_ready()


def test_the_keepers_socket_is_removed(counted, server):
    """Nobody could reach it any more: it is replaced, and the engine gives its successor everything."""
    target = counted.target()
    counted.publish("pv", target, context_of(server, "set/"), KEYS)
    file = within(20, open, target / "file-001", "rb", 0)
    keeper, engine = counted.pid_of("keeper"), counted.pid_of("engine")
    (counted.socket_directory / "keeper.sock").unlink()
    eventually(lambda: counted.pid_of("keeper") not in (None, keeper), 60, "the next keeper")
    eventually(lambda: "a new keeper has the sessions" in counted.logs(), 60, "the hand-over")
    counted.kill("engine")
    eventually(lambda: counted.pid_of("engine") not in (None, engine), 60, "the next engine")
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert within(30, os.pread, file.fileno(), 100, 0) == b"content of 1\n"
    within(20, file.close)
    counted.unpublish("pv", target)


def test_the_engines_socket_is_removed(counted, server):
    target = counted.target()
    counted.publish("pv", target, context_of(server, "set/"), KEYS)
    engine = counted.pid_of("engine")
    (counted.socket_directory / "engine.sock").unlink()
    eventually(lambda: counted.pid_of("engine") not in (None, engine), 60, "the next engine")
    assert within(30, (target / "file-002").read_bytes) == b"content of 2\n"
    counted.unpublish("pv", target)


def test_crashes_leave_nothing(counted, server):
    """Of the plugin and the engine, in turn, between and during calls."""
    for number in range(6):
        target = counted.target()
        counted.publish(f"pv-{number}", target, context_of(server, "set/"), KEYS)
        if number % 2:
            counted.restart(signal.SIGKILL)
        else:
            engine = counted.kill("engine")
            eventually(lambda engine=engine: counted.pid_of("engine") not in (None, engine), 60, "the next engine")
        assert within(30, (target / "file-003").read_bytes) == b"content of 3\n"
        counted.unpublish(f"pv-{number}", target)


def test_twenty_views_have_one_budget(server, record_property):
    """480 MiB are read through an engine that has 64 MiB for blocks: all sessions together stay within it."""
    size = 24 << 20
    for view in range(20):
        server.put_generated(f"budget-{view:02}/big", size, view)
    with NodePlugin("--memory=64Mi") as plugin:
        targets = [plugin.target() for _ in range(20)]
        for view, target in enumerate(targets):
            plugin.publish(f"pv-{view}", target, context_of(server, f"budget-{view:02}/"), KEYS)
        for view, target in enumerate(targets):
            with open(target / "big", "rb") as file:
                assert within(120, file.read) == generated(size, view)
        status = open(f"/proc/{plugin.pid_of('engine')}/status", encoding="ascii").read()
        kib = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
        record_property("memory", f"20 views, 480 MiB read: the engine's most was {kib >> 10} MiB")
        # The program itself and what is on its way come on top.
        assert kib < (64 + 128) << 10, status
        for view, target in enumerate(targets):
            plugin.unpublish(f"pv-{view}", target)


def test_a_keeper_is_small(tmp_path, record_property):
    """Below 8 MiB with 500 sessions in it, all of its memory counted: the program and the libraries, too."""
    program = ROOT / ".build" / "release" / "millrace-keeper"
    assert program.exists(), f"{program}: not built: swift build -c release --product millrace-keeper"
    path = tmp_path / "keeper.sock"
    process = subprocess.Popen([str(program), "--socket", str(path)], env={}, stdin=subprocess.DEVNULL)
    try:
        eventually(path.exists, 30, "the keeper's socket")
        spec = fields((1, "bucket"), (2, "a/prefix/of/some/length/"), (3, "https://s3.example.org"), (15, "0" * 32))
        with Keeper(path) as keeper:
            for number in range(500):
                descriptors = [os.memfd_create("kept") for _ in range(4)]
                keeper.put(f"session-{number:03}", fields((1, 1), (2, spec), (3, number), (4, bytes(104)), (5, "0.1.0")),
                           dict(zip(("device", "secrets", "journal", "requests"), descriptors)))
                for descriptor in descriptors:
                    os.close(descriptor)
            # All of them at once, as the next engine takes them.
            for name in keeper.names():
                for descriptor in keeper.get(name)[1].values():
                    os.close(descriptor)
        status = open(f"/proc/{process.pid}/status", encoding="ascii").read()
        sizes = {name: int(next(line for line in status.splitlines() if line.startswith(name)).split()[1])
                 for name in ("VmHWM", "VmRSS", "RssAnon")}
        record_property("memory", f"500 sessions: {sizes} KiB")
        assert sizes["VmHWM"] < 8 << 10, status
    finally:
        process.kill()
        process.wait(10)
