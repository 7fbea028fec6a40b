"""What an engine of another version would say to the keeper, and would have written for its successor: the hand-over's
formats once more, in another language."""

import mmap
import os
import socket
import struct

ACQUIRE, PUT, REMOVE, LIST, GET, DONE = 16, 17, 18, 19, 20, 0x8000
NAME, PAYLOAD, ROLE = 1, 2, 3
HEADER = struct.Struct("<IHHIHH")
MAGIC = 0x43524C4D


def fields(*entries) -> bytes:
    """Tagged values: (tag, bytes, text, int or flag)…"""
    out = b""
    for tag, value in entries:
        if isinstance(value, bool):
            value = bytes([value])
        elif isinstance(value, int):
            value = struct.pack("<q", value)
        elif isinstance(value, str):
            value = value.encode()
        out += struct.pack("<HI", tag, len(value)) + value
    return out


def parsed(data: bytes) -> list:
    """[(tag, bytes)…]"""
    found, at = [], 0
    while at < len(data):
        tag, length = struct.unpack_from("<HI", data, at)
        found.append((tag, data[at + 6:at + 6 + length]))
        at += 6 + length
    return found


class Keeper:
    """A connection that has acquired what is kept, as an engine's; a context manager."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self.call(ACQUIRE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def call(self, kind, payload=b"", descriptors=()):
        """The answer's fields and descriptors."""
        message = HEADER.pack(MAGIC, 1, kind, len(payload), len(descriptors), 0) + payload
        sent = socket.send_fds(self.socket, [message], list(descriptors))
        self.socket.sendall(message[sent:])
        data, came, _, _ = socket.recv_fds(self.socket, 1 << 20, 8)
        while len(data) < HEADER.size or len(data) < HEADER.size + HEADER.unpack_from(data)[3]:
            data += self.socket.recv(1 << 20)
        assert HEADER.unpack_from(data)[2] == DONE, data
        return parsed(data[HEADER.size:]), came

    def names(self) -> list:
        return [value.decode() for tag, value in self.call(LIST)[0] if tag == NAME]

    def get(self, name):
        """The bytes that are kept, and the descriptors by their roles."""
        found, came = self.call(GET, fields((NAME, name)))
        roles = [value.decode() for tag, value in found if tag == ROLE]
        return next(value for tag, value in found if tag == PAYLOAD), dict(zip(roles, came, strict=True))

    def put(self, name, payload, descriptors):
        self.call(PUT, fields((NAME, name), (PAYLOAD, payload), *((ROLE, role) for role in descriptors)),
                  descriptors.values())


class Journal:
    """A session's journal: u64 magic, u64 start, and from there records with their u32 length and u32 checksum."""

    def __init__(self, descriptor):
        self.descriptor = descriptor
        size = os.fstat(descriptor).st_size
        with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as memory:
            self.start = struct.unpack_from("<Q", memory, 8)[0]
            self.end, self.records = self.start, []
            while self.end + 8 <= size:
                length, checksum = struct.unpack_from("<II", memory, self.end)
                record = memory[self.end + 8:self.end + 8 + length]
                if not length or self.checksum(record, self.end) != checksum:
                    break
                self.records.append(record)
                self.end += 8 + length

    @staticmethod
    def checksum(record, place) -> int:
        value = 0xCBF29CE484222325 ^ place
        for byte in record:
            value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
        return (value ^ value >> 32) & 0xFFFFFFFF

    def append(self, record: bytes):
        os.pwrite(self.descriptor, struct.pack("<II", len(record), self.checksum(record, self.end)) + record, self.end)
        self.end += 8 + len(record)
