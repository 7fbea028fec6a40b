"""Every option of `millrace mount` does what --help says, seen in a real mount."""

import contextlib
import http.client
import os
import re
import stat
import subprocess
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness import Mount, eventually, generated, millrace, within


@pytest.fixture
def server(embedded):
    embedded.put("file", b"content")
    embedded.put_generated("big", 32 << 20, 1)
    return embedded


class RecordingProxy:
    """An HTTP proxy that notes what passes through it."""

    def __enter__(self):
        seen = self.seen = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self):
                seen.append((self.command, self.path, dict(self.headers)))
                url = urllib.parse.urlsplit(self.path)
                to = http.client.HTTPConnection(url.hostname, url.port, timeout=20)
                path = url.path + (f"?{url.query}" if url.query else "")
                headers = {name: value for name, value in self.headers.items() if not name.lower().startswith("proxy-")}
                to.request(self.command, path, headers=headers)
                answer = to.getresponse()
                body = answer.read()
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                length = answer.headers["Content-Length"] if self.command == "HEAD" else len(body)
                self.send_header("Content-Length", str(length or 0))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_HEAD = forward

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def test_help_names_every_option_with_its_default(server):
    text = millrace("mount", "--help", check=True).stdout
    for option in ["endpoint", "region", "path-style", "virtual-host-style", "profile", "anonymous", "ca-bundle", "proxy",
                   "requester-pays", "read-ahead", "memory", "cache-dir", "cache-size", "uid", "gid", "file-mode", "dir-mode",
                   "allow-other", "metadata-ttl", "immutable", "metrics", "slow-request", "request-timeout", "config",
                   "log-level", "log-format", "foreground"]:
        assert re.search(rf"--{option}\b", text), option
    for command in ("unmount", "status", "doctor", "ls", "cp"):
        help_text = millrace(command, "--help", check=True).stdout
        assert "OVERVIEW" in help_text and "USAGE" in help_text, help_text


def test_owner_and_modes(server):
    with Mount("s3://data", server.endpoint, "--uid", "1234", "--gid", "4321", "--file-mode", "640", "--dir-mode",
               "0710") as mount:
        status = os.stat(mount.path("file"))
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 4321, 0o640)
        assert stat.S_IMODE(os.stat(mount.directory).st_mode) == 0o710


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
@pytest.mark.parametrize("allowed", [True, False])
def test_allow_other(server, allowed):
    with Mount("s3://data", server.endpoint, *(["--allow-other"] if allowed else [])) as mount:
        os.chmod(mount.work, 0o755)
        done = subprocess.run(
            ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "cat", mount.path("file")],
            capture_output=True, text=True, timeout=30)
        assert (done.stdout == "content") == allowed, done
        assert mount.read("file") == b"content"


def test_anonymous(server):
    nothing = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    with Mount("s3://data", server.endpoint, "--anonymous", environment=nothing) as mount:
        assert mount.read("file") == b"content"
    server.credentials("testkey", "testsecret")
    refused = millrace("ls", "s3://data", "--endpoint", server.endpoint, "--anonymous")
    assert refused.returncode == 1 and "fix:" in refused.stderr, refused.stderr


def test_profiles(server, tmp_path):
    server.credentials("profilekey", "profilesecret")
    keys = tmp_path / "credentials"
    keys.write_text("[default]\naws_access_key_id = wrong\naws_secret_access_key = wrong\n"
                    "[course]\naws_access_key_id = profilekey\naws_secret_access_key = profilesecret\n")
    config = tmp_path / "config"
    config.write_text(f"[profile course]\nregion = us-east-1\nendpoint_url = {server.endpoint}\n")
    files = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_REGION": "",
             "AWS_SHARED_CREDENTIALS_FILE": str(keys), "AWS_CONFIG_FILE": str(config)}
    with Mount("s3://data", None, "--profile", "course", environment=files) as mount:
        assert mount.read("file") == b"content"
    with Mount("s3://data", None, environment={**files, "AWS_PROFILE": "course"}) as mount:
        assert mount.read("file") == b"content"
    unknown = millrace("ls", "s3://data", "--profile", "none", environment=files)
    assert unknown.returncode == 1 and "none" in unknown.stderr and len(unknown.stderr.splitlines()) <= 2


def test_session_token(server):
    server.credentials("testkey", "testsecret", "a+token/with=signs")
    with Mount("s3://data", server.endpoint, environment={"AWS_SESSION_TOKEN": "a+token/with=signs"}) as mount:
        assert mount.read("file") == b"content"


def test_region_is_signed_for(server):
    with RecordingProxy() as proxy:
        millrace("ls", "s3://data", "--endpoint", server.endpoint, "--region", "eu-test-7", "--proxy", proxy.url, check=True)
        assert all("/eu-test-7/s3/aws4_request" in headers["Authorization"] for _, _, headers in proxy.seen), proxy.seen


