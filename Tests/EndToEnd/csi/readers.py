"""Readers that check every byte, in processes of their own so that one that hangs can be told and killed.

Run as a program: readers.py KIND DIRECTORY SEED. The dataset is `DATASET`'s; standard output gets a line for each second
(reads so far, the longest pause in ms since the line before); any wrong byte or error ends it with status 1 and its cause.
"""

import mmap
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from harness.content import generated  # noqa: E402

BIG = 24 << 20
SMALL = 400
KINDS = ("sequential", "random", "mapped", "directory", "many", "held")


def fill(server, prefix="data/"):
    """A file of 24 MiB, and 400 small ones in a directory."""
    server.put_generated(f"{prefix}big", BIG, 1)
    server.put_many([(f"{prefix}small/{number:04}".encode(), 2000 + number, 100 + number) for number in range(SMALL)])


def _sequential(directory, tick):
    expected = generated(BIG, 1)
    while True:
        with open(directory / "big", "rb", buffering=0) as file:
            offset = 0
            while chunk := file.read(1 << 18):
                assert chunk == expected[offset:offset + len(chunk)], f"wrong bytes at {offset}"
                offset += len(chunk)
                tick()
            assert offset == BIG, f"end of file at {offset}"
            # What the kernel has cached would need no engine.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _random(directory, tick):
    expected = generated(BIG, 1)
    with open(directory / "big", "rb", buffering=0) as file:
        while True:
            offset = random.randrange(BIG - 70_000)
            chunk = os.pread(file.fileno(), random.choice((100, 4096, 65_536)), offset)
            assert chunk == expected[offset:offset + len(chunk)] and chunk, f"wrong bytes at {offset}"
            tick()
            if random.random() < 0.05:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _mapped(directory, tick):
    expected = generated(BIG, 1)
    while True:
        with open(directory / "big", "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            for _ in range(300):
                offset = random.randrange(BIG - 100)
                assert memory[offset:offset + 100] == expected[offset:offset + 100], f"wrong bytes at {offset}"
                tick()


def _directory(directory, tick):
    expected = sorted(f"{number:04}" for number in range(SMALL))
    while True:
        names = []
        with os.scandir(directory / "small") as entries:
            for entry in entries:
                names.append(entry.name)
                if len(names) % 50 == 0:
                    tick()
        assert sorted(names) == expected, f"{len(names)} names, {len(set(names))} different"
        for name in random.sample(expected, 20):
            assert os.stat(directory / "small" / name).st_size == 2000 + int(name)
            tick()


def _many(directory, tick):
    while True:
        number = random.randrange(SMALL)
        with open(directory / "small" / f"{number:04}", "rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            assert file.read() == generated(2000 + number, 100 + number), f"wrong bytes in {number}"
            assert os.fstat(file.fileno()).st_ino == inode
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        tick()


def _held(directory, tick):
    """Handles that stay open over many engines, and their inode numbers."""
    files = [open(directory / "small" / f"{number:04}", "rb", buffering=0) for number in range(40)]
    inodes = [os.fstat(file.fileno()).st_ino for file in files]
    while True:
        for number, file in enumerate(files):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.pread(file.fileno(), 5000, 0) == generated(2000 + number, 100 + number), f"wrong bytes in {number}"
            assert os.fstat(file.fileno()).st_ino == inodes[number], "another inode number"
            tick()


class Reader:
    """One of the kinds, watched."""

    def __init__(self, kind: str, directory, seed: int):
        self.kind = kind
        self.reads = 0
        self.pauses = []
        self.last_line = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, __file__, kind, str(directory), str(seed)], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        for line in self.process.stdout:
            reads, *pauses = line.split()
            self.reads = int(reads)
            self.pauses += [float(p) for p in pauses]
            self.last_line = time.monotonic()

    def check(self, silence: float):
        """Fails where it has ended, or said nothing for so long."""
        status = self.process.poll()
        assert status is None, f"{self.kind}: ended with {status}: {self.process.stderr.read()[-2000:]}"
        quiet = time.monotonic() - self.last_line
        assert quiet < silence, f"{self.kind}: hangs, no read for {quiet:.1f} s; {self.where()}"

    def where(self) -> str:
        lines = []
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                lines.append(f"{(task / 'wchan').read_text()} {(task / 'stack').read_text()}")
            except OSError:
                pass
        return " | ".join(lines)[:1500]

    def stop(self):
        self.process.send_signal(signal.SIGKILL)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"{self.kind}: does not even die; {self.where()}") from error


def main():
    kind, directory, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    random.seed(seed)
    state = {"reads": 0, "last": time.monotonic(), "said": time.monotonic(), "pauses": []}

    def tick():
        now = time.monotonic()
        pause = (now - state["last"]) * 1000
        state["last"] = now
        state["reads"] += 1
        if pause > 20:
            state["pauses"].append(f"{pause:.0f}")
        if now - state["said"] > 0.5:
            print(state["reads"], *state["pauses"], flush=True)
            state["said"], state["pauses"] = now, []

    globals()[f"_{kind}"](directory, tick)


if __name__ == "__main__":
    main()
