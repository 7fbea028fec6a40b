"""`millrace warm` on a real mount: what it brings is on disk, all of it, and nobody asks S3 for it again."""

import json
import os
import signal
import subprocess
import urllib.request

import pytest

from harness import BINARY, Embedded, Mount, clean_environment, eventually, generated, millrace

MIB = 1 << 20


def fill(server):
    """A large file, and small ones in two directories."""
    server.put_generated("set/big.bin", 40 * MIB + 123, 1)
    server.put_many([(f"set/train/{n:03}".encode(), 5000 + n, 100 + n) for n in range(60)])
    server.put_many([(f"set/test/{n:03}".encode(), 70_000 + n, 300 + n) for n in range(20)])
    server.put("set/empty", b"")


@pytest.fixture
def store():
    with Embedded() as server:
        fill(server)
        yield server


def mounted(store, cache, *options):
    return Mount("s3://data/set", store.endpoint, "--cache-dir", cache, "--cache-size", "512M", *options)


def gets(store):
    return sum(entry["operation"] == "get" for entry in store.log())


def fetched(store):
    return sum(entry["bytes"] for entry in store.log() if entry["operation"] == "get")


def check_all(mount):
    assert mount.read("big.bin") == generated(40 * MIB + 123, 1)
    for n in range(60):
        assert mount.read(f"train/{n:03}") == generated(5000 + n, 100 + n)
    for n in range(20):
        assert mount.read(f"test/{n:03}") == generated(70_000 + n, 300 + n)
    assert mount.read("empty") == b""


def test_V10_a_warm_tree_is_read_without_S3(store, tmp_path):
    # Memory for a fraction of the data only: it doesn't go through there.
    with mounted(store, tmp_path / "cache", "--memory", "16M") as mount:
        result = tmp_path / "result"
        done = millrace("warm", mount.directory, "--result-file", result, check=True, seconds=120)
        assert "82 files" in done.stderr
        report = json.loads(result.read_text())
        size = 40 * MIB + 123 + sum(5000 + n for n in range(60)) + sum(70_000 + n for n in range(20))
        assert (report["phase"], report["objects"], report["bytes"]) == ("Succeeded", 82, size)
        assert fetched(store) == size
    with mounted(store, tmp_path / "cache") as mount:
        store.clear_log()
        check_all(mount)
        assert gets(store) == 0
        # Warming what is warm costs nothing.
        millrace("warm", mount.directory, check=True, seconds=120)
        assert gets(store) == 0


def test_V6_only_what_matches_is_brought(store, tmp_path):
    with mounted(store, tmp_path / "cache") as mount:
        millrace("warm", mount.directory, "--glob", "train/*", "--glob", "**/00[0-4]", check=True, seconds=120)
        store.clear_log()
        for n in range(60):
            assert mount.read(f"train/{n:03}") == generated(5000 + n, 100 + n)
        for n in range(5):
            assert mount.read(f"test/{n:03}") == generated(70_000 + n, 300 + n)
        # Files beside them are fetched ahead, of their reader's own accord.
        asked = {entry["key"] for entry in store.log() if entry["operation"] == "get"}
        assert not [key for key in asked if key.startswith("set/train/") or key <= "set/test/004"]
        assert mount.read("test/019") == generated(70_019, 319)
        assert gets(store) > 0


def test_a_run_that_was_killed_goes_on_where_it_stopped(store, tmp_path):
    with mounted(store, tmp_path / "cache") as mount:
        store.options(latencyMs=20)
        command = [str(BINARY), "warm", str(mount.directory), "--parallel", "1", "--progress-address", "127.0.0.1:0"]
        run = subprocess.Popen(command, env=clean_environment(), stderr=subprocess.PIPE, text=True)
        eventually(lambda: fetched(store) > 18 * MIB or run.poll() is not None, 60, "some of it")
        run.send_signal(signal.SIGKILL)
        run.wait(60)
        store.options(latencyMs=0)
        before = fetched(store)
        millrace("warm", mount.directory, check=True, seconds=120)
        total = 40 * MIB + 123 + sum(5000 + n for n in range(60)) + sum(70_000 + n for n in range(20))
        # What was under way at that moment may come twice.
        assert fetched(store) - before < total - 10 * MIB
        store.clear_log()
        check_all(mount)
        assert gets(store) == 0


