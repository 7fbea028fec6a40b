"""What breaks ends in the right code, and leaves nothing."""

import errno
import os
import random
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from harness import eventually, within
from looker import Looker
from node_plugin import KEYS, context_of, csi, descriptors
from test_publish import refused


def leftovers(plugin):
    return (plugin.mounts(), list((plugin.state / "sessions").iterdir()), list((plugin.state / "targets").iterdir()))


def test_publications_survive_a_plugin_that_is_killed(own_plugin, server):
    targets = [own_plugin.target() for _ in range(3)]
    for number, target in enumerate(targets):
        own_plugin.publish(f"pv-{number}", target, context_of(server, "set/"), KEYS)
    own_plugin.restart(signal.SIGKILL)
    # It still knows which volume is where.
    refused(grpc.StatusCode.ALREADY_EXISTS, own_plugin.publish, "pv-x", targets[0], context_of(server, "set/"), KEYS)
    own_plugin.stats("pv-1", targets[1])
    own_plugin.publish("pv-0", targets[0], context_of(server, "set/"), KEYS)
    late = own_plugin.target()
    own_plugin.publish("pv-late", late, context_of(server, "set/"), KEYS)
    assert len({m[2] for m in own_plugin.mounts()}) == 1
    for name, target in [("pv-0", targets[0]), ("pv-1", targets[1]), ("pv-2", targets[2]), ("pv-late", late)]:
        own_plugin.unpublish(name, target)
    assert leftovers(own_plugin) == ([], [], [])


def test_a_corrupt_journal_costs_names_only(own_plugin, server):
    target = own_plugin.target()
    own_plugin.publish("pv", target, context_of(server, "set/"), KEYS)
    own_plugin.stop(signal.SIGKILL)
    for file in (own_plugin.state / "targets").iterdir():
        file.write_bytes(os.urandom(100))
    (own_plugin.state / "targets" / "garbage").write_bytes(b"x")
    own_plugin.start()
    assert within(20, (target / "file-001").read_bytes) == b"content of 1\n"
    own_plugin.publish("pv", target, context_of(server, "set/"), KEYS)
    refused(grpc.StatusCode.ALREADY_EXISTS, own_plugin.publish, "pv-x", target, context_of(server, "set/"), KEYS)
    own_plugin.unpublish("pv", target)
    assert leftovers(own_plugin) == ([], [], [])


def test_engine_and_keeper_die_together(own_plugin, server):
    target = own_plugin.target()
    own_plugin.publish("pv", target, context_of(server, "set/"), KEYS)
    engine, keeper = own_plugin.pid_of("engine"), own_plugin.pid_of("keeper")
    os.kill(keeper, signal.SIGSTOP)
    os.kill(engine, signal.SIGKILL)
    os.kill(keeper, signal.SIGKILL)
    # The pod gets an error, not the host's directory beneath; the session's own mount is cleaned.
    eventually(lambda: not any("/sessions/" in m[0] for m in own_plugin.mounts()), 60, "the cleaning")
    with pytest.raises(OSError) as caught:
        within(20, os.listdir, target)
    assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    eventually(own_plugin.is_ready, 60, "a new engine and a new keeper")
    own_plugin.publish("pv", target, context_of(server, "set/"), KEYS)
    assert within(20, (target / "file-001").read_bytes) == b"content of 1\n"
    own_plugin.unpublish("pv", target)
    assert leftovers(own_plugin) == ([], [], [])


def test_a_connection_that_the_kernel_aborts(own_plugin, server):
    target = own_plugin.target()
    own_plugin.publish("pv", target, context_of(server, "set/"), KEYS)
    # A forced unmount aborts the connection, wherever else it is mounted.
    subprocess.run(["umount", "-f", target], check=True)
    with pytest.raises(OSError):
        within(20, os.listdir, next(m[0] for m in own_plugin.mounts()))
    eventually(lambda: not any("/sessions/" in m[0] for m in own_plugin.mounts()), 60, "the cleaning")
    own_plugin.publish("pv", target, context_of(server, "set/"), KEYS)
    assert within(20, (target / "file-001").read_bytes) == b"content of 1\n"
    own_plugin.unpublish("pv", target)
    assert leftovers(own_plugin) == ([], [], [])


def test_a_stopped_engine_hangs_no_call(own_plugin, server):
    target = own_plugin.target()
    own_plugin.publish("pv", target, context_of(server, "set/"), KEYS)
    pid = own_plugin.kill("engine", signal.SIGSTOP)
    own_plugin.identity.Probe(csi.ProbeRequest(), timeout=10)
    own_plugin.publish("pv", target, context_of(server, "set/"), KEYS)
    own_plugin.unpublish("pv", target)
    eventually(lambda: own_plugin.pid_of("engine") not in (None, pid), 60, "the next engine")
    eventually(lambda: leftovers(own_plugin) == ([], [], []), 60, "nothing left")


