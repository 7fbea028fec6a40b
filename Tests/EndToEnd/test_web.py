"""Files of a real web server, with ranges and without."""

import errno
import os
import threading

import pytest

from harness import Mount, eventually, generated, millrace, within, Web

SIZE = 3_000_000
# More than the kernel and the cache have ahead of a reader at once.
BIG = 60_000_000


@pytest.fixture
def web():
    with Web() as server:
        yield server


def bodies(web, path) -> list[list[str]]:
    """The GETs of a file that were answered with bytes of it."""
    return [line for line in web.requests() if line[0] == "GET" and line[1] == path and line[2] in ("200", "206")]


@pytest.mark.parametrize("location", ["files", "json"])
def test_an_index_is_a_directory(web, location):
    names = ["a.bin", "b c/deep/ü.txt", "b c/x&y", "empty", "100%"]
    for index, name in enumerate(names):
        web.put(name, generated(1000 * index, index))
    with Mount(web.url(f"{location}/"), None) as mount:
        found = sorted(
            os.path.relpath(os.path.join(top, name), mount.directory)
            for top, _, files in os.walk(mount.directory) for name in files)
        assert found == sorted(names)
        for index, name in enumerate(names):
            assert os.stat(mount.path(name)).st_size == 1000 * index
            assert mount.read(name) == generated(1000 * index, index)
        assert not os.path.exists(mount.path("none"))


def test_only_what_is_read_is_asked_for(web):
    web.put("big", generated(20_000_000, 1))
    with Mount(web.url("files/"), None, "--read-ahead", "1M") as mount:
        with open(mount.path("big"), "rb", buffering=0) as file:
            file.seek(10_000_000)
            assert file.read(100) == generated(20_000_000, 1)[10_000_000:10_000_100]
        assert all(line[2] == "206" for line in bodies(web, "/files/big"))


def test_without_ranges_a_file_is_fetched_once(web):
    web.put("big", generated(SIZE, 1))
    with Mount(web.url("whole/"), None) as mount:
        contents: list[bytes] = []
        threads = [threading.Thread(target=lambda: contents.append(mount.read("big"))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert contents == [generated(SIZE, 1)] * 4
        whole = [line for line in bodies(web, "/whole/big") if int(line[3]) >= SIZE]
        assert len(whole) == 1, web.requests()


@pytest.mark.parametrize("location", ["files", "json", "whole"])
def test_a_changed_file_is_stale_and_then_new(web, location):
    web.put("file", generated(BIG, 1))
    os.utime(web.root / "file", (1_600_000_000, 1_600_000_000))
    with Mount(web.url(f"{location}/"), None, "--memory", "16M", "--read-ahead", "256K", "--metadata-ttl", "100ms") as mount:
        with open(mount.path("file"), "rb", buffering=0) as file:
            assert file.read(1000) == generated(BIG, 1)[:1000]
            web.put("file", generated(BIG, 2))
            content = b""
            try:
                while piece := within(20, file.read, 1 << 18):
                    content += piece
            except OSError as error:
                assert error.errno == errno.ESTALE
            # What was read ahead, or kept whole, is of the old version; nothing is mixed.
            assert content == generated(BIG, 1)[1000:1000 + len(content)]
            if location != "whole":
                assert len(content) < BIG - 1000

        def is_new():
            try:
                return mount.read("file") == generated(BIG, 2)
            except OSError as error:
                assert error.errno == errno.ESTALE
                return False

        eventually(is_new, 30, "the new version")


def test_a_list_of_urls(web):
    web.put("a/one.bin", generated(5000, 1))
    web.put("b/two.bin", generated(6000, 2))
    web.put("list.txt", b"# two files\na/one.bin\n" + web.url("files/b/two.bin").encode() + b"  sub/renamed.bin\n")
    with Mount(web.url("files/list.txt"), None) as mount:
        assert sorted(os.listdir(mount.directory)) == ["one.bin", "sub"]
        assert mount.read("one.bin") == generated(5000, 1)
        assert mount.read("sub/renamed.bin") == generated(6000, 2)


def test_C4_basic_authentication(web, tmp_path):
    web.put("secret", b"for friends")
    (tmp_path / "mnt").mkdir()
    refused = millrace("mount", web.url("private/"), tmp_path / "mnt")
    assert refused.returncode == 1 and "access denied" in refused.stderr and "fix:" in refused.stderr
    keys = {"MILLRACE_HTTP_USER": "user", "MILLRACE_HTTP_PASSWORD": "word"}
    with Mount(web.url("private/"), None, environment=keys) as mount:
        assert mount.read("secret") == b"for friends"
        assert "word" not in " ".join(mount.command)
    (tmp_path / "headers").write_text("Authorization: Basic dXNlcjp3b3Jk\n")
    with Mount(web.url("private/"), None, "--headers", str(tmp_path / "headers")) as mount:
        assert mount.read("secret") == b"for friends"


def test_a_server_that_goes_away_and_comes_back_is_an_error_in_between():
    with Web() as web:
        web.put("file", generated(BIG, 1))
        with Mount(web.url("files/"), None, "--request-timeout", "2s", "--read-ahead", "256K", "--memory", "16M") as mount:
            with open(mount.path("file"), "rb", buffering=0) as file:
                assert file.read(10) == generated(BIG, 1)[:10]
                web.process.terminate()
                web.process.wait(20)
                file.seek(BIG - 1000)
                with pytest.raises(OSError) as caught:
                    within(60, file.read, 100)
                assert caught.value.errno == errno.EIO


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://user:word@127.0.0.1/", "http://127.0.0.1:1/list"])
def test_what_cannot_be_mounted_is_told(tmp_path, url):
    (tmp_path / "mnt").mkdir()
    done = millrace("mount", url, tmp_path / "mnt", seconds=60)
    assert done.returncode == 1 and "fix:" in done.stderr and "user:word" not in done.stderr and "word@" not in done.stderr