def test_readers_and_a_warm_up_at_once_end_complete(store, tmp_path):
    with mounted(store, tmp_path / "cache", "--memory", "16M") as mount:
        run = subprocess.Popen(
            [str(BINARY), "warm", str(mount.directory)], env=clean_environment(), stderr=subprocess.PIPE, text=True)
        check_all(mount)
        assert run.wait(120) == 0, run.stderr.read()
        mount.drop_caches() if os.geteuid() == 0 else None
        store.clear_log()
        check_all(mount)
        assert gets(store) == 0


def test_a_replaced_file_is_brought_anew(store, tmp_path):
    with mounted(store, tmp_path / "cache", "--metadata-ttl", "100ms") as mount:
        millrace("warm", mount.directory, check=True, seconds=120)
        store.put_generated("set/test/000", 90_000, 9)
        eventually(lambda: mount.path("test/000").stat().st_size == 90_000, 20, "the new size")
        millrace("warm", mount.directory, check=True, seconds=120)
        store.clear_log()
        assert mount.read("test/000") == generated(90_000, 9)
        assert gets(store) == 0


@pytest.mark.parametrize("case", ["no cache", "too small", "quota", "no mount", "no directory", "S3 fails"])
def test_what_cannot_be_warm_is_told(store, tmp_path, case):
    options = {"too small": ["--cache-dir", tmp_path / "c", "--cache-size", "64M", "--cache-quota", "20M"],
               "quota": ["--cache-dir", tmp_path / "c", "--cache-quota", "10M"],
               "S3 fails": ["--cache-dir", tmp_path / "c", "--request-timeout", "1s"]}.get(case, [])
    with Mount("s3://data/set", store.endpoint, *options) as mount:
        directory = {"no mount": tmp_path, "no directory": tmp_path / "none"}.get(case, mount.directory)
        if case == "no mount":
            (tmp_path / "file").write_text("x")
        if case == "S3 fails":
            store.fault(key="set/test/003", status=500, count=-1)
        result = tmp_path / "result"
        done = millrace("warm", directory, "--result-file", result, seconds=120)
        assert done.returncode == 1, done.stderr
        words = {"no cache": "cache directory", "too small": "takes no more", "quota": "takes no more",
                 "no mount": "isn't on a mount", "no directory": "No such file", "S3 fails": "test/003"}[case]
        assert words in done.stderr, done.stderr
        assert json.loads(result.read_text())["phase"] == "Failed"


def test_progress_is_served(store, tmp_path):
    with mounted(store, tmp_path / "cache") as mount:
        store.options(latencyMs=300)
        with Embedded() as other:
            port = other.port
        run = subprocess.Popen(
            [str(BINARY), "warm", str(mount.directory), "--parallel", "1", "--progress-address", f"127.0.0.1:{port}"],
            env=clean_environment(), stderr=subprocess.PIPE, text=True)

        def report():
            assert run.poll() is None, run.stderr.read()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/progress", timeout=5) as answer:
                    return json.load(answer)
            except OSError:
                return None

        eventually(lambda: (r := report()) and r["phase"] == "Warming" and r["bytes"] > 0, 60, "progress")
        run.terminate()
        assert run.wait(60) == 1 and "goes on where it stopped" in run.stderr.read()


def test_the_caches_use_is_told_by_dataset(store, tmp_path):
    with Embedded() as other:
        port = other.port
    with mounted(store, tmp_path / "cache", "--metrics", f"127.0.0.1:{port}") as mount:
        millrace("warm", mount.directory, check=True, seconds=120)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        line = next(line for line in text.splitlines() if line.startswith("millrace_cache_bytes{"))
        assert 'dataset="s3://data/set"' in line and float(line.split()[-1]) > 40 * MIB


def test_the_attributes_are_not_listed(store, tmp_path):
    """Programs that copy all attributes must not warm anything up."""
    with mounted(store, tmp_path / "cache") as mount:
        names = os.listxattr(mount.path("train/000"))
        assert names and not [name for name in names if "warm" in name or "cached" in name]
        assert os.getxattr(mount.path("train/000"), "user.millrace.cached") == b"0 5000"
        assert os.getxattr(mount.path("train/000"), "user.millrace.warm.0") == b"5000 5000"
        assert os.getxattr(mount.path("train/000"), "user.millrace.cached") == b"5000 5000"
        for name in ("user.millrace.warm.", "user.millrace.warm.-1", "user.millrace.warm.x"):
            with pytest.raises(OSError):
                os.getxattr(mount.path("train/000"), name)
        assert os.getxattr(mount.path("train/000"), f"user.millrace.warm.{2 ** 64 - 1}") == b"5000 5000"
