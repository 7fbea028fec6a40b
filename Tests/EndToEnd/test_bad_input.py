"""Bad input: an error in one or two lines that says what, why and what to do; status 1, or 2 for usage; within 10 s;
nothing left mounted."""

import os
import subprocess
import time

import pytest

from harness import Embedded, clean_environment, is_mounted, millrace

SECRET = "verysecretkey1234567890"


@pytest.fixture(scope="module")
def signed():
    """A server that wants signatures."""
    with Embedded() as server:
        server.put("file", b"content")
        server.credentials("testkey", "testsecret")
        yield server


def refused(directory, *arguments, status=1, environment=None, mentions=(), seconds=10, prefix=()):
    """Runs `millrace mount …`, which must fail as the module's text says, and answers what it printed."""
    start = time.monotonic()
    command = ["mount", *map(str, arguments)]
    done = millrace(*command, environment=environment, seconds=seconds + 20)
    took = time.monotonic() - start
    text = done.stderr.strip()
    print(text)
    assert done.returncode == status, f"status {done.returncode}: {done.stdout}{text}"
    assert took <= seconds, f"took {took:.1f} s"
    assert 1 <= len(text.splitlines()) <= 2, text
    assert text.startswith("millrace: "), text
    assert done.stdout == ""
    for word in mentions:
        assert word.lower() in text.lower(), f"no {word!r} in: {text}"
    assert SECRET not in text
    assert not is_mounted(directory)
    return text


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "mnt").mkdir()
    return tmp_path / "mnt"


@pytest.mark.parametrize("mode", [["--foreground"], []], ids=["foreground", "background"])
def test_missing_bucket(signed, directory, mode):
    text = refused(directory, "s3://nosuchbucket", directory, "--endpoint", signed.endpoint, *mode,
                   mentions=["nosuchbucket"])
    assert "fix:" in text


def test_wrong_secret_key(signed, directory):
    refused(directory, "s3://data", directory, "--endpoint", signed.endpoint, "--foreground",
            environment={"AWS_SECRET_ACCESS_KEY": SECRET}, mentions=["fix:", "secret"])


def test_unknown_access_key(signed, directory):
    refused(directory, "s3://data", directory, "--endpoint", signed.endpoint, "--foreground",
            environment={"AWS_ACCESS_KEY_ID": "nobody"}, mentions=["fix:", "key"])


