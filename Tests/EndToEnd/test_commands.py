"""The commands beside a foreground mount: background mounts, fstab, ls, cp, status, doctor, options from elsewhere."""

import fcntl
import hashlib
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import termios
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


def options_of(command: str) -> list[str]:
    return re.findall(r"^ +--([a-z-]+)", millrace(command, "--help", check=True).stdout, re.M)


# These say where options come from, or what is done with the process.
NOT_FROM_ELSEWHERE = {"config", "help", "version", "foreground"}
# Any name of a file is a good one: see test_a_mount_by_environment_and_file_alone.
TAKES_ANYTHING = {"log-file"}


@pytest.mark.parametrize("option", sorted(set(options_of("mount")) - NOT_FROM_ELSEWHERE - TAKES_ANYTHING))
def test_every_option_of_a_mount_is_taken_from_the_environment_and_the_file(server, directory, tmp_path, option):
    """A value that makes no sense is refused, from wherever it comes: so it was read."""
    nonsense = {"ca-bundle": "/no/such/file", "cache-dir": "/dev/null/cache", "profile": "nobody", "region": "a b",
                "revision": "/no/such/manifest", "headers": "/no/such/headers"}.get(option, "~nonsense~")
    fine = f"endpoint = {server.endpoint}\n" if option != "endpoint" else ""
    source = server.endpoint + "/" if option == "headers" else "s3://data/d"  # for web servers only
    config = tmp_path / "config"

    def refused(environment, text):
        config.write_text(text)
        done = millrace("mount", source, directory, "--foreground", "--config", config, environment=environment)
        assert done.returncode in (1, 2), f"{option}: {done.stderr}"
        assert len(done.stderr.strip().splitlines()) <= 2
        return done.stderr.lower()

    variable = "MILLRACE_" + option.upper().replace("-", "_")
    for said in (refused({variable: nonsense}, fine), refused({}, f"{fine}[mount]\n{option} = {nonsense}\n")):
        assert any(word in said for word in (option, nonsense)), said


def test_a_mount_by_environment_and_file_alone(server, directory, tmp_path):
    """What is typed wins over the environment, which wins over the file's section, which wins over the rest."""
    config = tmp_path / "config"
    config.write_text(f"endpoint = http://127.0.0.1:1\nfile-mode = 400\n\n[mount]\nendpoint = {server.endpoint}\n"
                      f"uid = 11\ngid = 12\nimmutable = yes\nlog-file = {tmp_path}/log\nlog-level = debug\n")
    environment = {"MILLRACE_CONFIG": str(config), "MILLRACE_GID": "22", "MILLRACE_DIR_MODE": "711"}
    millrace("mount", "s3://data/d", directory, "--dir-mode", "755", environment=environment, check=True)
    try:
        status = os.stat(directory / "one")
        assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (11, 22, 0o400)
        assert os.stat(directory / "sub").st_mode & 0o7777 == 0o755
    finally:
        millrace("unmount", directory, check=True)
    assert (tmp_path / "log").read_text()


def test_cp_that_is_killed_goes_on_where_it_was(embedded, tmp_path):
    size = 96 << 20  # 12 parts, of which two are under way at a time
    embedded.put_generated("large", size, 4)
    embedded.options(bytesPerSecond=10 << 20)
    command = [BINARY, "cp", "s3://data/large", tmp_path / "large", "--endpoint", embedded.endpoint, "--parallel", "2"]
    first = subprocess.Popen(command, env=clean_environment(), stderr=subprocess.DEVNULL)
    eventually(lambda: embedded.counts()["bytes"] > size // 2, 60, "half of the object")
    first.kill()
    first.wait()
    assert not (tmp_path / "large").exists()
    embedded.options(bytesPerSecond=0)
    embedded.clear_log()
    millrace("cp", *command[2:], seconds=60, check=True)
    is_right = (tmp_path / "large").read_bytes() == generated(size, 4)
    assert is_right
    assert embedded.counts()["bytes"] < size * 9 // 10
    assert os.listdir(tmp_path) == ["large"]


def test_cp_draws_a_bar_on_a_terminal_and_lines_elsewhere(embedded, tmp_path):
    size = 24 << 20
    embedded.put_generated("d/large", size, 4)
    embedded.options(bytesPerSecond=8 << 20)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [BINARY, "cp", "s3://data/d/", tmp_path / "out", "--endpoint", embedded.endpoint]
    copy = subprocess.Popen(command, env=clean_environment(), stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # the terminal's other end is closed
            break
    os.close(ours)
    assert copy.wait(60) == 0
    drawn = [frame for frame in shown.decode().split("\r\x1b[K") if "[" in frame]
    shares = [int(share) for share in re.findall(r"(\d+) %", " ".join(drawn))]
    assert len(set(shares)) >= 3 and shares == sorted(shares) and 0 < shares[-1] <= 100, shown
    assert all(len(frame) < 100 for frame in drawn), drawn
    plain = millrace("cp", "s3://data/d/", tmp_path / "plain", "--endpoint", embedded.endpoint, check=True, seconds=60)
    assert "\r" not in plain.stderr and "\x1b" not in plain.stderr and "1 copied" in plain.stderr


def checks(text: str) -> dict[str, str]:
    """What doctor printed: each check, and "ok" or how to mend it."""
    found = {}
    lines = text.splitlines()
    for place, line in enumerate(lines):
        if line.startswith("ok    "):
            found[line[6:]] = "ok"
        elif line.startswith("FAIL  "):
            found[line[6:]] = lines[place + 2].strip()
    return found


def failing(done: subprocess.CompletedProcess) -> tuple[str, str]:
    """The one check that failed, and its fix."""
    wrong = [(check, fix) for check, fix in checks(done.stdout).items() if fix != "ok"]
    assert done.returncode == 1 and len(wrong) == 1 and wrong[0][1].startswith("fix: "), done.stdout
    return wrong[0]


def test_doctor_finds_nothing_wrong(server):
    good = millrace("doctor", "s3://data/d", "--endpoint", server.endpoint)
    found = checks(good.stdout)
    assert good.returncode == 0 and set(found.values()) == {"ok"}, good.stdout
    for what in ("/dev/fuse", "credentials", "endpoint", "clock", "region", "listed"):
        assert any(what in check for check in found), f"{what} is not checked: {good.stdout}"


def test_doctor_on_the_device_and_fusermount(server):
    """Both as they look on a machine without FUSE, in a mount namespace of the test's own."""
    def doctor(script: str):
        return subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script], capture_output=True, text=True,
            timeout=30, env={**clean_environment(), "BIN": str(BINARY), "ENDPOINT": server.endpoint})

    check, fix = failing(doctor('mount -t tmpfs none /dev && exec "$BIN" doctor'))
    assert "/dev/fuse" in check and "modprobe" in fix
    done = doctor('mount -t tmpfs none /dev; mknod -m 666 /dev/fuse c 10 229; mknod -m 666 /dev/null c 1 3; '
                  'exec setpriv --reuid 65534 --regid 65534 --clear-groups env PATH=/nonexistent "$BIN" doctor')
    check, fix = failing(done)
    assert "fusermount3" in check and "fuse3" in fix


