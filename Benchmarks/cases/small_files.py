"""10,000 files of 100 KiB by 16 readers: in no order, and in their directories'."""

import os
import random

from harness.case import Bench, Case, Target
from harness.origin import PROFILES
from harness.ratios import over_best_peer

READERS = 16
SIZE = 100 << 10
FIRST_BYTE, _, RATE = PROFILES["capped"]
BEST = READERS / (FIRST_BYTE + SIZE / (int(RATE.rstrip("m")) << 20))


def measure(ordered: bool):
    def run(bench: Bench, contender: str) -> dict:
        mount = bench.mount(contender, "files")
        names = [f"tree/{d:03}/{f:04}" for d in range(10) for f in range(1000)]
        # The names are known when a job starts, as it has its list of files; s3fs needs a HEAD each for that, which
        # would take minutes, so it reads a part.
        if contender == "s3fs":
            names = names[:1000]
        for directory in sorted({os.path.dirname(n) for n in names}):
            os.listdir(f"{mount.path}/{directory}")
        if not ordered:
            random.Random(1).shuffle(names)
        bench.origin.reset()
        specs = [bench.spec(mount, n, f"small-{(int(n[5:8]) * 1000 + int(n[9:])) % 16:02}") for n in names]
        read = bench.read("files", "-t", str(READERS), "-b", str(SIZE), files=specs)
        figures = {"files/s": len(names) / read["seconds"], "p50 ms": read["p50_ms"], "p99 ms": read["p99_ms"],
                   **bench.origin_figures(read["bytes"])}
        bench.unmount(mount)
        return figures

    return run


CONTENDERS = ["millrace", "rclone", "s3fs"]
CASES = [
    Case("small-files-shuffled", "10,000 files of 100 KiB, 16 readers, shuffled, capped origin", CONTENDERS,
         measure(False), "files/s",
         targets=[
             Target("1.2 × the best peer", over_best_peer("files/s"), 1.2),
             Target("≥ 0.9 × 16 / (first byte + transfer)", lambda m: m["millrace"]["files/s"] / BEST, 0.9),
             Target("aim: 0.97 ×", lambda m: m["millrace"]["files/s"] / BEST, 0.97),
         ]),
    Case("small-files-ordered", "10,000 files of 100 KiB, 16 readers, in directory order, capped origin", CONTENDERS,
         measure(True), "files/s",
         targets=[Target("4 × the best peer", over_best_peer("files/s"), 4)]),
]
