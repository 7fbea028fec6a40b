"""The server misbehaves: each fault ends in the right bytes or the right errno within its deadline, never in wrong
bytes or a hang."""

import errno
import os
import subprocess
import time

import pytest

from harness import HOSTILE, Embedded, Mount, eventually, generated, within

SIZE = 3_000_001
# Requests are given up after --request-timeout; the kernel asks twice (docs/mount.md); the rest is for slow machines.
REQUEST_TIMEOUT_S = 8
DEADLINE_S = 2 * REQUEST_TIMEOUT_S + 30


@pytest.fixture(scope="module")
def module_mount(shared_embedded):
    with Mount("s3://data", shared_embedded.endpoint, "--metadata-ttl", "200ms",
               "--request-timeout", f"{REQUEST_TIMEOUT_S}s") as mount:
        yield mount


@pytest.fixture
def mounted(shared_embedded, module_mount):
    """The same mount for all tests; one that died fails the test that it died in, and no other."""
    shared_embedded.clear_faults()
    yield module_mount
    if module_mount.process.poll() is not None:
        log = module_mount.log[-3000:]
        module_mount.start()
        pytest.fail(f"the daemon died:\n{log}")


def put(server, mount, name, size=SIZE):
    server.put_generated(name, size, len(name))
    see(mount, name)
    return lambda content: content == generated(size, len(name))


def see(mount, name):
    """Waits until the mount knows of a new object: for the TTL it trusts that there was none."""
    eventually(lambda: mount.path(name).exists(), 20, f"{name} in the mount")


# Faults that pass: count of requests they hit, and what they do.
PASSING = {
    "500-twice": dict(count=2, status=500, code="InternalError"),
    "503-storm": dict(count=6, status=503, code="SlowDown"),
    "503-with-html": dict(count=2, status=503, body="<html>busy</html>"),
    "reset-before-the-answer": dict(count=2, resetAfter=-1),
    "reset-in-the-body": dict(count=2, resetAfter=100_000),
    "truncated": dict(count=2, truncateAfter=65_537),
    "truncated-at-once": dict(count=2, truncateAfter=0),
    "stalled": dict(count=1, stallAfter=200_000),
    "silent": dict(count=1, isSilent=True),
    "slow-drip": dict(count=1, bytesPerSecond=600_000),
    "late": dict(count=2, delayMs=1500),
    "range-ignored": dict(count=1, ignoresRange=True),
    "oversized": dict(count=1, extraBytes=10_000),
    "expired-token": dict(count=1, status=400, code="ExpiredToken", message="The provided token has expired."),
    "skewed-clock": dict(count=1, status=403, code="RequestTimeTooSkewed"),
    "redirected-here": dict(count=1, status=307, code="TemporaryRedirect", location="self"),
}


@pytest.mark.parametrize("name", PASSING)
def test_a_fault_that_passes_gives_the_right_bytes(shared_embedded, mounted, name):
    is_right = put(shared_embedded, mounted, name)
    shared_embedded.fault(operation="get", key=name, **PASSING[name])
    content = within(DEADLINE_S, mounted.read, name)
    assert len(content) == SIZE
    same = is_right(content)
    assert same, "wrong bytes"
    assert [entry for entry in shared_embedded.log() if entry["key"] == name and entry["operation"] == "get"]


