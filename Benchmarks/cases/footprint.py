"""Memory: under load, at rest, and of many mounts."""

import time

from harness import machine
from harness.case import Bench, Case, Target
from harness.engine import Engine
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


def sessions(bench: Bench, contender: str) -> dict:
    """Each mount reads 10 MiB of the same object; the engine's memory is what counts."""
    count = int(contender.split()[0])
    machine.drop_caches()
    bench.origin.reset()
    engine = Engine(bench.scratch)
    try:
        number, every = (bench.origin.bodies["gib-0"][k] for k in ("number", "stamp_every"))
        specs = [f"{engine.mount(bench.endpoint, 'big')}/gib-0:{number}:{every}" for _ in range(count)]
        read = bench.read("seq", "-l", str(10 << 20), *specs)
        return {"RSS MiB": engine.process.rss_mib(), "peak RSS MiB": engine.process.peak_rss_mib(),
                **bench.origin_figures(read["bytes"])}
    finally:
        engine.stop()


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
    Case("sessions", "20 mounts of one bucket in one engine, 10 MiB read by each", ["1 mount", "20 mounts"], sessions,
         "RSS MiB", profile="free", lower_is_better=True,
         targets=[Target("RSS ≤ 1.3 × one mount's", lambda m: m["20 mounts"]["RSS MiB"] / m["1 mount"]["RSS MiB"], 1.3,
                         True)]),
]
