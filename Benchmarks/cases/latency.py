"""The first byte after open, random, strided and backward reads, and the first byte after `mount` was typed."""

import http.client
import os
import statistics
import time

from harness.case import Bench, Case, Target
from harness.origin import PROFILES
from harness.ratios import over, own

FIRST_BYTE_MS = PROFILES["capped"][0] * 1000
LIST_MS = PROFILES["capped"][1] * 1000
BLOCK = 128 << 10
STEP = 17 << 20


def http_first_bytes(bench: Bench, count: int) -> dict:
    """What the origin itself takes to a first byte, on one kept connection."""
    host = bench.endpoint.removeprefix("http://")
    connection = http.client.HTTPConnection(host)
    times = []
    for i in range(count):
        started = time.perf_counter()
        connection.request("GET", f"/files/tree/000/{i:04}", headers={"Range": "bytes=0-4095"})
        connection.getresponse().read()
        times.append((time.perf_counter() - started) * 1000)
    connection.close()
    return {"p50 ms": statistics.median(times), "p99 ms": sorted(times)[int(count * 0.99)]}


def first_byte(bench: Bench, contender: str) -> dict:
    count = 200
    if contender == "origin":
        return http_first_bytes(bench, count)
    mount = bench.mount(contender, "files")
    # The names are known; what is measured is open and the first page. Another file each time, none in order.
    names = sorted(os.listdir(f"{mount.path}/tree/000"))
    picked = [names[i * 37 % len(names)] for i in range(count)]
    specs = [bench.spec(mount, f"tree/000/{n}", f"small-{int(n) % 16:02}") for n in picked]
    bench.origin.reset()
    read = bench.read("first", files=specs)
    figures = {"p50 ms": read["p50_ms"], "p99 ms": read["p99_ms"], **bench.origin_figures(read["bytes"])}
    bench.unmount(mount)
    return figures


def random_reads(threads: int):
    # Enough for a p99 that is not one read.
    count = 400 if threads == 1 else 4000

    def run(bench: Bench, contender: str) -> dict:
        mount = bench.mount(contender, "big")
        os.stat(f"{mount.path}/huge")
        bench.origin.reset()
        reads = count if contender == "millrace" else min(count, 60 * threads)
        read = bench.read("random", "-t", str(threads), "-n", str(reads), "-b", str(BLOCK), bench.spec(mount, "huge"))
        figures = {"p50 ms": read["p50_ms"], "p99 ms": read["p99_ms"], "reads/s": read["steps"] / read["seconds"],
                   **bench.origin_figures(read["bytes"])}
        figures["sent/read"] = figures["MiB sent"] / figures["MiB read"]
        bench.unmount(mount)
        return figures

    return run


def strided(distance: int):
    def run(bench: Bench, contender: str) -> dict:
        mount = bench.mount(contender, "big")
        os.stat(f"{mount.path}/huge")
        bench.origin.reset()
        block = 256 << 10 if distance > 0 else 1 << 20
        count = min(200, bench.size("huge") // abs(distance) - 1)
        read = bench.read("stride", "-n", str(count), "-d", str(distance), "-b", str(block), bench.spec(mount, "huge"))
        figures = {"reads/s": read["steps"] / read["seconds"], "p50 ms": read["p50_ms"],
                   **bench.origin_figures(read["bytes"])}
        bench.unmount(mount)
        return figures

    return run


def mount_to_first_byte(bench: Bench, contender: str) -> dict:
    started = time.monotonic()
    mount = bench.mount(contender, "big")
    with open(f"{mount.path}/gib-1", "rb") as file:
        file.read(1)
    figures = {"ms": (time.monotonic() - max(started, mount.started)) * 1000, **bench.origin_figures(1)}
    bench.unmount(mount)
    return figures


def random_targets(threads: int) -> list[Target]:
    best = threads / (FIRST_BYTE_MS / 1000)
    return [
        Target("p50 ≤ origin + 3 ms", own("p50 ms"), FIRST_BYTE_MS + 3, True),
        Target("p99 ≤ origin + 15 ms", own("p99 ms"), FIRST_BYTE_MS + 15, True),
        Target("rate ≥ 0.85 × threads / origin", lambda m: m["millrace"]["reads/s"] / best, 0.85),
        Target("aim: bytes fetched ≤ 1.05 × read", own("sent/read"), 1.05, True),
    ]


MOUNTS = ["millrace", "rclone", "s3fs"]
CASES = [
    Case("first-byte", "First byte after open, cold, capped origin", [*MOUNTS, "origin"], first_byte, "p50 ms",
         lower_is_better=True,
         targets=[
             Target("p50 ≤ 1.15 × the origin's", lambda m: m["millrace"]["p50 ms"] / m["origin"]["p50 ms"], 1.15, True),
             Target("aim: 1.05 ×", lambda m: m["millrace"]["p50 ms"] / m["origin"]["p50 ms"], 1.05, True),
         ]),
    *(
        Case(f"random-{threads}", f"Random 128 KiB over 64 GiB, {threads} thread{'s' * (threads > 1)}, capped origin",
             ["millrace", "rclone"], random_reads(threads), "p50 ms", lower_is_better=True,
             targets=random_targets(threads),
             note="s3fs is left out: it fetches far more than is read, and takes minutes.")
        for threads in (1, 16)
    ),
    Case("strided", "256 KiB every 17 MiB, capped origin", ["millrace", "rclone"], strided(STEP), "reads/s",
         targets=[Target("2 × rclone", over("rclone", "reads/s"), 2)]),
    Case("backward", "1 MiB blocks from the end backward, capped origin", ["millrace", "rclone"],
         strided(-(1 << 20)), "reads/s", targets=[Target("2 × rclone", over("rclone", "reads/s"), 2)]),
    Case("mount-to-first-byte", "From `mount` typed to a file's first byte, capped origin", MOUNTS,
         mount_to_first_byte, "ms", lower_is_better=True,
         targets=[Target("≤ one LIST + two first bytes + 50 ms", own("ms"), LIST_MS + 2 * FIRST_BYTE_MS + 50, True)]),
]