# Faults that stay, and the errors that programs may see.
LASTING = {
    "500-forever": (dict(status=500, code="InternalError"), {errno.EIO}),
    "503-forever": (dict(status=503, code="SlowDown"), {errno.EIO, errno.EAGAIN}),
    "silent-forever": (dict(isSilent=True), {errno.EIO, errno.ETIMEDOUT}),
    "resets-forever": (dict(resetAfter=-1), {errno.EIO}),
    "truncated-forever": (dict(truncateAfter=0), {errno.EIO}),
    "redirect-loop": (dict(status=307, code="TemporaryRedirect", location="self"), {errno.EIO}),
    "denied": (dict(status=403, code="AccessDenied"), {errno.EACCES}),
    "kms-denied": (dict(status=400, code="KMS.DisabledException"), {errno.EACCES}),
    "gone": (dict(status=404, code="NoSuchKey"), {errno.ESTALE, errno.ENOENT}),
    "archived": (dict(status=403, code="InvalidObjectState"), {errno.EACCES}),
    "wrong-etag": (dict(etag="0000"), {errno.ESTALE}),
    "no-sense": (dict(status=200, body="<html>sign in</html>"), {errno.EIO, errno.ESTALE}),
}


@pytest.mark.parametrize("name", LASTING)
def test_a_fault_that_stays_gives_the_right_errno(shared_embedded, mounted, name):
    fields, expected = LASTING[name]
    # Small, as a request's deadline grows with its bytes.
    is_right = put(shared_embedded, mounted, name, 20_001)
    shared_embedded.fault(operation="get", key=name, count=-1, **fields)
    start = time.monotonic()
    with pytest.raises(OSError) as caught:
        within(DEADLINE_S, mounted.read, name)
    assert caught.value.errno in expected, caught.value
    print(f"{errno.errorcode[caught.value.errno]} after {time.monotonic() - start:.1f} s")
    shared_embedded.clear_faults()

    def is_back():
        try:
            return is_right(mounted.read(name))
        except OSError:
            return False

    within(60, eventually, is_back, 50, "the file after the fault")


def test_one_bad_key_never_breaks_a_directory(shared_embedded, mounted):
    shared_embedded.put("dir/denied", b"x", denied=1)
    shared_embedded.put("dir/frozen", b"x", storage_class="GLACIER")
    shared_embedded.put("dir/good", b"good")
    see(mounted, "dir/good")
    assert sorted(within(20, os.listdir, mounted.path("dir"))) == ["denied", "frozen", "good"]
    assert within(20, mounted.read, "dir/good") == b"good"
    for name in ("denied", "frozen"):
        with pytest.raises(OSError) as caught:
            within(DEADLINE_S, mounted.read, f"dir/{name}")
        assert caught.value.errno in (errno.EACCES, errno.EPERM, errno.EIO), caught.value


def test_gone_between_list_and_open(shared_embedded, mounted):
    shared_embedded.put("brief/file", b"x")
    see(mounted, "brief/file")
    assert within(20, os.listdir, mounted.path("brief")) == ["file"]
    shared_embedded.delete("brief/file")

    def read():
        try:
            mounted.read("brief/file")
        except OSError as error:
            assert error.errno in (errno.ENOENT, errno.ESTALE), error
            return True
        return False

    within(DEADLINE_S, eventually, read, 30, "the end of the file")


@pytest.mark.parametrize("fault", [
    dict(status=500, code="InternalError", count=3), dict(status=503, code="SlowDown", count=4),
    dict(resetAfter=50, count=2), dict(truncateAfter=100, count=2), dict(hostile="truncated", count=1),
    dict(isSilent=True, count=1)], ids=lambda fault: "-".join(map(str, fault.values())))
def test_a_listing_recovers(shared_embedded, mounted, fault):
    folder = "list-" + "-".join(map(str, fault.values()))
    for index in range(10):
        shared_embedded.put(f"{folder}/{index}", b"x")
    see(mounted, folder)
    shared_embedded.fault(operation="list", key=f"{folder}/", **fault)
    assert len(within(DEADLINE_S, os.listdir, mounted.path(folder))) == 10


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_listings(shared_embedded, mounted, kind):
    folder = f"hostile-{kind}"
    shared_embedded.put(f"{folder}/file", b"x")
    see(mounted, folder)
    shared_embedded.fault(operation="list", key=f"{folder}/", count=-1, hostile=kind)
    try:
        names = within(DEADLINE_S, os.listdir, mounted.path(folder))
        assert not any("root:" in name or len(name) > 255 for name in names), names
        assert len(names) <= 2
    except OSError as error:
        assert error.errno == errno.EIO, error
    assert mounted.resident_bytes < 400 << 20
    shared_embedded.clear_faults()

    def is_back():
        try:
            return os.listdir(mounted.path(folder)) == ["file"]
        except OSError:
            return False

    within(DEADLINE_S, eventually, is_back, 30, "the listing after the fault")


