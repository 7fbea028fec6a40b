"""Imports end to end: the controller's program, Jobs that run as processes, real servers, and what goes wrong."""

import hashlib
import http.server
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.error

import pytest

from controller import ROOT, wait_for
from jobs import Jobs, millrace
from kube import Cluster, needs_stand_in

sys.path.insert(0, str(ROOT / "Tests/EndToEnd"))
from harness import Embedded  # noqa: E402

pytestmark = needs_stand_in("its Job controller and kubelet are the test's own")
IMPORTS = "/apis/millrace.dev/v1alpha1/namespaces/team/datasetimports"
ACCESS, SECRET = "importaccess", "importsecret0123456789"


def content(size, seed):
    return random.Random(seed).randbytes(size)


@pytest.fixture
def s3():
    with Embedded() as server:
        server.credentials(ACCESS, SECRET)
        yield server


@pytest.fixture
def world(tmp_path):
    class World:
        cluster = Cluster(tmp_path)

        def run(self, *more):
            return self.cluster.controller(
                "--no-leader-election", "--no-probes", "--import-image=millrace:test", "--allow-address=127.0.0.0/8", *more)

        def add(self, name, **spec):
            return self.cluster.post(IMPORTS, {"metadata": {"name": name}, "spec": spec})

        def status(self, name):
            return (self.cluster.get(f"{IMPORTS}/{name}") or {}).get("status", {})

        def ends(self, name, phase, seconds=60):
            wait_for(f"import {name} has ended", lambda: self.status(name).get("phase") in ("Succeeded", "Failed"), seconds)
            assert self.status(name)["phase"] == phase, self.status(name)

        def claim(self, name, **more):
            self.cluster.post("/api/v1/namespaces/team/persistentvolumeclaims", {
                "metadata": {"name": name},
                "spec": {"storageClassName": "disk", "accessModes": ["ReadWriteOnce"],
                         "resources": {"requests": {"storage": "1Gi"}}, **more}})

        def files(self, claim):
            root = self.jobs.directory("team", claim)
            return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    world = World()
    world.cluster.namespace("team")
    for name, binding in (("disk", "Immediate"), ("late", "WaitForFirstConsumer")):
        world.cluster.apply("/apis/storage.k8s.io/v1/storageclasses", {
            "metadata": {"name": name}, "provisioner": "disk.example", "volumeBindingMode": binding})
    world.cluster.secret("team", "keys", {"accessKeyId": ACCESS, "secretKey": SECRET})
    volumes = tmp_path / "volumes"
    volumes.mkdir()
    world.jobs = Jobs(world.cluster, volumes)
    yield world
    world.jobs.stop()
    world.cluster.stop()


def source(s3, **more):
    return {"s3": {"bucket": s3.bucket, "endpoint": s3.endpoint, **more}}


def fill(s3, prefix="iris/", count=40, size=20_000):
    expected = {}
    for number in range(count):
        name = f"d{number % 3}/{number}"
        expected[name] = content(size + number, number)
        s3.put(prefix + name, expected[name])
    return expected


def test_C1_C6_C8_a_prefix_is_copied_onto_a_claim(world, s3):
    expected = fill(s3)
    world.run()
    world.claim("golden")
    world.add("iris", source=source(s3, prefix="iris/"), secretRef={"name": "keys"}, claimName="golden")
    world.ends("iris", "Succeeded")
    assert world.files("golden") == expected
    status = world.status("iris")
    assert status["progress"]["objects"] == status["progress"]["objectsTotal"] == 40
    assert status["progress"]["bytes"] == sum(map(len, expected.values())) and status["progress"]["percent"] == 100


@pytest.mark.parametrize("keys", [
    ("accessKeyId", "secretKey"), ("accessKeyID", "secretAccessKey"), ("awsAccessKeyID", "awsSecretAccessKey"),
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")])
def test_C2_every_spelling_of_keys_with_endpoint_and_path_in_the_secret(tmp_path, s3, keys):
    s3.put("iris/a", b"hello")
    directory = tmp_path / "keys"
    directory.mkdir()
    for name, value in zip((*keys, "endpoint", "objectPath"), (ACCESS, SECRET + "\n", s3.endpoint, "data/iris/a")):
        (directory / name).write_text(value)
    run = subprocess.run(
        [millrace(), "cp", "-q", "--credentials-dir", str(directory), str(tmp_path / "a")],
        capture_output=True, text=True, timeout=60, env={"PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true"})
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "a").read_bytes() == b"hello"


@pytest.mark.parametrize("as_url", [False, True])
def test_C3_the_importers_environment(tmp_path, s3, as_url):
    s3.put("iris/a", b"hello")
    endpoint = {"IMPORTER_ENDPOINT": f"{s3.endpoint}/data/iris/a", "IMPORTER_SOURCE": "s3"} if as_url else {
        "IMPORTER_ENDPOINT": s3.endpoint}
    typed = [] if as_url else ["s3://data/iris/a"]
    run = subprocess.run(
        [millrace(), "cp", "-q", *typed, str(tmp_path / "a")], capture_output=True, text=True, timeout=60,
        env={"PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true", "IMPORTER_ACCESS_KEY_ID": ACCESS,
             "IMPORTER_SECRET_KEY": SECRET, **endpoint})
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "a").read_bytes() == b"hello"


