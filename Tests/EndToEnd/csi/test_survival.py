"""Readers that check every byte see nothing of it when engine, plugin, keeper or the S3 server go away."""

import os
import random
import signal
import time

import pytest

from harness import eventually
from node_plugin import KEYS, context_of
from readers import KINDS, Reader, fill

# MILLRACE_SURVIVAL=full: as long as it takes to be sure; else a short form, for every run of the tests.
IS_FULL = os.environ.get("MILLRACE_SURVIVAL") == "full"
KILLS = int(os.environ.get("MILLRACE_KILLS", "100" if IS_FULL else "10"))
UPGRADES = 20 if IS_FULL else 3
OUTAGE_S = 30 if IS_FULL else 5
# A build machine may be slow; a request that is lost hangs for ever.
SILENCE = float(os.environ.get("MILLRACE_SILENCE", "60"))


@pytest.fixture
def reading(own_plugin, server):
    """Readers of every kind on two targets of one volume's session."""
    fill(server)
    targets = [own_plugin.target() for _ in range(2)]
    for number, target in enumerate(targets):
        own_plugin.publish(f"pv-{number}", target, context_of(server, "data/", metadataTTL="1h"), KEYS)
    readers = [Reader(kind, targets[number % 2], number) for number, kind in enumerate(KINDS)]
    try:
        eventually(lambda: all(reader.reads > 0 for reader in readers), 60, "the first reads")
        yield readers
        # All of them go on reading, and are still right.
        progress(readers)
        for number, target in enumerate(targets):
            own_plugin.publish(f"pv-{number}", target, context_of(server, "data/", metadataTTL="1h"), KEYS)
    finally:
        for reader in readers:
            reader.stop()
    for number, target in enumerate(targets):
        own_plugin.unpublish(f"pv-{number}", target)
    assert not own_plugin.mounts()


def progress(readers, seconds=SILENCE):
    """Waits until every reader has read on."""
    before = [reader.reads for reader in readers]
    end = time.monotonic() + seconds
    while any(reader.reads <= count for reader, count in zip(readers, before)):
        for reader in readers:
            reader.check(SILENCE)
        assert time.monotonic() < end, [(r.kind, r.reads, r.where()) for r in readers]
        time.sleep(0.02)


def rest(readers, seconds):
    """A random time of reading in which any reader that fails is told."""
    end = time.monotonic() + random.uniform(0, seconds)
    while time.monotonic() < end:
        for reader in readers:
            reader.check(SILENCE)
        time.sleep(0.02)


def take_down(plugin, readers, number, times, seconds) -> list:
    """Ends the engine so many times; answers the longest pause of each reader after each time, in ms."""
    longest = []
    for _ in range(times):
        before = [len(reader.pauses) for reader in readers]
        pid = plugin.kill("engine", number)
        eventually(lambda pid=pid: plugin.pid_of("engine") not in (None, pid), 60, "the next engine")
        # The next time may well come before this one is over.
        rest(readers, seconds)
        longest += [max(reader.pauses[count:], default=0) for reader, count in zip(readers, before)]
    progress(readers)
    return longest


def report(longest, what, record_property):
    longest.sort()
    p50, p99 = longest[len(longest) // 2], longest[int(len(longest) * 0.99)]
    line = f"{what}, the longest pause of each reader: p50 {p50:.0f} ms, p99 {p99:.0f} ms, most {longest[-1]:.0f} ms"
    record_property("pauses", line)
    print(line)


def test_the_engine_is_killed_again_and_again(own_plugin, reading, record_property):
    longest = take_down(own_plugin, reading, signal.SIGKILL, KILLS, 1.5)
    report(longest, f"{KILLS} kills of the engine", record_property)


def test_the_engine_is_upgraded(own_plugin, reading, record_property):
    """SIGTERM drains: nothing is left unanswered, as kernels before 6.9 need it."""
    longest = take_down(own_plugin, reading, signal.SIGTERM, UPGRADES, 1)
    report(longest, f"{UPGRADES} upgrades", record_property)


def test_the_keeper_and_the_plugin_are_replaced_and_then_the_engine(own_plugin, reading):
    for number in (signal.SIGTERM, signal.SIGKILL):
        own_plugin.restart(number)
        progress(reading)
        engine = own_plugin.pid_of("engine")
        keeper = own_plugin.kill("keeper")
        eventually(lambda: own_plugin.pid_of("keeper") not in (None, keeper), 60, "the next keeper")
        # The engine gives it everything: told by the log, as nothing else shows it before the engine is gone.
        eventually(lambda: "a new keeper has the sessions" in own_plugin.logs(), 60, "the hand-over")
        assert own_plugin.pid_of("engine") == engine
        own_plugin.kill("engine")
        eventually(lambda: own_plugin.pid_of("engine") not in (None, engine), 60, "the next engine")
        progress(reading)
        (own_plugin.state / "engine.log").write_text("")


def test_a_stopped_engine_is_found_and_replaced(own_plugin, reading):
    pid = own_plugin.kill("engine", signal.SIGSTOP)
    eventually(lambda: own_plugin.pid_of("engine") not in (None, pid), 60, "the next engine")
    progress(reading)


def test_the_server_is_away_for_a_while(own_plugin, reading, server):
    """As long as a request's time lasts, readers wait."""
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        time.sleep(OUTAGE_S)  # the outage itself: nothing to wait for
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    progress(reading, 120)
