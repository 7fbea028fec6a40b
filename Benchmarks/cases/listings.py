"""`find`, `ls` and `stat` over many keys."""

import time

from harness.case import Bench, Case, Target
from harness.ratios import over_best_peer, own


def lines(out: str) -> int:
    return out.count("\n")


def find(bench: Bench, contender: str) -> dict:
    mount = bench.mount(contender, "tree")
    started = time.monotonic()
    found = lines(bench.run("find", mount.path, "-type", "f"))
    seconds = time.monotonic() - started
    if found != 200_000:
        raise RuntimeError(f"find saw {found} files, not 200,000")
    figures = {"s": seconds, **bench.origin_figures(0), "peak RSS MiB": mount.process.peak_rss_mib()}
    bench.unmount(mount)
    return figures


def ls(bench: Bench, contender: str) -> dict:
    mount = bench.mount(contender, "flat")
    started = time.monotonic()
    found = lines(bench.run("ls", f"{mount.path}/all"))
    seconds = time.monotonic() - started
    if found != 100_000:
        raise RuntimeError(f"ls saw {found} files, not 100,000")
    figures = {"s": seconds, **bench.origin_figures(0), "peak RSS MiB": mount.process.peak_rss_mib()}
    bench.unmount(mount)
    return figures


def million(bench: Bench, contender: str) -> dict:
    mount = bench.mount(contender, "million")
    idle = mount.process.rss_mib()
    started = time.monotonic()
    found = lines(bench.run("find", mount.path, "-type", "f"))
    found_seconds = time.monotonic() - started
    if found != 1_000_000:
        raise RuntimeError(f"find saw {found} files, not 1,000,000")
    # -size needs a stat of each.
    sized = lines(bench.run("find", mount.path, "-type", "f", "-size", "-2"))
    seconds = time.monotonic() - started
    if sized != 1_000_000:
        raise RuntimeError(f"{sized} files have their size, not 1,000,000")
    rss = mount.process.rss_mib()
    figures = {"find s": found_seconds, "find and stat s": seconds, "bytes of RSS a key": (rss - idle) * 1.048576,
               "RSS MiB": rss, "peak RSS MiB": mount.process.peak_rss_mib(), **bench.origin_figures(0)}
    bench.unmount(mount)
    return figures


MOUNTS = ["millrace", "rclone", "s3fs"]
CASES = [
    Case("find", "`find` over 200,000 keys in 200 directories, capped origin", MOUNTS, find, "s",
         lower_is_better=True,
         targets=[
             Target("6 × the best peer", over_best_peer("s", lower_is_better=True), 6),
             Target("≤ 260 LISTs", own("LIST"), 260, True),
             Target("aim: 15 × the best peer", over_best_peer("s", lower_is_better=True), 15),
         ]),
    Case("ls", "`ls` of one directory of 100,000 keys, capped origin", MOUNTS, ls, "s", lower_is_better=True,
         targets=[
             Target("2 × the best peer", over_best_peer("s", lower_is_better=True), 2),
             Target("aim: 6 × the best peer", over_best_peer("s", lower_is_better=True), 6),
         ]),
    Case("million", "1,000,000 keys: `find`, then `stat` of all, capped origin", ["millrace"], million,
         "bytes of RSS a key", lower_is_better=True, limit_seconds=600,
         targets=[
             Target("≤ 160 bytes of RSS a key", own("bytes of RSS a key"), 160, True),
             Target("aim: 100 bytes", own("bytes of RSS a key"), 100, True),
         ]),
]