class Web(http.server.ThreadingHTTPServer):
    """Files with ranges and ETags behind basic authentication and a header."""

    def __init__(self, files):
        self.files = files
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self):
                self.do_GET()

            def do_GET(self):
                import base64
                wanted = "Basic " + base64.b64encode(f"{ACCESS}:{SECRET}".encode()).decode()
                body = outer.files.get(self.path)
                status = 200
                if self.headers.get("Authorization") != wanted or self.headers.get("X-Extra") != "yes":
                    status, body = 401, b""
                elif body is None:
                    status, body = 404, b""
                total, extra = len(body), []
                asked = self.headers.get("Range")
                if status == 200 and asked:
                    first, last = asked.removeprefix("bytes=").split("-")
                    first, last = int(first), min(int(last or total - 1), total - 1)
                    status, extra = 206, [("Content-Range", f"bytes {first}-{last}/{total}")]
                    body = body[first:last + 1]
                self.send_response(status)
                self.send_header("ETag", '"v1"')
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str(len(body)))
                for name, value in extra:
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}"


def test_C4_urls_with_basic_authentication_and_extra_headers(world):
    files = {"/x/a.bin": content(20 << 20, 1), "/x/b.bin": b"small"}
    web = Web(files)
    world.run()
    world.cluster.secret("team", "headers", {"one": "X-Extra: yes\n"})
    world.claim("golden")
    world.add("web", source={"http": {"urls": [f"{web.url}{path}" for path in files]}}, secretRef={"name": "keys"},
              extraHeadersSecret={"name": "headers"}, claimName="golden")
    world.ends("web", "Succeeded")
    assert world.files("golden") == {"a.bin": files["/x/a.bin"], "b.bin": b"small"}
    web.shutdown()


