"""An engine takes over what another version's has left, and the other way round: open files, directories and inode numbers
go on, under readers that check every byte."""

import contextlib
import fcntl
import os
import shutil
import signal
from pathlib import Path

import pytest

from harness import BINARY, eventually, within
from keeper_client import Journal, Keeper, fields, parsed
from node_plugin import KEYS, NodePlugin, context_of
from readers import KINDS, Reader, fill
from test_survival import progress, rest

# Another build of the engine and the keeper. MILLRACE_PREVIOUS: a directory with those of a version before; else release
# and debug build stand for two versions, in the order that this run doesn't have.
OTHER = Path(os.environ.get(
    "MILLRACE_PREVIOUS", BINARY.parent.parent / ("release" if BINARY.parent.name == "debug" else "debug")))
ROUNDS = 4 if "MILLRACE_PREVIOUS" in os.environ else 2
FORMAT, SPEC, WRITTEN_BY = 1, 2, 5
INODE, DIRECTORY = 2, 6
OF_LATER = 900


@contextlib.contextmanager
def readers_of(plugin, server):
    fill(server)
    target = plugin.target()
    plugin.publish("pv", target, context_of(server, "data/", metadataTTL="1h"), KEYS)
    readers = [Reader(kind, target, number) for number, kind in enumerate(KINDS)]
    try:
        eventually(lambda: all(reader.reads > 0 for reader in readers), 60, "the first reads")
        yield readers, target
    finally:
        for reader in readers:
            reader.stop()
    plugin.unpublish("pv", target)
    assert not plugin.mounts()


@contextlib.contextmanager
def between_engines(plugin):
    """The keeper, while there is no engine and the plugin starts none."""
    os.kill(plugin.process.pid, signal.SIGSTOP)
    try:
        plugin.kill("engine")
        eventually(lambda: plugin.pid_of("engine") is None, 30, "the engine's end")

        def acquired():
            with contextlib.suppress(AssertionError):  # the keeper has not yet seen that end
                return Keeper(plugin.socket_directory / "keeper.sock")

        with eventually(acquired, 30, "the keeper") as keeper:
            yield keeper
    finally:
        os.kill(plugin.process.pid, signal.SIGCONT)


def test_the_keeper_has_secrets_as_sealed_memory_alone(own_plugin, server):
    target = own_plugin.target()
    own_plugin.publish("pv", target, context_of(server, "set/"), KEYS)
    secret = KEYS["secretAccessKey"].encode()
    with between_engines(own_plugin) as keeper:
        name, = keeper.names()
        payload, descriptors = keeper.get(name)
        assert set(descriptors) == {"device", "secrets", "journal", "requests"}
        assert secret in os.pread(descriptors["secrets"], 4096, 0)
        seals = fcntl.fcntl(descriptors["secrets"], fcntl.F_GET_SEALS)
        for seal in (fcntl.F_SEAL_SEAL, fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_GROW, fcntl.F_SEAL_WRITE):
            assert seals & seal
        with pytest.raises(OSError):
            os.write(descriptors["secrets"], b"x")
        assert secret not in payload
        size = os.fstat(descriptors["journal"]).st_size
        assert secret not in os.pread(descriptors["journal"], size, 0)
        for descriptor in descriptors.values():
            os.close(descriptor)
    eventually(lambda: own_plugin.pid_of("engine"), 60, "the next engine")
    assert within(30, (target / "file-001").read_bytes) == b"content of 1\n"
    own_plugin.unpublish("pv", target)


def takes_over(plugin, readers):
    eventually(lambda: plugin.pid_of("engine"), 60, "the next engine")
    progress(readers)
    assert plugin.logs().count("took a session over") >= 1


def earlier(payload, descriptors):
    """What was in a record from the start, and nothing that came later."""
    spec = [(tag, value) for tag, value in parsed(dict(parsed(payload))[SPEC]) if tag in (1, 2, 3, 5, 7, 15)]
    kept = [(tag, fields(*spec) if tag == SPEC else value) for tag, value in parsed(payload) if tag != WRITTEN_BY]
    return fields(*kept), {role: fd for role, fd in descriptors.items() if role != "requests"}