def test_a_second_plugin_does_not_take_the_directory(own_plugin):
    second = subprocess.Popen(
        [own_plugin.process.args[0], "--endpoint", f"unix://{own_plugin.directory}/second.sock", "--node-id", "n"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    out, _ = second.communicate(timeout=60)
    assert second.returncode == 1 and "another plugin holds" in out
    assert own_plugin.is_ready()


@pytest.mark.parametrize("arguments", [
    ["--endpoint", "tcp://1.2.3.4:5", "--node-id", "n"], ["--endpoint", "unix://relative", "--node-id", "n"],
    ["--endpoint", "unix:///tmp/x.sock", "--node-id", ""], ["--endpoint", "unix:///tmp/x.sock"], ["--nonsense"],
    ["--endpoint", "unix:///tmp/x.sock", "--node-id", "n", "--child-user", "root"]])
def test_wrong_arguments_end_with_usage(arguments):
    from node_plugin import PLUGIN
    done = subprocess.run([str(PLUGIN), *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 64 and "sage" in done.stderr


def test_an_idle_plugin_that_ends_leaves_no_process(own_plugin, server):
    target = own_plugin.target()
    own_plugin.publish("pv", target, context_of(server, "set/"), KEYS)
    own_plugin.unpublish("pv", target)
    own_plugin.stop(signal.SIGTERM)
    for child in ("engine", "keeper"):
        eventually(lambda child=child: own_plugin.pid_of(child) is None, 30, f"the end of the {child}")


def test_two_calls_on_one_volume_abort_the_second(own_plugin, server):
    target = own_plugin.target()
    server.fault(operation="list", delayMs=3000, count=1)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(own_plugin.publish, "pv", target, context_of(server, "set/"), KEYS)
        eventually(lambda: first.done() or target.exists(), 30, "the first call to begin")
        if not first.done():
            refused(grpc.StatusCode.ABORTED, own_plugin.publish, "pv", target, context_of(server, "set/"), KEYS)
        first.result(60)
    own_plugin.unpublish("pv", target)


def test_five_hundred_publishes_fifty_at_a_time(own_plugin, server, record_property):
    import time
    for view in range(20):
        server.put(f"view-{view:02}/name", b"%d" % view)
    own_plugin.publish("pv", first := own_plugin.target(), context_of(server, "set/"), KEYS)
    engine, plugin = own_plugin.pid_of("engine"), own_plugin.process.pid
    before = descriptors(engine), descriptors(plugin)
    targets = [own_plugin.target() for _ in range(500)]

    def publish(number):
        own_plugin.publish(f"pv-{number}", targets[number], context_of(server, f"view-{number % 20:02}/"), KEYS)

    def unpublish(number):
        own_plugin.unpublish(f"pv-{number}", targets[number])

    with ThreadPoolExecutor(50) as pool:
        began = time.monotonic()
        list(pool.map(publish, range(500)))
        published = time.monotonic()
        assert len({m[2] for m in own_plugin.mounts()}) == 21
        for number in random.sample(range(500), 60):
            assert within(20, (targets[number] / "name").read_bytes) == b"%d" % (number % 20)
        rss = int(next(l for l in Path(f"/proc/{engine}/status").read_text().splitlines() if "VmRSS" in l).split()[1])
        read = time.monotonic()
        list(pool.map(unpublish, range(500)))
    record_property("time", f"500 publishes {published - began:.1f} s, unpublishes {time.monotonic() - read:.1f} s, "
                            f"engine {rss // 1024} MiB")
    own_plugin.unpublish("pv", first)
    assert leftovers(own_plugin) == ([], [], [])
    # A worker of the engine lets go of the session that it served last when it serves the next.
    eventually(lambda: descriptors(engine) <= before[0] + 4 and descriptors(plugin) <= before[1], 60,
               f"descriptors as before: {before}")
    assert own_plugin.pid_of("engine") == engine


@pytest.mark.parametrize("seed", range(int(os.environ.get("MILLRACE_FUZZ", "2"))))
def test_no_pod_ever_sees_another_dataset_or_the_host(own_plugin, server, seed):
    """Calls at random, at the same time, while engine and plugin are killed: a target shows its own dataset, or it is
    no mount at all, or its connection is dead."""
    print("seed", seed)
    rng = random.Random(seed)
    for view in range(4):
        server.put(f"fuzz-{view}/me", b"%d" % view)
    targets = [own_plugin.target(f"pod-{number}") for number in range(12)]
    wrong = []

    def call(kind, number):
        try:
            if kind == "publish":
                own_plugin.publish(
                    f"pv-{number}", targets[number], context_of(server, f"fuzz-{number % 4}/"), KEYS, timeout=60)
            else:
                own_plugin.unpublish(f"pv-{number}", targets[number], timeout=60)
        except grpc.RpcError as error:
            allowed = (grpc.StatusCode.ABORTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
            if error.code() not in allowed:
                wrong.append((kind, number, error.code(), error.details()))

    looker = Looker({target: str(number % 4) for number, target in enumerate(targets)})
    with ThreadPoolExecutor(16) as pool:
        for _ in range(int(os.environ.get("MILLRACE_FUZZ_ROUNDS", "12"))):
            calls = [
                pool.submit(call, rng.choice(("publish", "publish", "unpublish")), rng.randrange(12)) for _ in range(40)]
            if rng.random() < 0.5:
                own_plugin.kill("engine")
            if rng.random() < 0.3:
                own_plugin.restart(signal.SIGKILL)
            for one in calls:
                one.result(120)
            assert not wrong, wrong
    assert looker.end() > 0
    for number, target in enumerate(targets):
        own_plugin.unpublish(f"pv-{number}", target)
        assert not target.exists()
    eventually(lambda: leftovers(own_plugin) == ([], [], []), 30, "nothing left")
