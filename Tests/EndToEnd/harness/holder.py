"""Holds a file and a directory of a mount open, in a process of its own.

A process that holds files of a mount can't start the program that serves it: the child closes them before it runs that
program, and waits there for an answer that only the program would give.

    holder.py FILE DIRECTORY    commands on standard input, an answer to each in a line of JSON
"""

import hashlib
import json
import os
import subprocess
import sys
from itertools import islice


def main():
    file = os.open(sys.argv[1], os.O_RDONLY)
    entries = os.scandir(sys.argv[2])
    for line in sys.stdin:
        command, *numbers = json.loads(line)
        if command == "digest":
            # Not from the kernel's pages.
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            offset, count = numbers
            answer = hashlib.sha256(os.pread(file, count, offset)).hexdigest()
        elif command == "inode":
            answer = os.fstat(file).st_ino
        elif command == "names":
            answer = [entry.name for entry in islice(entries, numbers[0])]
        print(json.dumps(answer), flush=True)


class Holder:
    """The process; use as a context manager, which ends it."""

    def __init__(self, file, directory):
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(file), str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *command) -> None:
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        assert line, f"it ended: {self.process.wait(10)}"
        return json.loads(line)

    def call(self, *command):
        self.ask(*command)
        return self.answer()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


if __name__ == "__main__":
    main()