@pytest.mark.parametrize("storage_class", ["disk", "late"])
def test_C5_a_claim_whose_data_source_is_an_import(world, s3, storage_class):
    expected = fill(s3)
    world.run()
    world.add("iris", source=source(s3, prefix="iris/"), secretRef={"name": "keys"})
    world.claim("data", storageClassName=storage_class, dataSourceRef={
        "apiGroup": "millrace.dev", "kind": "DatasetImport", "name": "iris"})
    if storage_class == "late":
        # Only a pod that uses it chooses its node.
        wait_for("it waits for a pod", lambda: any(
            e["reason"] == "WaitForFirstConsumer" for e in world.cluster.events("team", "data")))
        world.cluster.post("/api/v1/namespaces/team/pods", {
            "metadata": {"name": "user"},
            "spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}})
    wait_for("the claim is Bound", lambda: world.cluster.phase("team", "data") == "Bound", 60)
    assert world.files("data") == expected
    wait_for("the prime claim and the Job are gone", lambda: len(
        world.cluster.get("/api/v1/namespaces/team/persistentvolumeclaims")["items"]) == 1
        and not world.cluster.get("/apis/batch/v1/jobs")["items"])


@pytest.mark.parametrize("right", [True, False])
def test_C7_C9_checksums_and_a_wrong_one_is_final(world, s3, right):
    data = content(20 << 20, 3)
    s3.put("iris/big", data)
    digest = hashlib.sha512(data if right else b"").hexdigest()
    world.run()
    world.claim("golden")
    world.add("big", source=source(s3, object="iris/big"), secretRef={"name": "keys"}, claimName="golden",
              checksum=f"sha512:{digest}")
    world.ends("big", "Succeeded" if right else "Failed")
    assert world.files("golden") == ({"big": data} if right else {})
    if not right:
        assert world.jobs.started == 1, "it isn't tried again"
        assert "wrong checksum" in world.status("big")["message"] and digest in world.status("big")["message"]


def test_C9_a_job_killed_at_random_moments_goes_on(world, s3):
    expected = {f"big{n}": content(24 << 20, n) for n in range(3)}
    for name, data in expected.items():
        s3.put(f"iris/{name}", data)
    world.run()
    world.claim("golden")
    world.add("iris", source=source(s3, prefix="iris/"), secretRef={"name": "keys"}, claimName="golden", retries=50,
              parallel=2)
    rng = random.Random(7)
    kills = 0
    while kills < 6 and world.status("iris").get("phase") not in ("Succeeded", "Failed"):
        for child in world.jobs.children():
            time.sleep(rng.random() * 0.15)  # The moment is what is random here.
            child.send_signal(signal.SIGKILL)
            kills += 1
        # Whatever stands under a final name is whole.
        claim = world.cluster.found_claim("team", "golden")
        if claim["spec"].get("volumeName"):
            for name, data in world.files("golden").items():
                assert name.endswith(".millrace-part") or data == expected[name]
    world.ends("iris", "Succeeded")
    assert kills and world.files("golden") == expected
    assert world.status("iris")["restarts"] >= 1


def test_a_source_that_changes_during_the_copy_is_copied_whole(world, s3):
    world.run()
    world.claim("golden")
    versions = [content(32 << 20, n) for n in range(4)]
    s3.put("iris/big", versions[0])
    world.add("iris", source=source(s3, object="iris/big"), secretRef={"name": "keys"}, claimName="golden", retries=20)
    wait_for("it copies", lambda: any(r["method"] == "GET" and "big" in str(r) for r in s3.log()))
    s3.put("iris/big", versions[1])
    world.ends("iris", "Succeeded")
    assert world.files("golden")["big"] in versions[:2]
    assert set(world.files("golden")) == {"big"}


def test_two_imports_onto_one_claim(world, s3):
    fill(s3)
    world.run()
    world.add("first", source=source(s3, prefix="iris/"), secretRef={"name": "keys"}, claimName="golden")
    world.add("second", source=source(s3, prefix="iris/"), secretRef={"name": "keys"}, claimName="golden")
    world.claim("golden")
    wait_for("both have ended", lambda: all(
        world.status(n).get("phase") in ("Succeeded", "Failed") for n in ("first", "second")), 60)
    phases = sorted(world.status(n)["phase"] for n in ("first", "second"))
    refused = [c for n in ("first", "second") for c in world.status(n)["conditions"] if c["reason"] == "ClaimInUse"]
    # One at a time, whichever came first: the other was refused, unless the first was over by then.
    assert phases == ["Succeeded", "Succeeded"] or phases == ["Failed", "Succeeded"] and refused


def test_C11_a_schedule_keeps_the_last(world, s3):
    expected = fill(s3, count=3)
    world.run()
    world.add("nightly", source=source(s3, prefix="iris/"), secretRef={"name": "keys"}, schedule="0 3 * * *", keepLast=2,
              claimTemplate={"storageClassName": "disk", "capacity": "1Gi"})
    latest = wait_for("the first run is over", lambda: world.status("nightly").get("latestClaim"), 60)
    assert world.files(latest) == expected
    assert world.status("nightly")["nextScheduleTime"].endswith("T03:00:00Z")
    assert world.cluster.found_claim("team", latest)["metadata"]["labels"]["millrace.dev/latest"] == "true"


def test_V13_an_import_that_is_deleted_leaves_nothing_behind(world, s3):
    s3.put("iris/big", content(64 << 20, 1))
    world.run()
    world.add("iris", source=source(s3, prefix="iris/"), secretRef={"name": "keys"},
              claimTemplate={"storageClassName": "disk", "capacity": "1Gi"})
    wait_for("the Job runs", lambda: world.jobs.started)
    world.cluster.delete(f"{IMPORTS}/iris")
    wait_for("all is gone", lambda: world.cluster.get(f"{IMPORTS}/iris") is None
             and not world.cluster.get("/apis/batch/v1/jobs")["items"] and not world.cluster.get("/api/v1/pods")["items"]
             and not world.cluster.get("/api/v1/persistentvolumeclaims")["items"], 60)


def test_addresses_of_the_link_are_refused(world):
    world.run()
    world.claim("golden")
    world.add("meta", source={"http": {"urls": ["http://169.254.169.254/latest/"]}}, claimName="golden")
    world.ends("meta", "Failed")
    assert "169.254.169.254" in world.status("meta")["message"] and world.jobs.started == 0


class Redirecting(http.server.BaseHTTPRequestHandler):
    def do_GET(self):  # pylint: disable=invalid-name
        self.send_response(302)
        self.send_header("Location", "http://169.254.169.254/latest/meta-data/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


def test_redirects_to_addresses_of_the_link_are_refused(world):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirecting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    world.run()
    world.claim("golden")
    world.add("meta", source={"http": {"urls": [f"http://127.0.0.1:{server.server_port}/a.bin"]}}, claimName="golden",
              retries=0)
    world.ends("meta", "Failed", 120)
    assert "169.254.169.254" in world.status("meta")["message"], world.status("meta")
    assert world.files("golden") == {}
    server.shutdown()


def test_paths_that_escape_are_refused_and_the_others_copied(world, s3):
    expected = fill(s3, count=3)
    for key in ("iris/../../up", "iris/a/../../../etc/cron.d/x", "iris//abs"):
        s3.put(key, b"evil")
    world.run()
    world.claim("golden")
    world.add("iris", source=source(s3, prefix="iris/"), secretRef={"name": "keys"}, claimName="golden", retries=0)
    world.ends("iris", "Failed")
    assert "its name has" in world.status("iris")["message"]
    assert world.files("golden") == expected
    root = world.jobs.directory("team", "golden")
    assert not any(path.name in ("up", "x", "abs") for path in root.parent.rglob("*"))


def test_a_checksum_of_one_object_for_many_is_refused(world, s3):
    fill(s3, count=1)
    world.run()
    world.claim("golden")
    checksum = "sha256:" + "0" * 64
    with pytest.raises(urllib.error.HTTPError) as refused:
        world.add("iris", source=source(s3, prefix="iris/"), secretRef={"name": "keys"}, claimName="golden", checksum=checksum)
    assert refused.value.code == 422
    world.add("iris", source={"http": {"urls": ["http://127.0.0.1:1/a", "http://127.0.0.1:1/b"]}}, claimName="golden",
              checksum=checksum)
    world.ends("iris", "Failed")
    assert "checksumsConfigMap" in world.status("iris")["message"] and world.jobs.started == 0
    run = subprocess.run(
        [millrace(), "cp", "-q", "--endpoint", s3.endpoint, "--checksum", "sha256:" + "0" * 64, "s3://data/iris/", "/tmp/nowhere"],
        capture_output=True, text=True, timeout=60, env={"PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true"})
    assert run.returncode == 3 and "--checksums" in run.stderr and not os.path.exists("/tmp/nowhere")


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_target_that_fills_up_is_named_and_goes_on_with_room(s3, small_disk):
    expected = {f"f{n}": content(6 << 20, n) for n in range(4)}
    for name, data in expected.items():
        s3.put(f"iris/{name}", data)
    command = [millrace(), "cp", "-q", "--endpoint", s3.endpoint, "s3://data/iris/", f"{small_disk}/out"]
    environment = {"PATH": os.environ["PATH"], "AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert run.returncode == 1 and "No space left" in run.stderr and "make room" in run.stderr, run.stderr
    for path in (small_disk / "out").iterdir():
        assert path.name.endswith(".millrace-part") or path.read_bytes() == expected[path.name]
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert run.returncode == 0, run.stderr
    assert {p.name: p.read_bytes() for p in (small_disk / "out").iterdir()} == expected


def test_keys_that_expire_during_a_copy_are_read_again(tmp_path, s3):
    expected = {f"f{n}": content(8 << 20, n) for n in range(12)}
    for name, data in expected.items():
        s3.put(f"iris/{name}", data)
    keys = tmp_path / "keys"
    keys.mkdir()

    def write(access, secret, token):
        for name, value in (("accessKeyID", access), ("secretAccessKey", secret), ("sessionToken", token)):
            (keys / f".{name}").write_text(value)
            (keys / f".{name}").rename(keys / name)

    s3.credentials("first", "firstsecret", "token1")
    write("first", "firstsecret", "token1")
    s3.clear_log()
    child = subprocess.Popen(
        [millrace(), "cp", "-q", "--parallel", "1", "--endpoint", s3.endpoint, "--credentials-dir", str(keys),
         "s3://data/iris/", str(tmp_path / "out")], stderr=subprocess.PIPE, text=True,
        env={"PATH": os.environ["PATH"]})
    wait_for("it copies", lambda: len(s3.log()) > 2)
    write("second", "secondsecret", "token2")
    s3.credentials("second", "secondsecret", "token2")
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == expected
