"""The kernel's page cache and replaced objects: pages of an old version are never shown as the new one's."""

import errno
import mmap
import os
import random
import threading

from harness import Mount, eventually, generated, within

SIZE = 2_000_003


def version_of(content: bytes, versions: range) -> int | None:
    """Which version all of the content is of."""
    return next((seed for seed in versions if content == generated(SIZE, seed)), None)


def test_many_replacements_under_readers(embedded):
    """Readers open, read and map while the object is replaced 30 times; each whole read is of one version."""
    versions = range(1, 31)
    embedded.put_generated("file", SIZE, 1)
    wrong: list[str] = []
    seen: set[int] = set()
    done = threading.Event()

    with Mount("s3://data", embedded.endpoint, "--metadata-ttl", "100ms") as mount:
        def reader(seed):
            choice = random.Random(seed)
            while not done.is_set():
                try:
                    with open(mount.path("file"), "rb", buffering=0) as file:
                        if choice.random() < 0.3:
                            file.seek(choice.randrange(SIZE))
                            file.read(10)
                            file.seek(0)
                        content = b""
                        while len(content) < SIZE and (chunk := file.read(SIZE - len(content))):
                            content += chunk
                    version = version_of(content, versions)
                    if version is None:
                        wrong.append(f"{len(content)} bytes of no single version")
                    else:
                        seen.add(version)
                except OSError as error:
                    if error.errno != errno.ESTALE:
                        wrong.append(str(error))

        threads = [threading.Thread(target=reader, args=(index,)) for index in range(3)]
        for thread in threads:
            thread.start()
        try:
            for seed in versions[1:]:
                known = len(seen)
                embedded.put_generated("file", SIZE, seed)
                eventually(lambda: seed in seen or wrong, 30, f"version {seed}")
                assert len(seen) > known or wrong
        finally:
            done.set()
            for thread in threads:
                thread.join(60)
        assert not wrong, wrong[:3]


def test_an_unchanged_file_stays_in_the_page_cache(embedded):
    embedded.put_generated("file", SIZE, 1)
    with Mount("s3://data", embedded.endpoint, "--metadata-ttl", "100ms") as mount:
        assert version_of(within(20, mount.read, "file"), range(1, 2)) == 1
        embedded.clear_log()
        for _ in range(3):
            assert version_of(within(20, mount.read, "file"), range(1, 2)) == 1
        assert not [entry for entry in embedded.log() if entry["operation"] == "get"]


def test_mapped_pages_of_the_old_version_stay_old(embedded):
    embedded.put_generated("file", SIZE, 1)
    with Mount("s3://data", embedded.endpoint, "--metadata-ttl", "100ms") as mount:
        with open(mount.path("file"), "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            before = mapped[:4096]
            embedded.put_generated("file", SIZE, 2)
            eventually(lambda: version_of(reads(mount), range(1, 3)) == 2, 30, "the new version")
            assert before == generated(4096, 1)
            assert os.stat(mount.path("file")).st_size == SIZE


def reads(mount) -> bytes:
    try:
        return mount.read("file")
    except OSError as error:
        assert error.errno == errno.ESTALE
        return b""