def test_proxy_and_requester_pays(server):
    with RecordingProxy() as proxy:
        with Mount("s3://data", server.endpoint, "--proxy", proxy.url, "--requester-pays") as mount:
            assert mount.read("file") == b"content"
        assert any(path.endswith("/data/file") for _, path, _ in proxy.seen), proxy.seen
        assert all(headers.get("x-amz-request-payer") == "requester" for _, _, headers in proxy.seen), proxy.seen
    with RecordingProxy() as proxy:
        millrace("ls", "s3://data", "--endpoint", server.endpoint, environment={"http_proxy": proxy.url}, check=True)
        assert proxy.seen and all("x-amz-request-payer" not in headers for _, _, headers in proxy.seen), proxy.seen


def test_memory_is_a_hard_limit(server):
    """Bytes of objects, beside what the program itself takes."""
    with Mount("s3://data", server.endpoint, "--memory", "16M", "--metrics", "127.0.0.1:0") as mount:
        before = mount.resident_bytes
        peak = before
        with open(mount.path("big"), "rb", buffering=0) as file:
            offset = 0
            while chunk := within(30, file.read, 1 << 20):
                is_right = chunk == generated(len(chunk), 1, offset)
                assert is_right, offset
                offset += len(chunk)
                peak = max(peak, mount.resident_bytes)
        assert offset == 32 << 20
        assert peak - before < 64 << 20, f"{before >> 20} MiB before, {peak >> 20} MiB at most"


@pytest.mark.parametrize("window", ["1M", "64M"])
def test_read_ahead_goes_as_far_as_it_is_told(server, window):
    server.put_generated("long", 256 << 20, 2)
    with Mount("s3://data", server.endpoint, "--read-ahead", window) as mount:
        with open(mount.path("long"), "rb", buffering=0) as file:
            for offset in range(0, 8 << 20, 1 << 20):
                is_right = within(30, file.read, 1 << 20) == generated(1 << 20, 2, offset)
                assert is_right
        asked = max(int(entry["range"].split("-")[1]) for entry in server.log()
                    if entry["operation"] == "get" and entry["key"] == "long")
        # The kernel itself asks some MiB ahead of the program, which is at 8 MiB.
        assert (asked < 20 << 20) == (window == "1M"), asked


def test_metadata_is_trusted_as_long_as_told(server):
    with Mount("s3://data", server.endpoint, "--metadata-ttl", "1h") as mount:
        assert sorted(os.listdir(mount.directory)) == ["big", "file"]
        server.put("new", b"x")
        assert "new" not in os.listdir(mount.directory)
    with Mount("s3://data", server.endpoint, "--metadata-ttl", "100ms") as mount:
        assert "new" in os.listdir(mount.directory)
        server.delete("new")
        eventually(lambda: "new" not in os.listdir(mount.directory), 20, "the deletion")


def test_immutable_asks_once(server):
    with Mount("s3://data", server.endpoint, "--immutable") as mount:
        assert sorted(os.listdir(mount.directory)) == ["big", "file"] and mount.read("file") == b"content"
        server.clear_log()
        for _ in range(3):
            assert sorted(os.listdir(mount.directory)) == ["big", "file"] and mount.read("file") == b"content"
            assert os.stat(mount.path("big")).st_size == 32 << 20
            assert not mount.path("nothing").exists()
        assert server.log() == []


def test_a_cache_that_is_full_of_others_files_never_fails_a_read(server, tmp_path):
    """The disk has no room at all: a tmpfs of 4 MiB, in which another program took most."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs takes root")
    cache = tmp_path / "cache"
    cache.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", cache], check=True)
    try:
        (cache / "others").write_bytes(b"x" * (3 << 20))
        with Mount("s3://data", server.endpoint, "--cache-dir", cache, "--cache-size", "64M") as mount:
            for _ in range(2):
                same = within(30, mount.read, "big") == generated(32 << 20, 1)
                assert same
                mount.drop_caches()
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            subprocess.run(["umount", cache], check=True)


def test_two_mounts_cannot_share_a_cache(server, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with Mount("s3://data", server.endpoint, "--cache-dir", tmp_path / "cache") as mount:
        done = millrace("mount", "s3://data", other, "--endpoint", server.endpoint, "--cache-dir", tmp_path / "cache",
                        "--foreground")
        assert done.returncode == 1 and str(mount.process.pid) in done.stderr and "fix:" in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) <= 2


def test_a_malformed_proxy_and_metrics_address_are_named(server, tmp_path):
    for option, value in {"--metrics": "nonsense", "--proxy": "ftp://x"}.items():
        done = millrace("mount", "s3://data", tmp_path, "--endpoint", server.endpoint, option, value, "--foreground")
        assert done.returncode in (1, 2) and value in done.stderr and "fix:" in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) <= 2
