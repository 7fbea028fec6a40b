"""Snapshots: what was mounted stays as it was, whatever happens to the bucket, or reads as ESTALE."""

import errno
import os

import pytest

from harness import Embedded, Mount, generated, millrace, within
from harness.servers import ceph, moto

SIZE = 300_000


def snapshot(source: str, endpoint: str, place, **options) -> str:
    """The snapshot's digest."""
    done = millrace("snapshot", source, "-o", place, "--endpoint", endpoint, check=True, **options)
    return done.stdout.strip()


def fails_stale(path):
    with pytest.raises(OSError) as caught:
        within(20, lambda: path.read_bytes())
    assert caught.value.errno == errno.ESTALE


def lists(server) -> int:
    return sum(entry["operation"] == "list" for entry in server.log())


def test_C11_a_pinned_mount_shows_what_was_there(embedded, tmp_path):
    for name in ("same", "replaced", "deleted", "dir/deep/file", "dir/other"):
        embedded.put_generated(name, SIZE, 1)
    manifest = tmp_path / "manifest"
    snapshot("s3://data", embedded.endpoint, manifest)
    embedded.put_generated("replaced", SIZE, 2)
    embedded.delete("deleted")
    embedded.put_generated("added", SIZE, 1)
    embedded.put_generated("dir/new/file", SIZE, 1)
    embedded.clear_log()

    with Mount("s3://data", embedded.endpoint, "--revision", str(manifest)) as mount:
        found = sorted(
            os.path.relpath(os.path.join(top, name), mount.directory)
            for top, _, names in os.walk(mount.directory) for name in names)
        assert found == ["deleted", "dir/deep/file", "dir/other", "replaced", "same"]
        assert mount.read("same") == generated(SIZE, 1)
        assert mount.read("dir/deep/file") == generated(SIZE, 1)
        assert os.stat(mount.path("deleted")).st_size == SIZE
        fails_stale(mount.path("replaced"))
        fails_stale(mount.path("deleted"))
        fails_stale(mount.path("replaced"))
        assert not os.path.exists(mount.path("added"))
        assert not os.path.exists(mount.path("dir/new"))
        # Nothing was listed: names come from the manifest alone.
        assert lists(embedded) == 0
        assert not [entry for entry in embedded.log() if entry["operation"] == "head"]


def test_an_object_replaced_while_it_is_read_is_never_mixed(embedded, tmp_path):
    size = 40_000_000
    embedded.put_generated("big", size, 1)
    snapshot("s3://data", embedded.endpoint, tmp_path / "m")
    with Mount("s3://data", embedded.endpoint, "--revision", str(tmp_path / "m"), "--memory", "16M",
               "--read-ahead", "1M") as mount:
        with open(mount.path("big"), "rb", buffering=0) as file:
            assert file.read(1000) == generated(1000, 1)
            embedded.put_generated("big", size, 2)
            content, expected = b"", generated(size, 1)
            with pytest.raises(OSError) as caught:
                while True:
                    piece = within(20, file.read, 1 << 20)
                    content += piece
                    assert piece, "the end was reached"
            assert caught.value.errno == errno.ESTALE
            assert content == expected[1000:1000 + len(content)]


def test_two_revisions_side_by_side(embedded, tmp_path):
    embedded.put("file", b"first", etag="one")
    first = snapshot("s3://data", embedded.endpoint, tmp_path / "1")
    assert snapshot("s3://data", embedded.endpoint, tmp_path / "1b") == first
    embedded.put("file", b"second", etag="two")
    assert snapshot("s3://data", embedded.endpoint, tmp_path / "2") != first
    with Mount("s3://data", embedded.endpoint, "--revision", str(tmp_path / "1")) as old:
        with Mount("s3://data", embedded.endpoint, "--revision", str(tmp_path / "2")) as new:
            assert new.read("file") == b"second"
            assert os.stat(old.path("file")).st_size == 5
            fails_stale(old.path("file"))


def test_a_manifest_in_the_bucket_and_a_directory_of_it(embedded):
    for name in ("a/x", "a/b/y", "c"):
        embedded.put_generated(name, 1000, 1)
    snapshot("s3://data", embedded.endpoint, "s3://data/.millrace/revisions/me/r1.manifest")
    embedded.clear_log()
    with Mount("s3://data/a", embedded.endpoint, "--revision", "s3://data/.millrace/revisions/me/r1.manifest") as mount:
        assert sorted(os.listdir(mount.directory)) == ["b", "x"]
        assert mount.read("b/y") == generated(1000, 1)
        assert lists(embedded) == 0
    again = millrace(
        "snapshot", "s3://data", "-o", "s3://data/.millrace/revisions/me/r1.manifest", "--endpoint", embedded.endpoint)
    assert again.returncode == 1 and "there is such an object already" in again.stderr


