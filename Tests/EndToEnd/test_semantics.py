"""docs/semantics.md through a real mount: odd keys, and what S3 says no to."""

import errno
import os
import re
import subprocess
import urllib.request

import pytest

from harness import Embedded, Mount, eventually, generated, within
from harness.servers import free_port

ODD = [
    "new\nline", "tab\tand\x01control\x7f", "🦆🌊", "e\u0301", "é", "back\\slash", "quote\"'", " ", "*?[", "-rf", "...",
    "x" * 255, "%2F%25", "a+b=c&d", "trailing.", "&lt;", "Case", "case",
]


@pytest.fixture(scope="module")
def mount(shared_embedded):
    address = f"127.0.0.1:{free_port()}"
    with Mount("s3://data", shared_embedded.endpoint, "--metadata-ttl", "100ms", "--metrics", address) as mount:
        mount.metrics = f"http://{address}/metrics"
        yield mount


def hidden(mount) -> int:
    """Names that the mount could not show so far."""
    with urllib.request.urlopen(mount.metrics, timeout=20) as answer:
        return int(re.search(r"^millrace_namespace_hidden_total (\d+)", answer.read().decode(), re.M).group(1))


def listed(mount, path: str) -> list:
    """Names in a directory, once it is there: that it was not is believed for the time to live."""
    eventually(lambda: os.path.exists(mount.path(path)))
    return sorted(within(60, os.listdir, mount.path(path)))


def test_odd_names_are_listed_and_read(mount, shared_embedded):
    for name in ODD:
        shared_embedded.put(f"odd/{name}", name.encode())
    assert listed(mount, "odd") == sorted(ODD)
    for name in ODD:
        assert within(20, mount.read, f"odd/{name}") == name.encode()
        assert os.stat(mount.path(f"odd/{name}")).st_size == len(name.encode())


def test_names_that_are_no_text_are_listed_and_read(mount, shared_embedded):
    names = [b"\xff\xfe", b"latin-\xe9", b"cut-\xf0\x9f\xa6", b"\x80"]
    for name in names:
        shared_embedded.put(b"bytes/" + name, name)
    eventually(lambda: os.path.exists(mount.path("bytes")))
    assert sorted(within(60, os.listdir, mount.path(b"bytes"))) == sorted(names)
    for name in names:
        assert within(20, mount.read, b"bytes/" + name) == name


def test_a_directory_hides_a_file_of_its_name(mount, shared_embedded):
    shared_embedded.put("both/a", b"hidden")
    shared_embedded.put("both/a.txt", b"between")
    shared_embedded.put("both/a/b", b"shown")
    assert listed(mount, "both") == ["a", "a.txt"]
    assert listed(mount, "both/a") == ["b"]
    assert mount.read("both/a/b") == b"shown"
    shared_embedded.delete("both/a/b")
    assert eventually(lambda: os.path.isfile(mount.path("both/a")) and mount.read("both/a") == b"hidden")


def test_markers_are_directories(mount, shared_embedded):
    shared_embedded.put("markers/empty/", b"")
    shared_embedded.put("markers/content/", b"nobody can read this")
    assert listed(mount, "markers") == ["content", "empty"]
    assert listed(mount, "markers/empty") == [] and listed(mount, "markers/content") == []
    assert os.path.isdir(mount.path("markers/content"))


def test_keys_that_cannot_be_shown_break_nothing(mount, shared_embedded):
    before = hidden(mount)
    for key in ["bad//x", "bad/./x", "bad/../x", "bad/" + "n" * 256, "bad/good", "bad/sub//x", "bad/sub/ok"]:
        shared_embedded.put(key, b"1")
    assert listed(mount, "bad") == ["good", "sub"]
    assert listed(mount, "bad/sub") == ["ok"]
    with pytest.raises(OSError) as error:
        os.stat(mount.path("bad/" + "n" * 256))
    assert error.value.errno == errno.ENAMETOOLONG
    assert hidden(mount) >= before + 4
    assert "bad/./" in mount.log and "n" * 256 in mount.log


