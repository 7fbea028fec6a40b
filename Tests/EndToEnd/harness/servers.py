"""Real S3 servers, each with one bucket and keys, over HTTP or HTTPS."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import boto3
from botocore.config import Config

from .mount import ROOT
from .waiting import eventually

ACCESS_KEY = "e2eaccesskey"
SECRET_KEY = "e2esecretkey0123456789"


def free_port(count: int = 1) -> int:
    """The first of `count` neighbouring ports that nobody uses, below those that the kernel gives out by itself."""
    for first in range(20000 + os.getpid() % 5000, 32000, 7):
        sockets = []
        try:
            for port in range(first, first + count):
                one = socket.socket()
                sockets.append(one)
                one.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
    raise AssertionError("no free port")


@dataclass
class Server:
    """A server with an empty bucket."""

    name: str
    endpoint: str
    region: str = "us-east-1"
    bucket: str = "data"
    mount_options: list[str] = field(default_factory=list)
    ca_bundle: str | None = None
    process: subprocess.Popen | None = None
    directory: Path | None = None
    made_client: object = None

    @property
    def environment(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_REGION": self.region}

    def client(self):
        """Made once: it takes boto3 a good part of a second."""
        if self.made_client is None:
            self.made_client = self._make_client()
        return self.made_client

    def _make_client(self):
        return boto3.client(
            "s3", endpoint_url=self.endpoint, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
            region_name=self.region, verify=self.ca_bundle,
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required",
                          response_checksum_validation="when_required"))

    def put(self, key: str, data: bytes):
        if self.name.startswith("rclone"):
            # It serves a directory, so that is the quick way.
            path = self.directory / "root" / self.bucket / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        else:
            self.client().put_object(Bucket=self.bucket, Key=key, Body=data, ContentType="text/x-test")

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        if self.directory:
            if self.name == "ceph":
                subprocess.run([ROOT / "scripts" / "ceph-rgw", "down", self.directory / "ceph"], check=False)
            shutil.rmtree(self.directory, ignore_errors=True)


def _spawn(server: Server, command: list[str], environment: dict[str, str] | None = None):
    log = open(server.directory / "log", "wb")
    server.process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **(environment or {})})


def _make_bucket(server: Server):
    def ready():
        assert server.process is None or server.process.poll() is None, (server.directory / "log").read_text()
        try:
            server.client().create_bucket(Bucket=server.bucket)
            return True
        except Exception as error:  # pylint: disable=broad-except
            if "BucketAlready" in str(error):
                return True
            return False

    eventually(ready, 40, f"{server.name}'s bucket")


def _temporary() -> Path:
    return Path(tempfile.mkdtemp(prefix="millrace-e2e-server-"))


def certificate_authority(directory: Path) -> tuple[Path, Path, Path]:
    """A CA of our own, and a key and a certificate for 127.0.0.1 and localhost signed by it."""
    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

    ca, ca_key = directory / "ca.pem", directory / "ca.key"
    key, request, certificate = directory / "key.pem", directory / "request.pem", directory / "certificate.pem"
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=Test CA",
            "-keyout", ca_key, "-out", ca)
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", key, "-out", request)
    names = directory / "names"
    names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2",
            "-extfile", names, "-out", certificate)
    return ca, key, certificate


def rclone(tls: bool = False) -> Server:
    directory = _temporary()
    (directory / "root").mkdir()
    port = free_port()
    command = ["rclone", "serve", "s3", "--addr", f"127.0.0.1:{port}", "--vfs-cache-mode", "off", "--config", ""]
    server = Server("rclone-https" if tls else "rclone", f"http://127.0.0.1:{port}", directory=directory)
    if tls:
        ca, key, certificate = certificate_authority(directory)
        command += ["--cert", str(certificate), "--key", str(key)]
        server.endpoint = f"https://127.0.0.1:{port}"
        server.ca_bundle = str(ca)
        server.mount_options = ["--ca-bundle", str(ca)]
    _spawn(server, [*command, str(directory / "root")], {"RCLONE_AUTH_KEY": f'"{ACCESS_KEY},{SECRET_KEY}"'})
    _make_bucket(server)
    return server


def ceph() -> Server:
    directory = _temporary()
    port = free_port(2)
    server = Server("ceph", f"http://127.0.0.1:{port}", region="default", directory=directory)
    subprocess.run(
        [ROOT / "scripts" / "ceph-rgw", "up", directory / "ceph", str(port)], check=True, capture_output=True, timeout=120,
        env={**os.environ, "CEPH_ACCESS_KEY": ACCESS_KEY, "CEPH_SECRET_KEY": SECRET_KEY})
    _make_bucket(server)
    return server


def moto() -> Server:
    directory = _temporary()
    port = free_port()
    server = Server("moto", f"http://127.0.0.1:{port}", directory=directory)
    _spawn(server, [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)])
    _make_bucket(server)
    return server
