"""Sizes and reads around block and part borders, by 1 to 64 threads; fio's own verification on top."""

import os
import random
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import Embedded, Mount, generated, within

BORDERS = [4096, 64 << 10, 128 << 10, 1 << 20, 2 << 20, 8 << 20, 16 << 20]
SIZES = sorted({0, 1, 2} | {border + delta for border in BORDERS for delta in (-1, 0, 1)})


@pytest.fixture(scope="module", params=["memory", "disk"])
def mount(request, tmp_path_factory, shared_embedded):
    for size in SIZES:
        shared_embedded.put_generated(f"size-{size}", size, size)
    options = ["--memory", "64M"]
    if request.param == "disk":
        options += ["--cache-dir", tmp_path_factory.mktemp("cache"), "--cache-size", "256M"]
    with Mount("s3://data", shared_embedded.endpoint, *options) as mount:
        yield mount


def test_every_size_whole(mount):
    for size in SIZES:
        content = within(60, mount.read, f"size-{size}")
        assert len(content) == size
        is_same = content == generated(size, size)
        assert is_same, size


@pytest.mark.parametrize("threads", [1, 4, 16, 64])
def test_reads_across_borders(mount, threads):
    """Each thread preads around borders of every file, in an order of its own."""
    mount.drop_caches()
    files = {size: os.open(mount.path(f"size-{size}"), os.O_RDONLY) for size in SIZES if size}

    def reads(seed: int) -> int:
        choice = random.Random(seed)
        wrong = 0
        for _ in range(max(4, 256 // threads)):
            size = choice.choice(list(files))
            border = choice.choice([0, size, *[item for item in BORDERS if item < size]])
            offset = max(0, min(size, border + choice.randrange(-70_000, 70_000)))
            count = choice.choice([1, 100, 4096, 65_537, 300_000])
            content = os.pread(files[size], count, offset)
            wrong += content != generated(max(0, min(count, size - offset)), size, offset)
        return wrong

    def all_reads():
        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(reads, range(threads)))

    try:
        assert within(120, all_reads) == 0
    finally:
        for file in files.values():
            os.close(file)


FIO_BYTES = 8 << 20


@pytest.fixture(scope="module")
def fio_mount(tmp_path_factory):
    """Files that fio wrote with a checksum in every block, served and mounted."""
    if not shutil.which("fio"):
        pytest.skip("fio is not installed (scripts/setup test installs it)")
    root = tmp_path_factory.mktemp("fio")
    fio(root, "--rw=write", "--do_verify=0", jobs=1, files=8)
    with Embedded(str(root)) as server, Mount("s3://data", server.endpoint, "--memory", "64M") as mount:
        yield mount


def fio(directory, *options, jobs: int, files: int):
    names = ":".join(f"verify.{index}" for index in range(files))
    done = subprocess.run(
        ["fio", "--name=verify", f"--directory={directory}", f"--filename={names}", f"--size={files * FIO_BYTES}",
         "--bs=20k", "--verify=crc32c", "--verify_fatal=1", "--ioengine=psync", "--thread", f"--numjobs={jobs}",
         "--randrepeat=1", "--allow_file_create=1" if "--rw=write" in options else "--allow_file_create=0",
         "--group_reporting", *options],
        capture_output=True, text=True, timeout=120, cwd=directory if "--rw=write" in options else "/")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.parametrize("threads", [1, 8, 64])
@pytest.mark.parametrize("pattern", ["read", "randread"])
def test_fio_verifies(fio_mount, pattern, threads):
    fio_mount.drop_caches()
    fio(fio_mount.directory, f"--rw={pattern}", "--readonly", f"--io_size={max(1 << 20, (64 << 20) // threads)}",
        jobs=threads, files=8)
