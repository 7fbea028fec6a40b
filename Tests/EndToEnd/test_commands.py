"""The commands beside a foreground mount: background mounts, fstab, ls, cp, status, doctor, options from elsewhere."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from harness import BINARY, clean_environment, eventually, generated, is_mounted, millrace


@pytest.fixture(scope="module")
def server(shared_embedded):
    shared_embedded.put("d/one", b"1")
    shared_embedded.put("d/sub/two", b"22")
    shared_embedded.put_generated("d/big", 20 << 20, 3)
    return shared_embedded


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "mnt"
    path.mkdir()
    yield path
    while is_mounted(path):
        subprocess.run(["umount", "-l", path], check=False)


def test_a_background_mount_returns_when_it_is_there_and_unmount_ends_it(server, directory):
    millrace("mount", "s3://data/d", directory, "--endpoint", server.endpoint, check=True)
    assert sorted(os.listdir(directory)) == ["big", "one", "sub"]
    rows = [json.loads(line) for line in millrace("status", "--json", check=True).stdout.splitlines()]
    row = next(row for row in rows if row["directory"] == str(directory))
    assert row["state"] == "serving" and row["source"] == "s3://data/d"
    millrace("unmount", directory, check=True)
    assert not is_mounted(directory)
    eventually(lambda: not Path(f"/proc/{row['pid']}").exists(), 10, "the end of the serving process")


def test_a_background_mount_that_fails_says_why_and_leaves_nothing(server, directory):
    done = millrace("mount", "s3://nowhere", directory, "--endpoint", server.endpoint)
    assert done.returncode == 1
    assert "there is no bucket nowhere" in done.stderr and len(done.stderr.splitlines()) <= 2
    assert not is_mounted(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="mount(8) makes mounts for root only")
def test_a_line_of_fstab(server, directory, tmp_path):
    helper = Path("/sbin/mount.millrace")
    if helper.exists():
        pytest.skip(f"{helper} is there already")
    fstab = tmp_path / "fstab"
    fstab.write_text(
        f"s3://data/d {directory} millrace ro,noauto,_netdev,allow_other,endpoint={server.endpoint} 0 0\n")
    helper.symlink_to(BINARY)
    try:
        subprocess.run(["mount", "-T", fstab, directory], check=True, env=clean_environment(), timeout=30)
        assert (directory / "sub/two").read_bytes() == b"22"
        subprocess.run(["umount", directory], check=True, timeout=30)
    finally:
        helper.unlink()
    assert not is_mounted(directory)


def test_ls(server):
    done = millrace("ls", "s3://data/d/", "--endpoint", server.endpoint, check=True)
    assert sorted(done.stdout.split()) == ["big", "one", "sub/"]
    done = millrace("ls", "-r", "-l", "--summary", "s3://data/d/", "--endpoint", server.endpoint, check=True)
    assert "d/sub/two" in done.stdout and f"3 objects, {(20 << 20) + 3} bytes" in done.stdout


def test_cp_copies_a_prefix_and_a_second_run_reads_nothing(server, tmp_path):
    first = millrace("cp", "s3://data/d/", tmp_path / "out", "--endpoint", server.endpoint, check=True)
    assert "3 copied" in first.stderr
    assert (tmp_path / "out/sub/two").read_bytes() == b"22"
    whole = hashlib.sha256(generated(20 << 20, 3, 0)).digest()
    assert hashlib.sha256((tmp_path / "out/big").read_bytes()).digest() == whole
    second = millrace("cp", "s3://data/d/", tmp_path / "out", "--endpoint", server.endpoint, check=True)
    assert "0 copied, 3 already there" in second.stderr


def test_cp_of_one_object_into_a_directory_and_to_a_name(server, tmp_path):
    millrace("cp", "s3://data/d/one", tmp_path, "--endpoint", server.endpoint, check=True)
    assert (tmp_path / "one").read_bytes() == b"1"
    millrace("cp", "s3://data/d/one", tmp_path / "renamed", "--endpoint", server.endpoint, check=True)
    assert (tmp_path / "renamed").read_bytes() == b"1"
    missing = millrace("cp", "s3://data/d/none", tmp_path, "--endpoint", server.endpoint)
    assert missing.returncode == 1 and "no such object" in missing.stderr


def test_options_from_the_environment_and_a_file(server, tmp_path):
    millrace("ls", "s3://data/", environment={"MILLRACE_ENDPOINT": server.endpoint}, check=True)
    config = tmp_path / "config"
    config.write_text(f"endpoint = {server.endpoint}\n\n[mount]\nmemory = 64M\n")
    millrace("ls", "s3://data/", "--config", config, check=True)
    config.write_text("endpiont = x\n")
    wrong = millrace("ls", "s3://data/", "--config", config)
    assert wrong.returncode == 1 and "endpiont" in wrong.stderr


def test_doctor_says_what_is_wrong_and_how_to_mend_it(server):
    good = millrace("doctor", "s3://data/d", "--endpoint", server.endpoint)
    assert good.returncode == 0, good.stdout
    assert "FAIL" not in good.stdout
    bad = millrace("doctor", "s3://nowhere", "--endpoint", server.endpoint)
    assert bad.returncode == 1
    assert "FAIL" in bad.stdout and "fix:" in bad.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions(shell):
    done = millrace("--generate-completion-script", shell, check=True)
    assert "unmount" in done.stdout and "cache-dir" in done.stdout