def test_a_large_listing_is_split_and_complete(embedded, tmp_path):
    rows = [(b"part-%06d/f" % index, 10, index) for index in range(30_000)]
    for start in range(0, len(rows), 5000):
        embedded.put_many(rows[start:start + 5000])
    embedded.clear_log()
    snapshot("s3://data", embedded.endpoint, tmp_path / "m", seconds=120)
    assert lists(embedded) <= 50
    assert (tmp_path / "m").stat().st_size < 30_000 * 40
    with Mount("s3://data", embedded.endpoint, "--revision", str(tmp_path / "m")) as mount:
        assert len(os.listdir(mount.directory)) == 30_000
        assert mount.read("part-012345/f") == generated(10, 12345)


@pytest.mark.parametrize("make", [moto, ceph])
def test_C11_a_versioned_bucket_gives_the_old_bytes(make, tmp_path):
    try:
        server = make()
    except FileNotFoundError as error:
        pytest.skip(f"{make.__name__} can't run here: {error}")
    try:
        client = server.client()
        client.put_object(Bucket=server.bucket, Key="before", Body=b"not versioned")
        client.put_bucket_versioning(Bucket=server.bucket, VersioningConfiguration={"Status": "Enabled"})
        for key in ("same", "replaced", "deleted", "dir/x"):
            client.put_object(Bucket=server.bucket, Key=key, Body=b"old " + key.encode())
        client.put_object(Bucket=server.bucket, Key="gone-before", Body=b"x")
        client.delete_object(Bucket=server.bucket, Key="gone-before")
        snapshot(f"s3://{server.bucket}", server.endpoint, tmp_path / "m", environment=server.environment)
        client.put_object(Bucket=server.bucket, Key="replaced", Body=b"new and longer")
        client.delete_object(Bucket=server.bucket, Key="deleted")
        with Mount(f"s3://{server.bucket}", server.endpoint, "--revision", str(tmp_path / "m"),
                   environment=server.environment) as mount:
            assert sorted(os.listdir(mount.directory)) == ["before", "deleted", "dir", "replaced", "same"]
            for key in ("same", "replaced", "deleted", "dir/x"):
                assert mount.read(key) == b"old " + key.encode()
            assert mount.read("before") == b"not versioned"
    finally:
        server.stop()


@pytest.mark.parametrize("content, words", [
    (b"", "no manifest"), (b"x" * 200, "no manifest"), (b"MRMANIF\x09" + b"\0" * 100, "format 9"),
])
def test_a_damaged_manifest_is_refused(embedded, tmp_path, content, words):
    (tmp_path / "m").write_bytes(content)
    (tmp_path / "mnt").mkdir()
    done = millrace("mount", "s3://data", tmp_path / "mnt", "--endpoint", embedded.endpoint, "--revision", tmp_path / "m")
    assert done.returncode == 1 and words in done.stderr and "fix:" in done.stderr


def test_a_manifest_of_another_bucket_is_refused(embedded, tmp_path):
    embedded.put("a/x", b"1")
    snapshot("s3://data/a", embedded.endpoint, tmp_path / "m")
    (tmp_path / "mnt").mkdir()
    for source in ("s3://data", "s3://other/a"):
        done = millrace("mount", source, tmp_path / "mnt", "--endpoint", embedded.endpoint, "--revision", tmp_path / "m")
        assert done.returncode == 1 and "is a snapshot of s3://data/a/" in done.stderr


def test_a_snapshot_that_fails_leaves_nothing(embedded, tmp_path):
    embedded.put("x", b"1")
    done = millrace("snapshot", "s3://nothing-here", "-o", tmp_path / "m", "--endpoint", embedded.endpoint)
    assert done.returncode == 1 and "no bucket" in done.stderr
    assert not list(tmp_path.iterdir())


def test_V9_a_pachyderm_commit_is_a_bucket():
    """The gateway's names of buckets, a session's token for both keys, ETags that are no MD5."""
    token = "pach-session-token"
    with Embedded(bucket="0123abcd.master.images.default") as gateway:
        gateway.credentials(token, token)
        gateway.put("train/1.png", b"one", etag="b1946ac92492d2347c6235b4d2611184f00ba8bc2f3a")
        keys = {"AWS_ACCESS_KEY_ID": token, "AWS_SECRET_ACCESS_KEY": token}
        with Mount(f"s3://{gateway.bucket}/train", gateway.endpoint, "--immutable", environment=keys) as mount:
            assert os.listdir(mount.directory) == ["1.png"]
            assert mount.read("1.png") == b"one"
        gets = [entry for entry in gateway.log() if entry["operation"] == "get"]
        assert gets[-1]["ifMatch"] == '"b1946ac92492d2347c6235b4d2611184f00ba8bc2f3a"' and gets[-1]["status"] == 206
