"""Credentials that change while a volume is mounted: who may read what was cached with whose keys."""

import os

import pytest

from harness import Embedded, eventually, within
from node_plugin import KEYS, context_of

OLD, NEW = (
    {"accessKeyID": f"{name}KEY", "secretAccessKey": f"{name.lower()}-secret-000000"} for name in ("OLD", "NEW"))


@pytest.fixture
def open_server():
    """One that takes every key, so that it depends on us alone who reads what."""
    with Embedded() as server:
        for number in range(20):
            server.put(f"file-{number}", b"content %d" % number)
        yield server


def gets(server, key) -> int:
    return sum(1 for entry in server.log() if entry["operation"] == "get" and entry["key"] == key)


def read_anew(file) -> bytes:
    """Not from the kernel's pages."""
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return within(20, os.pread, file.fileno(), 100, 0)


def test_bytes_of_one_identity_are_not_anothers_after_a_rotation(plugin, open_server):
    server, target, context = open_server, plugin.target(), context_of(open_server)
    plugin.publish("pv-1", target, context, OLD)
    file = within(20, open, target / "file-1", "rb", 0)
    assert within(20, file.read) == b"content 1"
    assert (read_anew(file), gets(server, "file-1")) == (b"content 1", 1)

    # Rotated: what is open and what is opened anew is fetched again, with the new keys.
    plugin.publish("pv-1", target, context, NEW)
    assert (read_anew(file), gets(server, "file-1")) == (b"content 1", 2)
    assert (read_anew(file), gets(server, "file-1")) == (b"content 1", 2)
    assert within(20, (target / "file-2").read_bytes) == b"content 2"
    assert gets(server, "file-2") == 1

    # Whoever comes with the old keys gets nothing of what the new ones fetched, nor their session.
    other = plugin.target()
    plugin.publish("pv-2", other, context, OLD)
    assert len({m[2] for m in plugin.mounts()}) == 2
    assert within(20, (other / "file-2").read_bytes) == b"content 2"
    assert gets(server, "file-2") == 2
    within(20, file.close)
    for volume, path in (("pv-1", target), ("pv-2", other)):
        plugin.unpublish(volume, path)


def test_the_scope_outlives_the_engine(own_plugin, open_server):
    server, target, context = open_server, own_plugin.target(), context_of(open_server)
    own_plugin.publish("pv-1", target, context, OLD)
    own_plugin.publish("pv-1", target, context, NEW)
    engine = own_plugin.kill("engine")
    eventually(lambda: own_plugin.pid_of("engine") not in (None, engine), 60, "the next engine")
    # The session is the new identity's for the plugin and the engine alike.
    late = own_plugin.target()
    own_plugin.publish("pv-late", late, context, NEW)
    assert len({m[2] for m in own_plugin.mounts()}) == 1
    assert within(20, (late / "file-3").read_bytes) == b"content 3"
    for volume, path in (("pv-1", target), ("pv-late", late)):
        own_plugin.unpublish(volume, path)


def test_keys_that_cannot_read_the_bucket_do_not_reach_the_session(plugin, server):
    """Tried by a request before they are used: the live mount goes on with those that work."""
    target = plugin.target()
    context = context_of(server, "set/", metadataTTL="0ms")
    plugin.publish("pv", target, context, KEYS)
    plugin.publish("pv", target, context, {**KEYS, "accessKeyID": "SOMEBODYELSE"})
    assert "not renewed yet" in plugin.logs()
    for number in range(10):
        assert within(20, (target / f"file-{number:03}").read_bytes) == b"content of %d\n" % number
    plugin.publish("pv", target, context, KEYS)
    plugin.unpublish("pv", target)
    assert not plugin.mounts()
