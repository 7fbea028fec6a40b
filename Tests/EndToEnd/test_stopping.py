"""SIGTERM, Ctrl-C, a busy mount, kill -9 and what comes after."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

from harness import Mount, eventually, generated, is_mounted, millrace, within


@pytest.fixture(scope="module")
def server(shared_embedded):
    shared_embedded.put_generated("big", 64 << 20, 5)
    shared_embedded.put("small", b"small")
    return shared_embedded


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_signals_unmount(server, how):
    with Mount("s3://data", server.endpoint) as mount:
        assert mount.read("small") == b"small"
        assert mount.stop(how) == 0
        assert not is_mounted(mount.directory)


def test_sigterm_while_reading(server):
    """Readers get their bytes or an error; nobody hangs."""
    with Mount("s3://data", server.endpoint) as mount:
        results = []

        def reader(seed):
            try:
                with open(mount.path("big"), "rb") as file:
                    offset = 0
                    while chunk := file.read(1 << 20):
                        results.append(chunk == generated(len(chunk), 5, offset))
                        offset += len(chunk)
            except OSError:
                pass

        threads = [threading.Thread(target=reader, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(results) > 4, 20, "some reads")
        mount.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive(), "a reader hangs"
        mount.process.wait(30)
        assert all(results)
        eventually(lambda: not is_mounted(mount.directory), 10, "the unmount")


def test_a_busy_mount_says_who_holds_it(server):
    with Mount("s3://data", server.endpoint) as mount:
        holder = subprocess.Popen(
            [sys.executable, "-c", "import sys; f = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()",
             str(mount.path("small"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert holder.stdout.readline() == "open\n"
            done = millrace("unmount", mount.directory)
            assert done.returncode == 1, done.stdout + done.stderr
            assert str(holder.pid) in done.stderr and "fix:" in done.stderr, done.stderr
            assert is_mounted(mount.directory) and mount.read("small") == b"small"
        finally:
            holder.stdin.close()
            holder.wait(10)


@pytest.mark.parametrize("again", [True, False], ids=["a-second-signal", "patience"])
def test_sigterm_on_a_busy_mount_names_its_user_and_waits(server, again):
    """For ten seconds, or until a second signal comes; then it is detached, and the exit status is 0 all the same."""
    with Mount("s3://data", server.endpoint) as mount:
        holder = subprocess.Popen(["sleep", "60"], cwd=mount.directory)
        try:
            mount.process.send_signal(signal.SIGTERM)
            eventually(lambda: str(holder.pid) in mount.log, 10, "the user's name")
            assert mount.process.poll() is None and is_mounted(mount.directory) and mount.read("small") == b"small"
            if again:
                mount.process.send_signal(signal.SIGTERM)
            assert mount.process.wait(20) == 0
            assert not is_mounted(mount.directory)
        finally:
            holder.kill()
            holder.wait()
        mount.stop = lambda *_: 0  # it has ended


def test_a_busy_mount_ends_when_its_user_leaves(server):
    with Mount("s3://data", server.endpoint) as mount:
        holder = subprocess.Popen(["sleep", "60"], cwd=mount.directory)
        mount.process.send_signal(signal.SIGTERM)
        eventually(lambda: str(holder.pid) in mount.log, 10, "the user's name")
        holder.kill()
        holder.wait()
        assert mount.process.wait(20) == 0 and "Unmounted." in mount.log
        mount.stop = lambda *_: 0


def test_unmount_command_ends_the_foreground_process(server):
    with Mount("s3://data", server.endpoint) as mount:
        millrace("unmount", mount.directory, check=True)
        assert not is_mounted(mount.directory)
        assert mount.process.wait(20) == 0
        mount.stop = lambda *_: 0  # it has ended


def test_umount_from_outside_ends_the_process(server):
    with Mount("s3://data", server.endpoint) as mount:
        subprocess.run(["umount", mount.directory], check=True)
        assert mount.process.wait(20) == 0
        mount.stop = lambda *_: 0


def test_kill_and_mount_again(server):
    """A dead daemon's mount is taken away by the next mount on the same directory."""
    with Mount("s3://data", server.endpoint) as mount:
        for _ in range(3):
            mount.kill()
            if is_mounted(mount.directory):
                with pytest.raises(OSError) as caught:
                    within(20, mount.read, "small")
                assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
            mount.start()
            assert within(20, mount.read, "small") == b"small"
        with open("/proc/self/mountinfo") as table:
            assert sum(str(mount.directory) in line for line in table) == 1, "mounts are stacked"


def test_kill_with_open_files_and_mount_again(server):
    with Mount("s3://data", server.endpoint) as mount:
        file = os.open(mount.path("big"), os.O_RDONLY)
        os.read(file, 100)
        mount.kill()
        mount.start()
        with pytest.raises(OSError):
            within(20, os.pread, file, 100, 32 << 20)
        with contextlib.suppress(OSError):
            os.close(file)
        assert within(20, mount.read, "small") == b"small"


def test_a_silent_server_does_not_hold_up_the_end(embedded):
    embedded.put_generated("slow", 8 << 20, 1)
    with Mount("s3://data", embedded.endpoint) as mount:
        embedded.fault(operation="get", count=-1, isSilent=True)
        failure = []

        def reader():
            try:
                mount.read("slow")
            except OSError as error:
                failure.append(error.errno)

        thread = threading.Thread(target=reader)
        thread.start()
        eventually(lambda: embedded.counts()["requests"] and any(e["operation"] == "get" for e in embedded.log()), 20)
        mount.process.send_signal(signal.SIGTERM)
        thread.join(30)
        assert not thread.is_alive() and failure
        mount.process.wait(30)


@pytest.mark.parametrize("program", [
    ["cat", "{}/slow"], ["ls", "-l", "{}/dir"], ["stat", "{}/dir/file"]], ids=lambda program: program[0])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_program_that_waits_ends_when_it_is_told_to(embedded, program, how):
    """Ctrl-C in front of a server that doesn't answer, long before the request is given up."""
    embedded.put_generated("slow", 8 << 20, 1)
    embedded.put("dir/file", b"x")
    with Mount("s3://data", embedded.endpoint, "--request-timeout", "60s") as mount:
        embedded.clear_log()
        operation = "get" if program[0] == "cat" else "list"
        embedded.fault(operation=operation, count=-1, isSilent=True)
        waiting = subprocess.Popen([word.format(mount.directory) for word in program], stdout=subprocess.DEVNULL)
        try:
            eventually(lambda: any(entry["operation"] == operation for entry in embedded.log()), 20, "the request")
            waiting.send_signal(how)
            assert waiting.wait(10) == -how
        finally:
            waiting.kill()
        embedded.clear_faults()
        assert within(20, mount.read, "dir/file") == b"x"
