"""The regression gate's checks: fixed work, and counts of what it took. None depends on how busy the machine is."""

import os
import re
import struct

from . import machine
from .case import Bench, Case
from .contenders import Mount

BLOCK = 128 << 10
# What was listed stays trusted, however slow the machine is: else the counts would depend on time.
FLAGS = ["--metadata-ttl", "1h"]
CASE = Case("gate", "gate", ["millrace"], lambda bench, name: {}, "", profile="free")


def warm_reads(bench: Bench, mount: Mount, count: int) -> None:
    """Reads that the daemon answers from its memory, a request each; and before them, what brings the bytes there."""
    bench.read("seq", "-l", str(16 << 20), bench.spec(mount, "gib-0"))
    for _ in range(count // 100):
        bench.read("stride", "-D", "-n", "100", "-d", str(BLOCK), "-b", str(BLOCK), bench.spec(mount, "gib-0"))


def sequential(bench: Bench) -> dict:
    mount = bench.mount("millrace", "big", flags=FLAGS)
    read = bench.read("seq", bench.spec(mount, "large"))
    figures = bench.origin_figures(read["bytes"])
    bench.check_whole(mount, "large")
    cold = {"sequential: GETs a GiB": figures["GET"] / (read["bytes"] / (1 << 30)),
            "sequential: HEADs and LISTs": figures["HEAD"] + figures["LIST"],
            "sequential: bytes sent / read": figures["MiB sent"] / figures["MiB read"]}
    cold["page cache: GETs of the second read"] = min(second_read(bench, mount, f"thick-{i}") for i in range(5))
    bench.unmount(mount)
    return cold


def second_read(bench: Bench, mount: Mount, key: str) -> int:
    """GETs of it. Some kernels take pages that nobody has used for some milliseconds (DAMON), so one try says nothing."""
    for _ in range(2):
        bench.origin.reset()
        bench.read("seq", "-l", str(8 << 20), bench.spec(mount, key))
    return bench.counts()["GET"]


def random(bench: Bench) -> dict:
    mount = bench.mount("millrace", "big", flags=FLAGS)
    os.stat(f"{mount.path}/huge")
    bench.origin.reset()
    read = bench.read("random", "-t", "4", "-n", "400", "-b", str(BLOCK), bench.spec(mount, "huge"))
    figures = bench.origin_figures(read["bytes"])
    bench.unmount(mount)
    return {"random: bytes sent / read": figures["MiB sent"] / figures["MiB read"],
            "random: GETs a read": figures["GET"] / read["steps"]}


def small_files(bench: Bench) -> dict:
    mount = bench.mount("millrace", "files", flags=FLAGS)
    names = [f"tree/000/{f:04}" for f in range(1000)]
    specs = [bench.spec(mount, n, f"small-{int(n[9:]) % 16:02}") for n in names]
    read = bench.read("files", "-t", "8", "-b", str(100 << 10), files=specs)
    figures = bench.origin_figures(read["bytes"])
    bench.unmount(mount)
    return {"small files: GETs a file": figures["GET"] / len(names),
            "small files: HEADs a file": figures["HEAD"] / len(names),
            "small files: LISTs": figures["LIST"],
            "small files: bytes sent / read": figures["MiB sent"] / figures["MiB read"]}


def listings(bench: Bench) -> dict:
    mount = bench.mount("millrace", "tree", flags=FLAGS)
    idle = mount.process.rss_mib()
    found = bench.run("find", mount.path, "-type", "f", "-size", "-2").count("\n")
    if found != 200_000:
        raise RuntimeError(f"find saw {found} files, not 200,000")
    figures = {"find: LISTs for 200,000 keys": bench.counts()["LIST"], "find: HEADs": bench.counts()["HEAD"],
               "find: bytes of RSS a key": (mount.process.rss_mib() - idle) * (1 << 20) / found}
    bench.unmount(mount)
    return figures


def one_object(bench: Bench) -> dict:
    mount = bench.mount("millrace", "big", flags=FLAGS)
    bench.read("same", "-t", "64", bench.spec(mount, "gib-1"))
    figures = {"64 readers: bytes sent / size": bench.counts()["bytes"] / bench.size("gib-1")}
    bench.unmount(mount)
    return figures


def disk_cache(bench: Bench) -> dict:
    options = {"cache_dir": bench.scratch, "cache_gib": 1}
    mount = bench.mount("millrace", "big", flags=FLAGS, **options)
    for _ in range(5):
        bench.origin.reset()
        machine.drop_caches()
        bench.read("seq", bench.spec(mount, "gib-2"))
        if bench.counts()["bytes"] == 0:
            break
    bench.unmount(mount)
    mount = bench.mount("millrace", "big", flags=FLAGS, **options)
    bench.read("seq", bench.spec(mount, "gib-2"))
    figures = {"disk cache: bytes sent after a restart": bench.counts()["bytes"]}
    bench.check_whole(mount, "gib-2")
    bench.unmount(mount)
    return figures


def memory(bench: Bench) -> dict:
    mount = bench.mount("millrace", "big", flags=FLAGS, memory_mib=64)
    idle = mount.process.rss_mib()
    bench.read("seq", *(bench.spec(mount, f"thick-{i}") for i in range(8)))
    figures = {"memory: RSS when idle, MiB": idle,
               "memory: peak RSS over the budget of 64 MiB, MiB": mount.process.peak_rss_mib() - 64}
    bench.unmount(mount)
    return figures


def allocations(bench: Bench) -> dict:
    counter = os.path.join(bench.scratch, "allocations")
    with open(counter, "wb") as file:
        file.write(bytes(8))

    def counted() -> int:
        with open(counter, "rb") as file:
            return struct.unpack("Q", file.read(8))[0]

    mount = bench.mount("millrace", "big", flags=FLAGS,
                        environment={"LD_PRELOAD": machine.allocation_counter(), "ALLOCATIONS": counter})
    if counted() == 0:
        raise RuntimeError("the allocation counter counted nothing: is the program linked statically with libc?")
    warm_reads(bench, mount, 100)
    before = counted()
    warm_reads(bench, mount, 1000)
    figures = {"allocations a warm read": (counted() - before) / 1000}
    bench.unmount(mount)
    return figures


def instructions(bench: Bench) -> dict:
    """Instructions a warm read, a cold MiB and a name, by callgrind: each the difference of two runs."""

    # Valgrind gives up on debug information that it doesn't know.
    program = os.path.join(bench.scratch, "millrace-stripped")
    bench.run("strip", "--strip-debug", "-o", program, machine.millrace())

    def run(bucket: str, work, flags: list[str] = FLAGS) -> int:
        out = os.path.join(bench.scratch, "callgrind.out")
        mount = bench.mount("millrace", bucket, flags=flags, program=program,
                            before=["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"])
        work(mount)
        bench.unmount(mount)
        with open(out) as file:
            return int(re.search(r"^(?:summary|totals): (\d+)", file.read(), re.MULTILINE).group(1))

    def cold(count: int):
        # Whole objects: how far a reader who stops was read ahead of depends on time.
        return lambda mount: [bench.read("seq", bench.spec(mount, f"gib-{i}")) for i in range(count)]

    def find(mount: Mount) -> None:
        bench.run("find", mount.path, "-size", "-2000")

    reads = [run("big", lambda mount, n=n: warm_reads(bench, mount, n), [*FLAGS, "--read-ahead", "0"]) for n in (100, 2100)]
    mib = [run("big", cold(n)) for n in (1, 4)]
    mebibytes = sum(bench.size(f"gib-{i}") for i in (1, 2, 3)) >> 20
    names = [run("files", work) for work in (lambda mount: None, find)]
    return {"instructions a warm read of 128 KiB": (reads[1] - reads[0]) / 2000,
            "instructions a cold MiB": (mib[1] - mib[0]) / mebibytes,
            "instructions a listed and stat'ed name": (names[1] - names[0]) / 10_000}


CHECKS = [sequential, random, small_files, listings, one_object, disk_cache, memory, allocations, instructions]