def test_doctor_on_credentials(server):
    none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    done = millrace("doctor", "s3://data/d", "--endpoint", server.endpoint, environment=none)
    wrong = [check for check, fix in checks(done.stdout).items() if fix != "ok"]
    assert done.returncode == 1 and any("credentials" in check or "options" in check for check in wrong), done.stdout
    assert "AWS_ACCESS_KEY_ID" in done.stdout


def test_doctor_on_the_endpoint_and_the_bucket(server):
    check, _ = failing(millrace("doctor", "s3://data", "--endpoint", "http://127.0.0.1:1"))
    assert "endpoint" in check
    bad = millrace("doctor", "s3://nowhere", "--endpoint", server.endpoint)
    assert bad.returncode == 1 and "there is no bucket" in bad.stdout and "fix:" in bad.stdout
    check, fix = failing(millrace("doctor", "s3://data/no/such/prefix", "--endpoint", server.endpoint))
    assert "listed" in check and "millrace ls" in fix


@pytest.mark.parametrize("offset", [3600, -3600])
def test_doctor_on_the_clock(embedded, offset):
    embedded.put("file", b"x")
    embedded.options(clockOffset=offset)
    check, fix = failing(millrace("doctor", "s3://data", "--endpoint", embedded.endpoint))
    assert "clock" in check and "ntp" in fix


def test_doctor_on_the_region(embedded):
    embedded.put("file", b"x")
    embedded.fault(count=-1, headers={"x-amz-bucket-region": "eu-test-3"})
    check, fix = failing(millrace("doctor", "s3://data", "--endpoint", embedded.endpoint))
    assert "region" in check and "--region eu-test-3" in fix
    right = millrace("doctor", "s3://data", "--endpoint", embedded.endpoint, "--region", "eu-test-3")
    assert right.returncode == 0, right.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions(shell):
    done = millrace("--generate-completion-script", shell, check=True)
    assert "unmount" in done.stdout and "cache-dir" in done.stdout


def test_bash_completes_commands_options_and_directories(tmp_path):
    """As bash asks for it: the function that the script registers, given words and a place in them."""
    (tmp_path / "some-directory").mkdir()
    (tmp_path / "millrace").write_text(millrace("--generate-completion-script", "bash", check=True).stdout)

    def completions(*words: str) -> set[str]:
        quoted = " ".join(f"'{word}'" for word in words)
        script = f"""
            cd {tmp_path}; PATH={BINARY.parent}:$PATH; source ./millrace
            COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; COMP_LINE="{' '.join(words)}"; COMP_POINT=${{#COMP_LINE}}
            COMP_TYPE=9; COMP_KEY=9
            _millrace millrace '{words[-1]}' '{words[-2]}'
            printf '%s\n' "${{COMPREPLY[@]}}"
        """
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30, env=clean_environment())
        return {word.strip() for word in done.stdout.split()}

    assert {"mount", "unmount", "status", "doctor", "ls", "cp"} <= completions("millrace", "")
    assert completions("millrace", "unm") == {"unmount"}
    assert "--cache-dir" in completions("millrace", "mount", "--cache")
    assert "some-directory" in {word.rstrip("/") for word in completions("millrace", "mount", "--cache-dir", "some")}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_accept_their_script(shell, tmp_path):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "script"
    script.write_text(millrace("--generate-completion-script", shell, check=True).stdout)
    subprocess.run([shell, "-n", script], check=True, timeout=30)
