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


FIO_SIZES = sorted({border + delta for border in BORDERS for delta in (-512, 0, 512)})


def fio_jobs(place, directory, pattern: str, threads: int):
    """A job of fio's for each file, of `threads` at a time."""
    lines = ["[global]", f"directory={directory}", f"rw={pattern}", "bs=512", "verify=crc32c", "verify_fatal=1",
             "ioengine=psync", "thread", "randrepeat=1", "group_reporting",
             "do_verify=0" if pattern == "write" else "allow_file_create=0"]
    for place_in_queue in range(max(threads, len(FIO_SIZES))):
        size = FIO_SIZES[place_in_queue % len(FIO_SIZES)]
        lines += [f"[job-{place_in_queue}]", f"filename=size-{size}", f"size={size}"]
        if pattern != "write":
            lines.append(f"io_size={min(size, 2 << 20)}")
        if place_in_queue % threads == 0:
            lines.append("stonewall")  # waits for all jobs before it
    path = place / f"{pattern}-{threads}.fio"
    path.write_text("\n".join(lines) + "\n")
    done = subprocess.run(["fio", *([] if pattern == "write" else ["--readonly"]), path], capture_output=True, text=True,
                          timeout=120, cwd=place)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.fixture(scope="module")
def fio_sizes_mount(tmp_path_factory):
    """Files of every size around borders, written by fio with a checksum in every 512 bytes."""
    if not shutil.which("fio"):
        pytest.skip("fio is not installed (scripts/setup test installs it)")
    root = tmp_path_factory.mktemp("fio-sizes")
    place = tmp_path_factory.mktemp("fio-jobs")
    fio_jobs(place, root, "write", 1)
    assert {int(name.removeprefix("size-")) for name in os.listdir(root)} == set(FIO_SIZES)
    assert all(os.stat(root / f"size-{size}").st_size == size for size in FIO_SIZES)
    with Embedded(str(root)) as server, Mount("s3://data", server.endpoint, "--memory", "64M") as mount:
        yield mount, place


@pytest.mark.parametrize("threads", [1, 2, 4, 16, 64])
@pytest.mark.parametrize("pattern", ["read", "randread"])
def test_fio_verifies_sizes_around_borders(fio_sizes_mount, pattern, threads):
    mount, place = fio_sizes_mount
    mount.drop_caches()
    fio_jobs(place, mount.directory, pattern, threads)


@pytest.mark.parametrize("threads", [1, 8, 64])
@pytest.mark.parametrize("pattern", ["read", "randread"])
def test_fio_verifies(fio_mount, pattern, threads):
    fio_mount.drop_caches()
    fio(fio_mount.directory, f"--rw={pattern}", "--readonly", f"--io_size={max(1 << 20, (64 << 20) // threads)}",
        jobs=threads, files=8)
