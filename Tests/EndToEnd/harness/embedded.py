"""s3-embedded, the project's own S3 server that misbehaves on command."""

import json
import os
import signal
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

from .mount import BINARY, clean_environment
from .waiting import eventually


# The names of HostileXML in TestSupport.
HOSTILE = [
    "billionLaughs", "externalEntity", "deep", "hugeKey", "truncated", "binary", "html", "noToken", "sameToken",
]


class Embedded:
    """A running server; use as a context manager. Objects are put by the control interface, so without a signature."""

    def __init__(self, *options: str, bucket: str = "data", environment: dict[str, str] | None = None):
        self.bucket = bucket
        program = BINARY.parent / "s3-embedded"
        assert program.exists(), f"{program}: not built: swift build -c release --product s3-embedded"
        self.process = subprocess.Popen(
            [str(program), "--bucket", bucket, *options], stdout=subprocess.PIPE, text=True,
            env=clean_environment(environment))
        line = self.process.stdout.readline()
        assert line.startswith("endpoint="), f"s3-embedded did not start: {line!r}"
        self.endpoint = line.split()[0].removeprefix("endpoint=")
        self.port = int(self.endpoint.rsplit(":", 1)[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0

    @property
    def virtual_endpoint(self) -> str:
        """For virtual-host style: curl resolves *.localhost to loopback by itself."""
        return f"http://localhost:{self.port}"

    def control(self, method: str, path: str, body: bytes | None = None, **query) -> bytes:
        def value(item):
            return item if isinstance(item, (str, bytes)) else str(item)

        text = urllib.parse.urlencode({name: value(item) for name, item in query.items() if item is not None})
        request = urllib.request.Request(f"{self.endpoint}/__control/{path}?{text}", data=body, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    # What is stored

    def put(self, key: str | bytes, data: bytes, **options) -> str:
        """Puts an object; answers its ETag. Options: etag, modified, denied; storage_class."""
        return self._put(key, data, options)

    def put_generated(self, key: str | bytes, size: int, seed: int, **options) -> str:
        return self._put(key, b"", {"size": size, "seed": seed, **options})

    def _put(self, key, data, options) -> str:
        query = {name.replace("_", "-"): item for name, item in options.items()}
        return self.control("PUT", "object", data, bucket=self.bucket, key=key, **query).decode()

    def put_many(self, rows: list[tuple[bytes, int, int]]):
        """Generated objects: key, size and seed of each."""
        body = b"".join(b"%s\t%d\t%d\n" % (urllib.parse.quote(key).encode(), size, seed) for key, size, seed in rows)
        self.control("POST", "objects", body, bucket=self.bucket)

    def delete(self, key: str | bytes):
        self.control("DELETE", "object", bucket=self.bucket, key=key)

    def remove_bucket(self):
        self.control("DELETE", "bucket", name=self.bucket)

    def create_bucket(self):
        self.control("PUT", "bucket", name=self.bucket)

    # Behaviour

    def fault(self, **fields):
        """See Sources/TestSupport/Server/ServerFault.swift for the fields."""
        self.control("POST", "faults", json.dumps(fields).encode())

    def clear_faults(self):
        self.control("DELETE", "faults")

    def options(self, **numbers):
        self.control("PUT", "options", b"", **numbers)

    def credentials(self, access_key: str, secret_key: str, token: str | None = None):
        self.control("PUT", "credentials", b"", accessKey=access_key, secretKey=secret_key, token=token)

    def log(self) -> list[dict]:
        return json.loads(self.control("GET", "log"))["requests"]

    def counts(self) -> dict:
        return json.loads(self.control("GET", "log"))["counts"]

    def clear_log(self):
        self.control("DELETE", "log")
