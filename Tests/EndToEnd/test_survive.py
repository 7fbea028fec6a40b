"""`millrace mount --survive`: a mount outlives its process, and the same command goes on with it."""

import errno
import os
import signal

import pytest

from harness import Mount, eventually, generated, is_mounted, millrace, within


@pytest.fixture(scope="module")
def server(shared_embedded):
    shared_embedded.put_generated("big", 24 << 20, 5)
    for number in range(300):
        shared_embedded.put(f"many/{number:03}", b"%d" % number)
    return shared_embedded


def keepers(mount: Mount) -> list[int]:
    """Of this mount: those that hold a connection to FUSE of its device are not told from others, so by their socket."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
            with open(f"/proc/{process}/environ", "rb") as file:
                environment = file.read()
        except OSError:
            continue
        if b"keeper" in words[:2] and b".keeper" in b" ".join(words):
            found.append((int(process), environment))
    return found


def test_open_files_and_directories_go_on_after_a_kill(server):
    before = {pid for pid, _ in keepers(None)}
    mount = Mount("s3://data", server.endpoint, "--survive")
    with mount:
        file = within(20, open, mount.path("big"), "rb", 0)
        inode = os.fstat(file.fileno()).st_ino
        names = within(20, os.scandir, mount.path("many"))
        seen = [next(names).name for _ in range(100)]
        ours = [(pid, environment) for pid, environment in keepers(mount) if pid not in before]
        # It needs nothing of ours, least of all the keys.
        assert len(ours) == 1 and ours[0][1].strip(b"\0") == b""
        for number in range(4):
            mount.kill()
            assert is_mounted(mount.directory)
            mount.start()
            assert "Went on with the mount" in mount.log
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            offset = number * 5 << 20
            assert within(30, os.pread, file.fileno(), 1 << 20, offset) == generated(1 << 20, 5, offset)
            assert os.fstat(file.fileno()).st_ino == inode
        seen += [entry.name for entry in names]
        assert sorted(seen) == [f"{number:03}" for number in range(300)]
        within(20, file.close)
        within(20, names.close)
    assert not is_mounted(mount.directory)
    eventually(lambda: not {pid for pid, _ in keepers(mount)} - before, 60, "the end of the keeper")


def test_readers_wait_for_the_next_process(server):
    mount = Mount("s3://data", server.endpoint, "--survive")
    with mount:
        file = within(20, open, mount.path("big"), "rb", 0)
        mount.kill()
        import threading
        found = []
        reader = threading.Thread(target=lambda: found.append(os.pread(file.fileno(), 4096, 8 << 20)), daemon=True)
        reader.start()
        mount.start()
        reader.join(30)
        assert found == [generated(4096, 5, 8 << 20)]
        within(20, file.close)


def test_another_source_does_not_go_on_with_it(server):
    mount = Mount("s3://data", server.endpoint, "--survive")
    with mount:
        mount.kill()
        done = millrace("mount", "s3://data/many", mount.directory, "--foreground", "--survive", "--endpoint",
                        server.endpoint)
        assert done.returncode != 0 and "another way" in done.stderr and "millrace unmount" in done.stderr
        mount.start()
        assert within(20, mount.read, "many/007") == b"7"


def test_unmount_while_the_process_is_dead(server):
    before = {pid for pid, _ in keepers(None)}
    mount = Mount("s3://data", server.endpoint, "--survive").start()
    try:
        mount.kill()
        millrace("unmount", mount.directory, check=True)
        assert not is_mounted(mount.directory)
        eventually(lambda: not {pid for pid, _ in keepers(mount)} - before, 60, "the end of the keeper")
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
