"""kill -9 in the middle of writes to the disk cache, 50 times: no wrong byte afterwards."""

import os
import random
import threading

import pytest

from harness import Mount, eventually, generated, within

# More than the cache may hold, so that it evicts all the time.
FILES = {f"file-{index}": (200_000 + index * 1_777_777, index) for index in range(12)}
ROUNDS = 50


def test_kill_in_the_middle_of_cache_writes(embedded, tmp_path):
    choice = random.Random(50)
    for name, (size, seed) in FILES.items():
        embedded.put_generated(name, size, seed)
    cache = tmp_path / "cache"
    cache.mkdir()
    mount = Mount("s3://data", embedded.endpoint, "--cache-dir", cache, "--cache-size", "64M", "--memory", "32M")
    hits = 0
    try:
        for round_number in range(ROUNDS):
            mount.start()
            embedded.clear_log()
            wrong: list[str] = []
            names = choice.sample(list(FILES), 4)

            def reader(name):
                size, seed = FILES[name]
                try:
                    with open(mount.path(name), "rb", buffering=0) as file:
                        offset = 0
                        while chunk := file.read(256 << 10):
                            if chunk != generated(len(chunk), seed, offset):
                                wrong.append(f"round {round_number}: {name} at {offset}")
                            offset += len(chunk)
                        if offset != size:
                            wrong.append(f"round {round_number}: {name} ends at {offset}")
                except OSError:
                    pass  # killed

            threads = [threading.Thread(target=reader, args=(name,)) for name in names]
            for thread in threads:
                thread.start()
            enough = choice.randrange(100_000, 6_000_000)
            eventually(
                lambda: embedded.counts()["bytes"] >= enough or not any(thread.is_alive() for thread in threads), 30,
                "reads")
            mount.kill()
            for thread in threads:
                thread.join(30)
                assert not thread.is_alive(), "a reader hangs after kill -9"
            assert not wrong, wrong[:3]
            hits += embedded.counts()["bytes"] < sum(FILES[name][0] for name in names)
        assert sum(len(files) for _, _, files in os.walk(cache)) > 0, "nothing was ever cached on disk"

        mount.start()
        for name, (size, seed) in FILES.items():
            same = within(60, mount.read, name) == generated(size, seed)
            assert same, name
        assert mount.stop() == 0
    finally:
        mount.tear_down()


def bytes_on_disk(directory) -> int:
    return sum(os.stat(os.path.join(folder, name)).st_blocks * 512
               for folder, _, names in os.walk(directory) for name in names)


def test_the_cache_survives_a_restart(embedded, tmp_path):
    """After a clean stop, and after kill -9 once written, bytes come from the disk and not from S3."""
    embedded.put_generated("file", 4 << 20, 9)
    mount = Mount("s3://data", embedded.endpoint, "--cache-dir", tmp_path, "--cache-size", "64M")
    try:
        for end in (mount.stop, mount.kill, mount.stop):
            mount.start()
            same = within(30, mount.read, "file") == generated(4 << 20, 9)
            assert same
            eventually(lambda: bytes_on_disk(tmp_path) >= 4 << 20, 20, "the cache's files")
            end()
        embedded.clear_log()
        mount.start()
        same = within(30, mount.read, "file") == generated(4 << 20, 9)
        assert same
        assert embedded.counts()["bytes"] < 1 << 20, embedded.counts()
        assert mount.stop() == 0
    finally:
        mount.tear_down()


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_damaged_cache_files_are_noticed(embedded, tmp_path, end):
    embedded.put_generated("file", 4 << 20, 9)
    mount = Mount("s3://data", embedded.endpoint, "--cache-dir", tmp_path, "--cache-size", "64M")
    try:
        mount.start()
        assert within(30, mount.read, "file") == generated(4 << 20, 9)
        eventually(lambda: bytes_on_disk(tmp_path) >= 4 << 20, 20, "the cache's files")
        getattr(mount, end)()
        damaged = 0
        for folder, _, names in os.walk(tmp_path):
            for name in names:
                path = os.path.join(folder, name)
                if os.path.getsize(path) >= 4 << 20:
                    with open(path, "r+b") as file:
                        file.seek(1_000_000)
                        file.write(b"damage" * 1000)
                    damaged += 1
        assert damaged > 0
        mount.start()
        same = within(30, mount.read, "file") == generated(4 << 20, 9)
        assert same, "damaged bytes were served"
        assert mount.stop() == 0
    finally:
        mount.tear_down()
