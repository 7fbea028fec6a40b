"""Kernels before 6.9 can't ask again what a dead engine had read: with that forced off, a planned upgrade loses nothing,
and a kill fails what was under way, and only that."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from harness import eventually, generated, within
from node_plugin import KEYS, NodePlugin, context_of
from readers import KINDS, Reader, fill
from test_survival import progress, rest

# Opens the file, says so, and reads it when it is told to, past the kernel's pages: those it would ask for once more.
READ_ONE = """
import mmap, os, sys
file = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
memory = mmap.mmap(-1, 4096)
print("open", flush=True)
sys.stdin.readline()
print(os.preadv(file, [memory], int(sys.argv[2])))
"""


OFFSETS = [number * 5 << 20 for number in range(5)]


def asked(server) -> set:
    """The offsets whose bytes the server was asked for: the engine has read these requests from the kernel."""
    ranges = [entry["range"].removeprefix("bytes=").split("-") for entry in server.log()
              if entry["key"] == "data/big" and entry["operation"] == "get"]
    return {offset for offset in OFFSETS for first, last in ranges if int(first) <= offset <= int(last)}


@pytest.fixture
def old_kernel(server):
    with NodePlugin("--engine-argument=--no-resend") as plugin:
        fill(server)
        target = plugin.target()
        plugin.publish("pv", target, context_of(server, "data/", metadataTTL="1h"), KEYS)
        yield plugin, target
        plugin.unpublish("pv", target)
        assert not plugin.mounts()


def next_engine(plugin, number):
    pid = plugin.kill("engine", number)
    eventually(lambda: plugin.pid_of("engine") not in (None, pid), 60, "the next engine")


def test_a_kill_fails_what_was_under_way_and_nothing_else(old_kernel, server):
    plugin, target = old_kernel
    held = within(20, open, target / "small" / "0007", "rb", 0)
    assert within(20, held.read, 100) == generated(100, 107)
    waiting = [
        subprocess.Popen([sys.executable, "-c", READ_ONE, str(target / "big"), str(offset)], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for offset in OFFSETS]
    try:
        for one in waiting:
            assert within(30, one.stdout.readline) == "open\n"
        server.clear_log()
        # None is answered before the kill, however long that takes; what is asked again afterwards would be.
        server.fault(operation="get", key="data/big", isSilent=True, count=-1)
        for one in waiting:
            one.stdin.write("\n")
            one.stdin.flush()
        eventually(lambda: asked(server) == set(OFFSETS), 60, "all of the reads at the server")
        pid = plugin.kill("engine")
        server.clear_faults()
        eventually(lambda: plugin.pid_of("engine") not in (None, pid), 60, "the next engine")
        for one in waiting:
            out, err = one.communicate(timeout=30)
            assert one.returncode == 1 and f"[Errno {errno.EIO}]" in err, (out, err)
    finally:
        server.clear_faults()
        for one in waiting:
            one.kill()
            one.wait(30)
    eventually(lambda: "under way, and the kernel (before 6.9)" in plugin.logs(), 20, "a word in the log")
    assert f"requests={len(OFFSETS)}" in plugin.logs()
    # What was open is open; what failed can be read again.
    os.posix_fadvise(held.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert within(20, os.pread, held.fileno(), 100, 0) == generated(100, 107)
    assert within(30, lambda: open(target / "big", "rb").read(4096)) == generated(4096, 1)
    within(20, held.close)


def test_upgrades_lose_nothing(old_kernel):
    plugin, target = old_kernel
    readers = [Reader(kind, target, number) for number, kind in enumerate(KINDS)]
    try:
        eventually(lambda: all(reader.reads > 0 for reader in readers), 60, "the first reads")
        for _ in range(3):
            next_engine(plugin, signal.SIGTERM)
            rest(readers, 1)
        progress(readers)
    finally:
        for reader in readers:
            reader.stop()
