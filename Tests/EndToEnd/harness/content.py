"""The bytes of generated objects, as TestSupport's ObjectBody computes them."""

import hashlib

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mixed(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def generated(size: int, seed: int, offset: int = 0) -> bytes:
    """`size` bytes from `offset` of the object with this seed."""
    first = offset // 8
    last = (offset + size + 7) // 8
    with np.errstate(over="ignore"):
        start = _mixed(np.array([seed], dtype=np.uint64) + GOLDEN)
        words = _mixed(start + np.arange(first, last, dtype=np.uint64) * GOLDEN)
    skipped = offset - first * 8
    return words.astype("<u8").tobytes()[skipped:skipped + size]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
