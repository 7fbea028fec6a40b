"""The same suite over every real S3 server, and ours in path and virtual-host style."""

import errno
import os
import random
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import Embedded, Mount, eventually, generated, is_mounted, millrace, servers, within

FILES = {
    "README.txt": b"hello from the bucket\n",
    "empty": b"",
    "tree/big.bin": generated(5 * 1024 * 1024 + 3, 1),
    "tree/deep/er/leaf": b"leaf",
    "names/sp ace": b"1",
    "names/plus+and&per%25cent=?#": b"2",
    "names/ünï\u2013日本🙂": b"3",
    "names/quote'\"<>": b"4",
    **{f"many/{index:04}": b"%d" % index for index in range(60)},
}


def of_embedded(style: str) -> servers.Server:
    embedded = Embedded()
    embedded.credentials(servers.ACCESS_KEY, servers.SECRET_KEY)
    server = servers.Server(f"embedded-{style}", embedded.endpoint)
    server.embedded = embedded
    if style == "virtual":
        server.mount_endpoint = embedded.virtual_endpoint
        server.mount_options = ["--virtual-host-style"]
    server.stop = embedded.stop
    embedded.create_bucket()
    return server


def of_ceph() -> servers.Server:
    if not shutil.which("radosgw"):
        pytest.skip("Ceph's radosgw is not installed (scripts/setup test installs it)")
    return servers.ceph()


MAKERS = {
    "embedded-path": lambda: of_embedded("path"),
    "embedded-virtual": lambda: of_embedded("virtual"),
    "rclone": servers.rclone,
    "rclone-https": lambda: servers.rclone(tls=True),
    "moto": servers.moto,
    "ceph": of_ceph,
}


@pytest.fixture(scope="module", params=MAKERS)
def server(request):
    made = MAKERS[request.param]()
    try:
        made.client()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda item: made.put(*item), FILES.items()))
        yield made
    finally:
        made.stop()


def mounted(server, *options, source=None):
    endpoint = getattr(server, "mount_endpoint", server.endpoint)
    return Mount(source or f"s3://{server.bucket}", endpoint, *server.mount_options, *options,
                 environment=server.environment)


@pytest.fixture(scope="module")
def mount(server):
    with mounted(server) as mount:
        yield mount


def tree(directory) -> set[str]:
    return {os.path.relpath(os.path.join(folder, name), directory)
            for folder, _, names in os.walk(directory) for name in names}


def test_every_name_is_listed(mount):
    assert within(60, tree, mount.directory) == set(FILES)


def test_every_byte_is_right(mount):
    for name, content in FILES.items():
        assert within(30, mount.read, name) == content, name


def test_stat(mount):
    for name, content in FILES.items():
        status = within(20, os.stat, mount.path(name))
        assert status.st_size == len(content), name
        assert status.st_mode == 0o100444, oct(status.st_mode)
        assert abs(status.st_mtime - time.time()) < 3600
    assert os.stat(mount.path("tree")).st_mode == 0o040555


def test_random_reads(mount):
    content = FILES["tree/big.bin"]
    choice = random.Random(7)
    with open(mount.path("tree/big.bin"), "rb", buffering=0) as file:
        for _ in range(100):
            offset = choice.randrange(len(content))
            size = choice.choice([1, 10, 4096, 100_000, 1_000_000])
            assert within(20, os.pread, file.fileno(), size, offset) == content[offset:offset + size]
        assert os.pread(file.fileno(), 10, len(content)) == b""


def test_what_is_not_there(mount):
    for name in ("none", "tree/none", "README.txt/x"):
        with pytest.raises(OSError) as caught:
            within(20, os.stat, mount.path(name))
        assert caught.value.errno in (errno.ENOENT, errno.ENOTDIR)


def test_nothing_can_be_written(mount):
    with pytest.raises(OSError) as caught:
        within(20, open, mount.path("new"), "w")
    assert caught.value.errno in (errno.EROFS, errno.EACCES)
    for change in (os.unlink, os.truncate):
        with pytest.raises(OSError):
            within(20, change, mount.path("README.txt"), *([0] if change is os.truncate else []))


def test_extended_attributes(mount, server):
    names = within(20, os.listxattr, mount.path("README.txt"))
    assert "user.s3.etag" in names
    etag = os.getxattr(mount.path("README.txt"), "user.s3.etag").decode().strip('"')
    assert etag == server.client().head_object(Bucket=server.bucket, Key="README.txt")["ETag"].strip('"')
    if "rclone" not in server.name:  # it keeps no content types on a local disk
        assert os.getxattr(mount.path("README.txt"), "user.s3.content-type") == b"text/x-test"


def test_statvfs(mount):
    assert within(20, os.statvfs, mount.directory).f_bsize > 0


def test_a_prefix_is_a_root(server):
    with mounted(server, source=f"s3://{server.bucket}/tree") as mount:
        assert tree(mount.directory) == {"big.bin", "deep/er/leaf"}
        assert mount.read("deep/er/leaf") == b"leaf"


def test_changes_are_seen(server):
    client = server.client()
    with mounted(server, "--metadata-ttl", "1s") as mount:
        client.put_object(Bucket=server.bucket, Key="changing/file", Body=b"first version")
        assert eventually(lambda: mount.path("changing/file").exists(), 20, "the new file")
        assert mount.read("changing/file") == b"first version"
        client.put_object(Bucket=server.bucket, Key="changing/file", Body=b"second, longer version")

        def is_new():
            try:
                content = mount.read("changing/file")
            except OSError as error:
                assert error.errno == errno.ESTALE
                return False
            assert content in (b"first version", b"second, longer version"), content
            return content == b"second, longer version"

        eventually(is_new, 20, "the second version")
        client.delete_object(Bucket=server.bucket, Key="changing/file")
        eventually(lambda: not mount.path("changing/file").exists(), 20, "the deletion")


def test_commands(server, tmp_path):
    def run(*arguments):
        endpoint = getattr(server, "mount_endpoint", server.endpoint)
        return millrace(*arguments, "--endpoint", endpoint, *server.mount_options, environment=server.environment,
                        check=True, seconds=60)

    listed = run("ls", f"s3://{server.bucket}/").stdout
    assert "README.txt" in listed and "tree/" in listed and "leaf" not in listed
    run("cp", f"s3://{server.bucket}/tree/big.bin", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == FILES["tree/big.bin"]
    (tmp_path / "all").mkdir()
    run("cp", "--recursive", f"s3://{server.bucket}/many/", tmp_path / "all")
    assert sorted(os.listdir(tmp_path / "all"))[:2] == ["0000", "0001"]
    assert run("doctor", f"s3://{server.bucket}").returncode == 0


def test_in_the_background(server, tmp_path):
    directory = tmp_path / "mnt"
    directory.mkdir()
    endpoint = getattr(server, "mount_endpoint", server.endpoint)
    try:
        millrace("mount", f"s3://{server.bucket}", directory, "--endpoint", endpoint, *server.mount_options,
                 environment=server.environment, check=True)
        assert is_mounted(directory)
        assert (directory / "README.txt").read_bytes() == FILES["README.txt"]
        assert str(directory) in millrace("status", check=True).stdout
        millrace("unmount", directory, check=True)
        assert not is_mounted(directory)
    finally:
        if is_mounted(directory):
            subprocess.run(["umount", "-l", directory], check=False)
