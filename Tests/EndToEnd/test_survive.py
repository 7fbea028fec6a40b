"""`millrace mount --survive`: a mount outlives its process, and the same command goes on with it."""

import errno
import hashlib
import os
import signal

import pytest

from harness import Mount, eventually, generated, is_mounted, millrace, within
from harness.holder import Holder


@pytest.fixture(scope="module")
def server(shared_embedded):
    shared_embedded.put_generated("big", 24 << 20, 5)
    for number in range(300):
        shared_embedded.put(f"many/{number:03}", b"%d" % number)
    return shared_embedded


def digest(offset, count):
    return hashlib.sha256(generated(count, 5, offset)).hexdigest()


def keepers() -> dict[int, bytes]:
    """Those that hold mounts of `millrace mount`, and their environments."""
    found = {}
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
            with open(f"/proc/{process}/environ", "rb") as file:
                environment = file.read()
        except OSError:
            continue
        if words[1:2] == [b"keeper"] and any(word.endswith(b".keeper") for word in words):
            found[int(process)] = environment
    return found


def test_open_files_and_directories_go_on_after_a_kill(server):
    before = keepers()
    mount = Mount("s3://data", server.endpoint, "--survive")
    with mount:
        with Holder(mount.path("big"), mount.path("many")) as holder:
            inode = within(20, holder.call, "inode")
            seen = within(20, holder.call, "names", 100)
            ours = {pid: environment for pid, environment in keepers().items() if pid not in before}
            # It needs nothing of ours, least of all the keys.
            assert len(ours) == 1 and not next(iter(ours.values())).strip(b"\0")
            for number in range(4):
                mount.kill()
                assert is_mounted(mount.directory)
                mount.start()
                eventually(lambda: mount.log.count("Went on with the mount") == number + 1, 20, "a word in the log")
                offset = number * 5 << 20
                assert within(30, holder.call, "digest", offset, 1 << 20) == digest(offset, 1 << 20)
                assert within(20, holder.call, "inode") == inode
            seen += within(20, holder.call, "names", 1000)
            assert sorted(seen) == [f"{number:03}" for number in range(300)]
    assert not is_mounted(mount.directory)
    eventually(lambda: not keepers().keys() - before.keys(), 60, "the end of the keeper")


def test_a_read_waits_for_the_next_process(server):
    mount = Mount("s3://data", server.endpoint, "--survive")
    with mount, Holder(mount.path("big"), mount.path("many")) as holder:
        within(20, holder.call, "inode")
        mount.kill()
        holder.ask("digest", 8 << 20, 4096)
        mount.start()
        assert within(30, holder.answer) == digest(8 << 20, 4096)


def test_another_source_does_not_go_on_with_it(server):
    mount = Mount("s3://data", server.endpoint, "--survive")
    with mount:
        mount.kill()
        done = millrace(
            "mount", "s3://data/many", mount.directory, "--foreground", "--survive", "--endpoint", server.endpoint)
        assert done.returncode != 0 and "another way" in done.stderr and "millrace unmount" in done.stderr
        mount.start()
        assert within(20, mount.read, "many/007") == b"7"


def test_unmount_while_the_process_is_dead(server):
    before = keepers()
    mount = Mount("s3://data", server.endpoint, "--survive").start()
    try:
        mount.kill()
        millrace("unmount", mount.directory, check=True)
        assert not is_mounted(mount.directory)
        eventually(lambda: not keepers().keys() - before.keys(), 60, "the end of the keeper")
    finally:
        mount.tear_down()


def test_without_it_a_kill_ends_the_mount(server):
    mount = Mount("s3://data", server.endpoint).start()
    try:
        mount.kill()
        with pytest.raises(OSError) as caught:
            within(20, os.listdir, mount.directory)
        assert caught.value.errno == errno.ENOTCONN
        assert mount.process.returncode == -signal.SIGKILL
    finally:
        mount.tear_down()