def test_an_empty_object_and_one_of_5_tebibytes(mount, shared_embedded):
    size = 5 << 40
    shared_embedded.put("sizes/empty", b"")
    shared_embedded.put_generated("sizes/huge", size, 5)
    assert listed(mount, "sizes") == ["empty", "huge"]
    assert mount.read("sizes/empty") == b""
    assert os.stat(mount.path("sizes/huge")).st_size == size
    with open(mount.path("sizes/huge"), "rb") as file:
        for offset in (0, size // 2 + 12345, size - 4096):
            assert within(30, os.pread, file.fileno(), 4096, offset) == generated(4096, 5, offset)


def test_a_tree_of_many_levels(mount, shared_embedded):
    path = "/".join(["d"] * 1000)
    shared_embedded.put(f"{path}/leaf", b"deep")
    eventually(lambda: os.path.exists(mount.path("d")))
    assert within(120, mount.read, f"{path}/leaf") == b"deep"
    found = subprocess.run(["find", mount.path("d"), "-type", "d"], capture_output=True, text=True, timeout=120, check=True)
    assert len(found.stdout.splitlines()) == 1000


def test_archived_objects_cannot_be_opened(mount, shared_embedded):
    shared_embedded.put("glacier/cold", b"x", storage_class="GLACIER")
    shared_embedded.put("glacier/warm", b"y")
    assert listed(mount, "glacier") == ["cold", "warm"]
    with pytest.raises(PermissionError):
        mount.read("glacier/cold")
    assert mount.read("glacier/warm") == b"y"


def test_a_denied_object_leaves_its_directory_alone(mount, shared_embedded):
    shared_embedded.put("denied/secret", b"x", denied="true")
    shared_embedded.put("denied/open", b"y")
    assert listed(mount, "denied") == ["open", "secret"]
    with pytest.raises(PermissionError):
        mount.read("denied/secret")
    assert mount.read("denied/open") == b"y"


def test_who_may_not_list_may_read(embedded):
    """A policy with s3:GetObject and no s3:ListBucket, set after the mount was made."""
    embedded.put("file", b"content")
    embedded.put("other", b"x")
    with Mount("s3://data", embedded.endpoint, "--metadata-ttl", "100ms") as mount:
        embedded.fault(operation="list", count=-1, status=403, code="AccessDenied")

        def is_denied():
            try:
                os.listdir(mount.directory)
            except PermissionError:
                return True

        eventually(is_denied)
        assert within(30, mount.read, "file") == b"content"
        with pytest.raises(FileNotFoundError):
            within(30, mount.read, "none")
        embedded.clear_faults()
        eventually(lambda: sorted(lists(mount, "") or []) == ["file", "other"])


def lists(mount, name: str) -> list[str] | None:
    try:
        return os.listdir(mount.path(name))
    except OSError:
        return None


def test_an_object_that_goes_and_one_that_is_replaced(mount, shared_embedded):
    shared_embedded.put("change/gone", b"x")
    shared_embedded.put("change/replaced", b"old")
    assert listed(mount, "change") == ["gone", "replaced"]
    assert mount.read("change/replaced") == b"old"
    before = os.stat(mount.path("change/replaced")).st_ino
    shared_embedded.delete("change/gone")
    shared_embedded.put("change/replaced", b"newer")

    def is_gone():
        try:
            mount.read("change/gone")
        except OSError as error:
            # Opened while it was believed to be there, and read when it no longer was.
            assert error.errno in (errno.ENOENT, errno.ESTALE)
            return error.errno == errno.ENOENT

    def is_new():
        try:
            return mount.read("change/replaced") == b"newer"
        except OSError as error:
            assert error.errno == errno.ESTALE
            return False

    assert eventually(is_gone) and eventually(is_new)
    assert os.stat(mount.path("change/replaced")).st_ino != before
    assert listed(mount, "change") == ["replaced"]


def test_100000_entries_are_listed_with_few_requests(mount, shared_embedded):
    shared_embedded.put_many([(b"many/f%06d" % i, 10, i) for i in range(100_000)])
    eventually(lambda: os.path.exists(mount.path("many")))
    shared_embedded.clear_log()
    names = within(120, os.listdir, mount.path("many"))
    assert len(names) == 100_000 and len(set(names)) == 100_000
    assert shared_embedded.counts()["requests"] <= 135


def test_find_lists_flat(shared_embedded):
    shared_embedded.put_many([(b"tree/d%03d/f%04d" % (d, f), 10, f) for d in range(100) for f in range(300)])
    with Mount("s3://data/tree", shared_embedded.endpoint, "--metadata-ttl", "100ms") as mount:
        shared_embedded.clear_log()
        files = within(120, lambda: sum(len(names) for _, _, names in os.walk(mount.path())))
        assert files == 30_000
        assert shared_embedded.counts()["requests"] <= 60


def test_a_bucket_that_vanishes_is_an_error(embedded: Embedded):
    embedded.put("dir/a", b"x")
    with Mount("s3://data", embedded.endpoint, "--metadata-ttl", "100ms") as mount:
        assert listed(mount, "dir") == ["a"]
        embedded.remove_bucket()

        def fails_with() -> int | None:
            try:
                os.listdir(mount.path("dir"))
            except OSError as error:
                return error.errno

        assert eventually(fails_with) == errno.EIO
        embedded.create_bucket()
        embedded.put("dir/b", b"y")
        assert eventually(lambda: not fails_with() and listed(mount, "dir") == ["b"])
