"""Reading again: from the disk cache with the page cache dropped, and from the page cache. And many at once."""

import os
import shutil

from harness import machine
from harness.case import Bench, Case, Target
from harness.ratios import over, own

KEY = "gib-0"


def local_copy(bench: Bench) -> str:
    """The same bytes in a plain file beside the caches."""
    path = os.path.join(bench.scratch, KEY)
    shutil.copyfile(os.path.join(bench.origin.directory, "data", KEY), path)
    return path


def local(bench: Bench, drop: bool) -> dict:
    path = local_copy(bench)
    body = bench.origin.bodies[KEY]
    spec = f"{path}:{body['number']}:{body['stamp_every']}"
    bench.read("seq", spec)
    if drop:
        machine.drop_caches()
    read = bench.read("seq", spec)
    return {"MB/s": read["bytes"] / read["seconds"] / 1e6}


def disk_cache(bench: Bench, contender: str) -> dict:
    if contender == "local file":
        return local(bench, drop=True)
    mount = bench.mount(contender, "big", cache_dir=bench.scratch)
    # Blocks are written behind the reader, so the first read may leave some out; the second fills them in.
    for _ in range(3):
        machine.drop_caches()
        bench.origin.reset()
        bench.read("seq", bench.spec(mount, KEY))
        if bench.counts()["bytes"] == 0:
            break
    if contender == "millrace":
        # A new daemon has nothing in memory.
        bench.unmount(mount)
        mount = bench.mount(contender, "big", cache_dir=bench.scratch)
    os.stat(f"{mount.path}/{KEY}")
    machine.drop_caches()
    read = bench.read("seq", bench.spec(mount, KEY))
    figures = {"MB/s": read["bytes"] / read["seconds"] / 1e6, **bench.origin_figures(read["bytes"])}
    bench.check_whole(mount, KEY)
    bench.unmount(mount)
    return figures


def page_cache(bench: Bench, contender: str) -> dict:
    if contender == "local file":
        return local(bench, drop=False)
    mount = bench.mount(contender, "big")
    bench.read("seq", bench.spec(mount, KEY))
    bench.origin.reset()
    read = bench.read("seq", bench.spec(mount, KEY))
    figures = {"MB/s": read["bytes"] / read["seconds"] / 1e6, **bench.origin_figures(read["bytes"])}
    bench.unmount(mount)
    return figures


def one_object(bench: Bench, contender: str) -> dict:
    mount = bench.mount(contender, "big")
    os.stat(f"{mount.path}/{KEY}")
    bench.origin.reset()
    read = bench.read("same", "-t", "64", bench.spec(mount, KEY))
    figures = {"MB/s": read["bytes"] / read["seconds"] / 1e6, **bench.origin_figures(read["bytes"])}
    figures["sent/size"] = bench.counts()["bytes"] / bench.size(KEY)
    bench.unmount(mount)
    return figures


CASES = [
    Case("disk-cache", "Second read from the disk cache, page cache dropped",
         ["millrace", "rclone", "local file"], disk_cache, "MB/s",
         note="Millrace reads with a new daemon, rclone with the one that filled the cache: a new one of its "
              "fetched everything again.",
         targets=[
             Target("0.9 × a local file", over("local file", "MB/s"), 0.9),
             Target("aim: 0.97 × (passthrough)", over("local file", "MB/s"), 0.97),
         ]),
    Case("page-cache", "Second read from the page cache", ["millrace", "rclone", "s3fs", "local file"], page_cache,
         "MB/s",
         targets=[
             Target("0.95 × a local file", over("local file", "MB/s"), 0.95),
             Target("aim: 1.0 ×", over("local file", "MB/s"), 1),
         ]),
    Case("one-object", "64 readers of one cold object of 1 GiB, capped origin", ["millrace", "rclone"], one_object,
         "MB/s", targets=[Target("bytes from S3 ≤ 1.02 × its size", own("sent/size"), 1.02, True)]),
]
