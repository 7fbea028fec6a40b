"""One reader of one large object, and four of four: throughput and what it costs."""

from harness import downloaders
from harness.case import Bench, Case, Target
from harness.ratios import over, over_best_peer

MB = 1e6
PARALLEL = [f"gib-{i}" for i in range(4)]


def figures(bench: Bench, read: dict, cpu_seconds: float) -> dict:
    return {"MB/s": read["bytes"] / read["seconds"] / MB, "CPU s/GiB": cpu_seconds / (read["bytes"] / (1 << 30)),
            **bench.origin_figures(read["bytes"])}


def download(bench: Bench, contender: str, keys: list[str]) -> dict:
    bench.origin.reset()
    if contender == "mountpoint-client":
        read = downloaders.mountpoint_client(bench.endpoint, "big", keys)
    else:
        connections = downloaders.CONNECTIONS if contender == "curl-16" else 1
        read = downloaders.curl(bench.endpoint, "big", {k: bench.size(k) for k in keys}, connections)
    return figures(bench, read, read["cpu_seconds"])


def measure(keys: list[str]):
    def run(bench: Bench, contender: str) -> dict:
        if contender in ("mountpoint-client", "curl-16", "curl-1"):
            return download(bench, contender, keys)
        mount = bench.mount(contender, "big")
        before = mount.process.cpu_seconds()
        read = bench.read("seq", *(bench.spec(mount, key) for key in keys))
        cpu = mount.process.cpu_seconds() - before
        result = figures(bench, read, cpu) | {"peak RSS MiB": mount.process.peak_rss_mib()}
        if len(keys) > 1:
            result["slowest/fastest reader"] = read["slowest_thread_s"] / read["fastest_thread_s"]
        for key in keys:
            bench.check_whole(mount, key)
        bench.unmount(mount)
        return result

    return run


CASES = [
    Case(
        "sequential-capped", "Cold sequential read, 1 reader, 4 GiB, capped origin",
        ["millrace", "rclone", "s3fs", "mountpoint-client", "curl-16"], measure(["large"]), "MB/s",
        targets=[
            Target("3 × the best FUSE peer", over_best_peer("MB/s"), 3),
            Target("1.0 × Mountpoint's client without FUSE", over("mountpoint-client", "MB/s"), 1),
            Target("aim: 0.95 × curl with 16 connections", over("curl-16", "MB/s"), 0.95),
            Target("CPU: ≤ 0.5 × rclone's", lambda m: m["millrace"]["CPU s/GiB"] / m["rclone"]["CPU s/GiB"], 0.5, True),
            Target("aim: CPU ≤ Mountpoint's client's",
                   lambda m: m["millrace"]["CPU s/GiB"] / m["mountpoint-client"]["CPU s/GiB"], 1, True),
        ]),
    Case(
        "sequential-free", "Cold sequential read, 1 reader, 4 GiB, free origin",
        ["millrace", "rclone", "s3fs", "mountpoint-client", "curl-1"], measure(["large"]), "MB/s", profile="free",
        targets=[
            Target("2.5 × the best FUSE peer", over_best_peer("MB/s"), 2.5),
            Target("aim: 0.8 × curl's single stream", over("curl-1", "MB/s"), 0.8),
        ]),
    *(
        Case(
            f"four-readers-{profile}", f"4 readers of 4 files of 1 GiB, {profile} origin",
            ["millrace", "rclone", "s3fs", "mountpoint-client"], measure(PARALLEL), "MB/s", profile=profile,
            targets=[Target("2.5 × the best FUSE peer", over_best_peer("MB/s"), 2.5)])
        for profile in ("capped", "free")
    ),
]