def test_nobody_waits_for_those_who_wait(embedded):
    """More requests than the mount has threads get no answer from S3; all others are served as ever."""
    names = [f"stuck/{index}" for index in range(30)]
    embedded.put("good/file", b"good")
    for index, name in enumerate(names):
        embedded.put_generated(name, 100_000, index)
    with Mount("s3://data", embedded.endpoint, "--request-timeout", "60s") as mount:
        assert len(within(20, os.listdir, mount.path("stuck"))) == len(names)
        for name in names:
            embedded.fault(operation="get", key=name, count=-1, isSilent=True)
        waiting = [subprocess.Popen(["cat", mount.path(name)], stdout=subprocess.DEVNULL) for name in names]
        try:
            eventually(lambda: {entry["key"] for entry in embedded.log() if entry["operation"] == "get"} >= set(names), 30,
                       "a request for each")
            assert within(5, mount.read, "good/file") == b"good"
            assert within(5, os.listdir, mount.path("good")) == ["file"]
            assert within(5, os.statvfs, mount.directory).f_bsize > 0
            assert all(process.poll() is None for process in waiting), "one got an answer"
        finally:
            for process in waiting:
                process.kill()
            for process in waiting:
                process.wait(20)


def test_a_bucket_that_vanishes(embedded):
    embedded.put("file", b"x")
    with Mount("s3://data", embedded.endpoint, "--metadata-ttl", "200ms") as mount:
        assert mount.read("file") == b"x"
        embedded.remove_bucket()

        def fails():
            try:
                os.listdir(mount.directory)
                mount.read("file")
            except OSError as error:
                assert error.errno in (errno.ENOENT, errno.EIO, errno.ESTALE, errno.ENODEV), error
                return True
            return False

        within(DEADLINE_S, eventually, fails, 30, "the error")
        embedded.put("file", b"y")
        within(DEADLINE_S, eventually, lambda: reads(mount, "file") == b"y", 30, "the bucket that is back")


def reads(mount, name):
    try:
        return mount.read(name)
    except OSError:
        return None


@pytest.mark.parametrize("ignored", [False, True], ids=["if-match", "if-match-ignored"])
def test_replaced_while_it_is_read(embedded, ignored):
    """Bytes of two versions never mix: the open file gives the old ones or ESTALE, the next open the new ones."""
    size = 24 << 20
    embedded.put_generated("file", size, 1)
    with Mount("s3://data", embedded.endpoint, "--metadata-ttl", "200ms", "--memory", "32M") as mount:
        with open(mount.path("file"), "rb", buffering=0) as file:
            assert within(20, os.pread, file.fileno(), 100_000, 0) == generated(100_000, 1, 0)
            if ignored:
                embedded.fault(operation="get", count=-1, ignoresIfMatch=True)
            embedded.put_generated("file", size, 2)
            stale = 0
            for offset in range(0, size, 1 << 20):
                try:
                    content = within(DEADLINE_S, os.pread, file.fileno(), 65_536, offset)
                    is_old = content == generated(65_536, 1, offset)
                    assert is_old, f"bytes of another version at {offset}"
                except OSError as error:
                    assert error.errno == errno.ESTALE, error
                    stale += 1
            assert stale > 0

        def is_new():
            content = reads(mount, "file")
            assert content in (None, generated(size, 1), generated(size, 2)) or pytest.fail("mixed versions")
            return content == generated(size, 2)

        within(60, eventually, is_new, 40, "the new version")