def later(payload, descriptors):
    """With fields, a descriptor and records that this version has never heard of, and records that are longer."""
    spec = parsed(dict(parsed(payload))[SPEC]) + [(OF_LATER, b"of a later version")]
    kept = [(tag, fields(*spec) if tag == SPEC else value) for tag, value in parsed(payload)]
    journal = Journal(descriptors["journal"])
    assert any(record[0] == INODE for record in journal.records)
    journal.append(bytes([200]) + b"a kind of record that is new")
    # Said once more, the newest say the same.
    for record in journal.records[-300:]:
        journal.append(record + (b"more about it" if INODE <= record[0] <= DIRECTORY else b""))
    return fields(*kept, (OF_LATER, 7)), {**descriptors, "ring": os.memfd_create("ring")}


@pytest.mark.parametrize("change", [earlier, later])
def test_what_another_version_left_is_taken_over(own_plugin, server, change):
    with readers_of(own_plugin, server) as (readers, _):
        for _ in range(2):
            with between_engines(own_plugin) as keeper:
                names = keeper.names()
                assert len(names) == 1
                payload, descriptors = keeper.get(names[0])
                changed, given = change(payload, descriptors)
                assert changed != payload or change is earlier
                keeper.put(names[0], changed, given)
                for descriptor in {*descriptors.values(), *given.values()}:
                    os.close(descriptor)
            takes_over(own_plugin, readers)


def test_what_this_version_cannot_read_is_said_and_given_up(own_plugin, server):
    """Its readers get errors rather than hang, and the volume can be published again."""
    target = own_plugin.target()
    own_plugin.publish("pv", target, context_of(server, "set/"), KEYS)
    with between_engines(own_plugin) as keeper:
        name, = keeper.names()
        payload, descriptors = keeper.get(name)
        changed = [(tag, 99 if tag == FORMAT else value) for tag, value in parsed(payload)]
        keeper.put(name, fields(*changed), descriptors)
        for descriptor in descriptors.values():
            os.close(descriptor)
    eventually(lambda: "in a format that this version cannot read" in own_plugin.logs(), 60, "a word in the log")
    with pytest.raises(OSError):
        within(30, os.listdir, target)
    eventually(lambda: own_plugin.stats_or_none("pv", target), 60, "the plugin's view of it")
    own_plugin.publish("pv", target, context_of(server, "set/"), KEYS)
    assert within(20, (target / "file-001").read_bytes) == b"content of 1\n"
    own_plugin.unpublish("pv", target)
    assert not own_plugin.mounts()


@pytest.mark.skipif(
    not (OTHER / "millrace").exists() or OTHER == BINARY.parent,
    reason="there is one build only: build millrace and millrace-keeper for release and debug, or set MILLRACE_PREVIOUS")
def test_two_builds_take_over_from_one_another(server, tmp_path):
    """There and back again, by upgrades and by crashes, with the keeper replaced as well."""
    programs = tmp_path / "bin"
    programs.mkdir()
    shutil.copy(BINARY.parent / "millrace-csi", programs)  # by a link it would look for the others beside the original

    def choose(directory, name):
        link = programs / f"{name}.next"
        link.symlink_to((directory / name).resolve())
        link.rename(programs / name)
        return (programs / name).resolve()

    choose(OTHER, "millrace")
    choose(OTHER, "millrace-keeper")
    with NodePlugin(programs=programs) as plugin, readers_of(plugin, server) as (readers, _):
        for round_number in range(ROUNDS):
            for directory in (BINARY.parent, OTHER):
                expected = choose(directory, "millrace")
                pid = plugin.kill("engine", signal.SIGKILL if round_number % 2 else signal.SIGTERM)
                eventually(lambda pid=pid: plugin.pid_of("engine") not in (None, pid), 60, "the next engine")
                assert os.readlink(f"/proc/{plugin.pid_of('engine')}/exe") == str(expected)
                progress(readers)
                rest(readers, 1)
            expected = choose((BINARY.parent, OTHER)[round_number % 2], "millrace-keeper")
            (plugin.state / "engine.log").write_text("")
            pid = plugin.kill("keeper")
            eventually(lambda pid=pid: plugin.pid_of("keeper") not in (None, pid), 60, "the next keeper")
            assert os.readlink(f"/proc/{plugin.pid_of('keeper')}/exe") == str(expected)
            eventually(lambda: "a new keeper has the sessions" in plugin.logs(), 60, "the hand-over to it")
