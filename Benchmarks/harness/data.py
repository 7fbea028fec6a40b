"""The origin's data: bodies of objects in memory (tmpfs), so that no disk is measured.

Every body carries stamps: at each multiple of `stamp_every` bytes stand 16 bytes, "MILLRACE" and the offset with the
body's number in its upper 16 bits. The reader (tools/reader.c) checks each stamp that it passes, in every round, so a
byte from the wrong place or the wrong object is seen. Dense bodies also have a SHA-256 of the whole.
"""

import hashlib
import json
import os
import random
import struct
from dataclasses import dataclass

MIB = 1 << 20
GIB = 1 << 30
STAMP = b"MILLRACE"


@dataclass(frozen=True)
class Body:
    name: str
    number: int
    size: int
    stamp_every: int  # 4096: dense; more: sparse, zeros between the stamps


def stamp(number: int, offset: int) -> bytes:
    return STAMP + struct.pack("<Q", number << 48 | offset)


def bodies(scale: float) -> list[Body]:
    """What the cases read. `scale` shrinks the large ones, for a quick look."""

    def scaled(size: int) -> int:
        return max(16 * MIB, int(size * scale) // MIB * MIB)

    return [
        Body("huge", 1, scaled(64 * GIB), MIB),
        Body("large", 2, scaled(4 * GIB), 4096),
        *(Body(f"gib-{i}", 10 + i, scaled(GIB), 4096) for i in range(4)),
        *(Body(f"thick-{i}", 20 + i, scaled(2560 * MIB), MIB) for i in range(8)),
        *(Body(f"small-{i:02}", 100 + i, 100 << 10, 4096) for i in range(16)),
        Body("tiny", 200, 16, 4096),
    ]


def make(directory: str, scale: float) -> dict:
    """Makes the bodies, or keeps those of an earlier run. Answers name → {size, time, sha256 (of dense ones)}."""
    manifest_path = os.path.join(directory, "manifest.json")
    wanted = {"scale": scale, "version": 1}
    if os.path.exists(manifest_path):
        with open(manifest_path) as file:
            manifest = json.load(file)
        if {k: manifest.get(k) for k in wanted} == wanted:
            return manifest["bodies"]
    data = os.path.join(directory, "data")
    os.makedirs(data, exist_ok=True)
    made = {}
    for body in bodies(scale):
        path = os.path.join(data, body.name)
        sha256 = write_dense(path, body) if body.stamp_every == 4096 else write_sparse(path, body)
        made[body.name] = {
            "size": body.size, "time": int(os.stat(path).st_mtime), "sha256": sha256, "number": body.number,
            "stamp_every": body.stamp_every,
        }
    with open(manifest_path, "w") as file:
        json.dump(wanted | {"bodies": made}, file)
    return made


def write_dense(path: str, body: Body) -> str:
    """Noise, the same in each MiB, but for the stamp of each page."""
    noise = random.Random(body.number).randbytes(min(MIB, body.size))
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for start in range(0, body.size, MIB):
            chunk = bytearray(noise[: min(MIB, body.size - start)])
            for at in range(0, len(chunk), 4096):
                chunk[at : at + 16] = stamp(body.number, start + at)[: len(chunk) - at]
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def write_sparse(path: str, body: Body) -> None:
    with open(path, "wb") as file:
        file.truncate(body.size)
        for at in range(0, body.size, body.stamp_every):
            file.seek(at)
            file.write(stamp(body.number, at))
