"""Looks at targets again and again and tells what should not be there.

A process of its own: files of FUSE that are held in the process that starts the plugin are closed between fork and exec,
which waits for the engine that only this plugin would start.

    looker.py PATH=TEXT…    a mount at PATH has one file, "me", with TEXT in it

It ends when standard input does; then its last line is the number of looks that found a dataset.
"""

import errno
import os
import select
import subprocess
import sys
from pathlib import Path

# Of a target whose session is lost, or is being lost.
DEAD = (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO, errno.ENODEV)


def look(target: str, expected: bytes) -> tuple[bool, str | None]:
    """Whether a dataset was seen there, and what is wrong with it."""
    try:
        with open(f"{target}/me", "rb") as file:
            found = file.read()
        names = os.listdir(target)
    except FileNotFoundError:
        return False, None
    except OSError as error:
        return False, None if error.errno in DEAD else f"{target}: {error}"
    # Unpublished between the two looks, the directory is bare.
    wrong = found != expected or names not in (["me"], [])
    return True, f"{target}: {found!r} {names} instead of {expected!r}" if wrong else None


def main():
    targets = [word.rsplit("=", 1) for word in sys.argv[1:]]
    seen = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        for target, text in targets:
            is_seen, wrong = look(target, text.encode())
            seen += is_seen
            if wrong:
                print("WRONG", wrong, flush=True)
    print(seen, flush=True)


class Looker:
    """The process, for a test."""

    def __init__(self, targets: dict[Path, str]):
        self.process = subprocess.Popen(
            [sys.executable, __file__, *(f"{path}={text}" for path, text in targets.items())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def end(self) -> int:
        """How often a dataset was seen; fails where something else was."""
        try:
            out, _ = self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired as error:
            self.process.kill()
            raise AssertionError("a look at a target hangs") from error
        lines = out.splitlines()
        assert self.process.returncode == 0 and len(lines) == 1, lines[:20]
        return int(lines[0])


if __name__ == "__main__":
    main()
