"""Memory: under load, at rest, and of many mounts."""

import time

from harness.case import Bench, Case, Target
from harness.ratios import own


def budget(bench: Bench, contender: str) -> dict:
    mount = bench.mount(contender, "big", memory_mib=128)
    read = bench.read("seq", *(bench.spec(mount, f"thick-{i}") for i in range(8)))
    figures = {"peak RSS MiB": mount.process.peak_rss_mib(), "MB/s": read["bytes"] / read["seconds"] / 1e6,
               "slowest/fastest reader": read["slowest_thread_s"] / read["fastest_thread_s"],
               **bench.origin_figures(read["bytes"])}
    bench.unmount(mount)
    return figures


def idle(bench: Bench, contender: str) -> dict:
    mount = bench.mount(contender, "big")
    time.sleep(2)  # what starting left to do
    before, requests = mount.process.wakeups(), sum(bench.counts().values())
    time.sleep(10)
    figures = {"RSS MiB": mount.process.rss_mib(), "wake-ups in 10 s": mount.process.wakeups() - before,
               "requests in 10 s": sum(bench.counts().values()) - requests}
    bench.unmount(mount)
    return figures


CASES = [
    Case("budget", "20 GiB read by 8 readers with `--memory 128M`, capped origin", ["millrace"], budget,
         "peak RSS MiB", lower_is_better=True, limit_seconds=600,
         targets=[
             Target("peak RSS ≤ 192 MiB", own("peak RSS MiB"), 192, True),
             Target("no reader starved: slowest ≤ 2 × fastest", own("slowest/fastest reader"), 2, True),
         ]),
    Case("idle", "An idle mount for 10 s", ["millrace", "rclone", "s3fs"], idle, "RSS MiB", lower_is_better=True,
         targets=[
             Target("≤ 24 MiB RSS", own("RSS MiB"), 24, True),
             Target("no wake-ups", own("wake-ups in 10 s"), 0, True),
         ]),
]
