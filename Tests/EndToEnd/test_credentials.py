"""Keys from where programs on AWS find them: a container's endpoint, the instance's metadata, a web identity, or a
program. Each is played on loopback; the S3 server refuses all keys but the current ones."""

import http.server
import json
import os
import sys
import threading
import time
import urllib.parse

import pytest

from harness import Mount, eventually, millrace, within

TOKEN = "session+token/of=the&test"
NONE = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}


class Issuer:
    """Gives keys as a container's endpoint, IMDSv2 and STS do, and counts how often."""

    def __init__(self, seconds: int = 3600):
        self.generation = 1
        self.seconds = seconds
        self.given = 0
        self.lock = threading.Lock()
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, body: str, status: int = 200):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def do_PUT(self):
                has_lifetime = "x-aws-ec2-metadata-token-ttl-seconds" in self.headers
                self.answer("imds-token", 200 if has_lifetime and self.path == "/latest/api/token" else 400)

            def do_GET(self):
                role = "/latest/meta-data/iam/security-credentials/"
                if self.path.startswith(role):
                    if self.headers.get("x-aws-ec2-metadata-token") != "imds-token":
                        return self.answer("", 401)
                    return self.answer("the-role" if self.path == role else issuer.json())
                if self.path == "/container" and self.headers.get("Authorization") == "Bearer pod":
                    return self.answer(issuer.json())
                self.answer("", 403)

            def do_POST(self):
                form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                if form.get("WebIdentityToken") != ["the.web.identity"] or form.get("RoleArn") != ["arn:aws:iam::1:role/r"]:
                    return self.answer("", 403)
                self.answer(issuer.xml())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    @property
    def keys(self) -> tuple[str, str, str]:
        return f"ASIATEST{self.generation}", f"hidden-secret-{self.generation}", f"{TOKEN}{self.generation}"

    def _expires(self) -> str:
        with self.lock:
            self.given += 1
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.seconds))

    def json(self) -> str:
        key, secret, token = self.keys
        return json.dumps({"Version": 1, "Code": "Success", "AccessKeyId": key, "SecretAccessKey": secret, "Token": token,
                           "SessionToken": token, "Expiration": self._expires()})

    def xml(self) -> str:
        key, secret, token = self.keys
        token = token.replace("&", "&amp;")
        return (f"<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key}"
                f"</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken><Expiration>"
                f"{self._expires()}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
                "</AssumeRoleWithWebIdentityResponse>")


def environment(source: str, issuer: Issuer, place) -> dict[str, str]:
    """What leads the program to the issuer by this way only."""
    if source == "container":
        (place / "pod-token").write_text("Bearer pod\n")
        return {**NONE, "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{issuer.url}/container",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(place / "pod-token")}
    if source == "instance":
        return {**NONE, "AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": issuer.url}
    if source == "web-identity":
        (place / "web-token").write_text("the.web.identity")
        return {**NONE, "AWS_ROLE_ARN": "arn:aws:iam::1:role/r", "AWS_WEB_IDENTITY_TOKEN_FILE": str(place / "web-token"),
                "AWS_ENDPOINT_URL_STS": issuer.url}
    program = place / "issue"
    program.write_text(f"#!{sys.executable}\nimport urllib.request\n"
                       f"r = urllib.request.Request('{issuer.url}/container', headers={{'Authorization': 'Bearer pod'}})\n"
                       "print(urllib.request.urlopen(r).read().decode())\n")
    program.chmod(0o755)
    config = place / "config"
    config.write_text(f"[profile programmed]\ncredential_process = {program}\n")
    return {**NONE, "AWS_CONFIG_FILE": str(config), "AWS_PROFILE": "programmed"}


SOURCES = ["container", "instance", "web-identity", "program"]


@pytest.mark.parametrize("source", SOURCES)
def test_a_mount_gets_its_keys_once(embedded, tmp_path, source):
    with Issuer() as issuer:
        embedded.put("file", b"content")
        embedded.credentials(*issuer.keys)
        with Mount("s3://data", embedded.endpoint, "--log-level", "trace", environment=environment(
                source, issuer, tmp_path)) as mount:
            assert within(30, mount.read, "file") == b"content"
            assert issuer.given == 1
            log = mount.log
        assert "hidden-secret" not in log and TOKEN not in log


@pytest.mark.parametrize("source", ["container", "web-identity"])
def test_keys_that_the_server_no_longer_takes_are_fetched_anew(embedded, tmp_path, source):
    """They were said to last an hour, and are refused as expired before: one fetch, and no reader sees it."""
    with Issuer() as issuer:
        for number in range(20):
            embedded.put(f"{number}", b"%d" % number)
        embedded.credentials(*issuer.keys)
        with Mount("s3://data", embedded.endpoint, environment=environment(source, issuer, tmp_path)) as mount:
            assert within(30, mount.read, "0") == b"0"
            issuer.generation = 2
            embedded.credentials(*issuer.keys)
            embedded.fault(operation="get", count=1, status=400, code="ExpiredToken", message="it has expired")
            for number in range(1, 20):
                assert within(30, mount.read, f"{number}") == b"%d" % number
            assert issuer.given == 2


def test_keys_are_refreshed_before_they_expire(embedded, tmp_path):
    """Nothing is refused ever: both the old keys and the new are good, and the new ones come by themselves."""
    with Issuer(seconds=12) as issuer:
        embedded.put("file", b"content")
        with Mount("s3://data", embedded.endpoint, "--metadata-ttl", "100ms",
                   environment=environment("container", issuer, tmp_path)) as mount:
            eventually(lambda: os.listdir(mount.directory) == ["file"] and issuer.given >= 2, 40, "the second keys")
            assert mount.read("file") == b"content"


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_that_refuses_is_named(embedded, tmp_path, source):
    with Issuer() as issuer:
        settings = environment(source, issuer, tmp_path)
    # It is gone now.
    start = time.monotonic()
    done = millrace("ls", "s3://data", "--endpoint", embedded.endpoint, environment=settings)
    text = done.stderr.strip()
    assert done.returncode == 1 and "fix:" in text and len(text.splitlines()) <= 2, text
    assert time.monotonic() - start <= 10
    assert "credentials" in text.lower(), text