def test_no_credentials_at_all(signed, directory):
    refused(directory, "s3://data", directory, "--endpoint", signed.endpoint, "--foreground",
            environment={"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, mentions=["fix:", "credentials"])


def test_wrong_region_is_corrected_or_named(signed, directory):
    """The server says which region is right, so either is good; the client corrects it."""
    environment = {"AWS_REGION": "eu-nowhere-9"}
    done = millrace("ls", "s3://data", "--endpoint", signed.endpoint, environment=environment)
    assert done.returncode == 0 or "region" in done.stderr, done.stderr
    assert done.returncode != 0 or "file" in done.stdout


def test_wrong_region_that_the_server_does_not_correct(embedded, directory):
    embedded.fault(count=-1, status=400, code="AuthorizationHeaderMalformed", message="the region is wrong")
    refused(directory, "s3://data", directory, "--endpoint", embedded.endpoint, "--foreground",
            mentions=["region", "fix:"])


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://no-such-host.invalid"])
def test_endpoint_that_is_not_there(directory, endpoint):
    refused(directory, "s3://data", directory, "--endpoint", endpoint, "--foreground", mentions=["endpoint", "fix:"])


@pytest.mark.parametrize("endpoint", [
    "ftp://127.0.0.1", "nonsense", "", "http://", "http://a b.example", "http://127.0.0.1:port", "http://127.0.0.1:99999",
    "http://user:password@127.0.0.1", "http://127.0.0.1/?x=1", "http://[::1"])
@pytest.mark.parametrize("mode", [["--foreground"], []], ids=["foreground", "background"])
def test_malformed_endpoint(directory, endpoint, mode):
    text = refused(directory, "s3://data", directory, "--endpoint", endpoint, *mode, status=2,
                   mentions=["endpoint", "fix:"])
    assert "password" not in text


def test_malformed_endpoint_of_the_environment(directory):
    refused(directory, "s3://data", directory, "--foreground", environment={"AWS_ENDPOINT_URL": "ftp://x"},
            mentions=["endpoint", "fix:"])


def test_endpoint_that_never_answers(embedded, directory):
    embedded.fault(count=-1, isSilent=True)
    refused(directory, "s3://data", directory, "--endpoint", embedded.endpoint, "--foreground", mentions=["fix:"])


def test_endpoint_that_is_no_s3_server(embedded, directory):
    embedded.fault(count=-1, status=200, hostile="html")
    refused(directory, "s3://data", directory, "--endpoint", embedded.endpoint, "--foreground", mentions=["fix:"])


def test_unreadable_ca(signed, directory, tmp_path):
    refused(directory, "s3://data", directory, "--endpoint", signed.endpoint, "--foreground",
            "--ca-bundle", tmp_path / "none.pem", mentions=["none.pem", "fix:"])
    broken = tmp_path / "broken.pem"
    broken.write_text("not a certificate\n")
    refused(directory, "s3://data", directory, "--endpoint", signed.endpoint.replace("http:", "https:"), "--foreground",
            "--ca-bundle", broken, mentions=["broken.pem"])


def test_missing_mount_point(signed, tmp_path):
    missing = tmp_path / "none"
    refused(missing, "s3://data", missing, "--endpoint", signed.endpoint, "--foreground", mentions=[str(missing), "fix:"])


def test_mount_point_that_is_a_file(signed, tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    refused(file, "s3://data", file, "--endpoint", signed.endpoint, "--foreground", mentions=[str(file)])


def test_mount_point_that_is_not_empty(signed, directory):
    (directory / "something").write_text("x")
    refused(directory, "s3://data", directory, "--endpoint", signed.endpoint, "--foreground",
            mentions=[str(directory), "empty", "fix:"])


def test_unknown_option(signed, directory):
    refused(directory, "s3://data", directory, "--endpoint", signed.endpoint, "--no-such-option", status=2,
            mentions=["--no-such-option"])


@pytest.mark.parametrize("arguments", [
    ["--memory", "lots"], ["--memory", "-5"], ["--memory", "1"], ["--cache-size", "12Q"], ["--file-mode", "999"],
    ["--uid", "root?"], ["--metadata-ttl", "soon"], ["--read-ahead", "99999999999999999999"], ["--log-level", "loud"],
], ids=" ".join)
def test_nonsense_value(signed, directory, arguments):
    refused(directory, "s3://data", directory, "--endpoint", signed.endpoint, "--foreground", *arguments, status=2,
            mentions=[arguments[0]])


@pytest.mark.parametrize("source", ["data", "ftp://data", "s3://", "s3:///x", "s3://UPPER_case!"])
def test_nonsense_source(signed, directory, source):
    refused(directory, source, directory, "--endpoint", signed.endpoint, "--foreground", status=2)


def test_no_arguments():
    done = millrace("mount")
    assert done.returncode == 2 and 1 <= len(done.stderr.strip().splitlines()) <= 4


def in_namespace(script: str, directory, server) -> subprocess.CompletedProcess:
    """Runs a shell script in a mount namespace of its own; BIN, DIR and ENDPOINT are set."""
    from harness import BINARY  # pylint: disable=import-outside-toplevel
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script], capture_output=True, text=True,
        timeout=30, env={**clean_environment(), "BIN": str(BINARY), "DIR": str(directory), "ENDPOINT": server.endpoint})


def test_no_dev_fuse(signed, directory):
    """/dev/fuse is hidden in a mount namespace of the test's own."""
    done = in_namespace(
        'mount -t tmpfs none /dev && exec "$BIN" mount s3://data "$DIR" --endpoint "$ENDPOINT" --foreground',
        directory, signed)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "/dev/fuse" in done.stderr and "fix:" in done.stderr and len(done.stderr.strip().splitlines()) <= 2
    assert not is_mounted(directory)


def test_no_permission_to_mount(signed, tmp_path):
    """A user who may neither mount(2) nor find fusermount3."""
    directory = tmp_path / "mnt"
    directory.mkdir()
    os.chmod(tmp_path, 0o755)
    os.chown(directory, 65534, 65534)
    for parent in tmp_path.parents:
        if not os.stat(parent).st_mode & 1:
            os.chmod(parent, os.stat(parent).st_mode | 0o11)
    done = in_namespace(
        'exec setpriv --reuid 65534 --regid 65534 --clear-groups env PATH=/nonexistent "$BIN" mount s3://data "$DIR" '
        '--endpoint "$ENDPOINT" --foreground', directory, signed)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "/dev/fuse" in done.stderr or "fusermount3" in done.stderr, done.stderr
    assert "fix:" in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
    assert not is_mounted(directory)


def test_unmount_what_is_not_mounted(tmp_path):
    done = millrace("unmount", tmp_path)
    assert done.returncode == 1 and str(tmp_path) in done.stderr and len(done.stderr.strip().splitlines()) <= 2
