"""PVCi's copies from /create to the bytes: its client, the controller's program, and Jobs that run as processes."""

import json
import urllib.error
import urllib.request

import pytest

from controller import wait_for
from kube import needs_stand_in
from pvci import PVCi, PVCiError
from test_api import port_of
from test_imports import ACCESS, SECRET, fill, s3, world  # noqa: F401  pylint: disable=unused-import

pytestmark = needs_stand_in("its Job controller and provisioner are the test's own")


class API:
    def __init__(self, world, s3):  # noqa: F811
        self.process = world.run("--api", "127.0.0.1:0", "--api-compat", "127.0.0.1:0", "--api-compat-user", "team-user")
        self.url = f"http://127.0.0.1:{port_of(self.process, False)}"
        self.pvci = PVCi(f"http://127.0.0.1:{port_of(self.process, True)}", {
            "s3_ssl": False, "s3_endpoint": s3.endpoint.removeprefix("http://"), "s3_bucket": s3.bucket,
            "s3_prefix": "iris/", "s3_key": ACCESS, "s3_secret": SECRET})

    def status(self, name):
        return self.pvci.named("/status", "team", name)

    def ready(self, name):
        wait_for(f"{name} is over", lambda: self.status(name)["Phase"] in ("Ready", "Failed"), 90)
        assert self.status(name)["Phase"] == "Ready", self.status(name)

    def claims(self, body):
        """POST to the claims under /v1: status and answer."""
        request = urllib.request.Request(
            f"{self.url}/v1/namespaces/team/claims", method="POST", data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": "Bearer user:team-user"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


@pytest.fixture
def api(world, s3):  # noqa: F811
    api = API(world, s3)
    yield api
    api.process.stop()


def volume(world, claim):  # noqa: F811
    name = world.cluster.found_claim("team", claim)["spec"]["volumeName"]
    return world.cluster.get(f"/api/v1/persistentvolumes/{name}")


@pytest.mark.parametrize("storage_class", ["disk", "late"])
def test_P3_P5_P6_P11_create_on_another_class_copies_the_bytes(world, s3, api, storage_class):  # noqa: F811
    expected = fill(s3)
    assert api.pvci.create("team", "copy", storage_class) == {}
    api.ready("copy")
    assert world.files("copy") == expected
    total = sum(map(len, expected.values()))

    def told():
        status = api.status("copy")
        assert (status["Percent"], status["Bytes"], status["PVCStatus"]["phase"]) == (100, total, "Bound")
        assert status["InjectorState"]["succeeded"] == 1 and not status["InjectorHasError"] and not status["PVCHasError"]

    told()
    assert api.pvci.named("/cleanup", "team", "copy") == {}
    wait_for("the Job and its pods are gone", lambda: not world.cluster.get("/apis/batch/v1/jobs")["items"]
             and not world.cluster.get("/api/v1/pods")["items"])
    told()
    assert world.files("copy") == expected


def test_P3_P8_a_copy_becomes_read_only_for_many_by_its_mode_or_by_a_clone(world, s3, api):  # noqa: F811
    expected = fill(s3)
    assert api.pvci.create_async("team", "copy", "disk") == {}
    wait_for("it is there", lambda: world.cluster.found_claim("team", "copy"))
    api.ready("copy")
    for path, modes in (("/mode/rox", ["ReadOnlyMany"]), ("/mode/rwo", ["ReadWriteOnce"])):
        assert api.pvci.named(path, "team", "copy") == {}
        assert volume(world, "copy")["spec"]["accessModes"] == modes

    # PVCi's way to many readers: a clone, while the copy itself goes on to be written by its pod.
    status, answer = api.claims({"name": "many", "clone": "copy"})
    assert status == 201 and answer["kind"] == "Clone", answer
    api.ready("many")
    assert world.files("many") == expected
    assert volume(world, "many")["spec"]["accessModes"] == ["ReadOnlyMany"]
    (world.jobs.directory("team", "copy") / "d0/0").write_bytes(b"changed")
    assert world.files("many") == expected
    world.cluster.post("/api/v1/namespaces/team/pods", {"metadata": {"name": "user"}, "spec": {
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "copy"}}]}})
    with pytest.raises(PVCiError, match="pod team/user uses"):
        api.pvci.named("/mode/rox", "team", "copy")

    # Neither a half-made copy nor what isn't there is cloned.
    status, answer = api.claims({"name": "other", "clone": "nothing"})
    assert status == 404 and world.cluster.found_claim("team", "other") is None
    for name in ("many", "copy"):
        assert api.pvci.named("/delete", "team", name) == {}
    assert world.cluster.found_claim("team", "many") is None


def test_P3_P15_a_copy_that_fails_is_told_and_leaves_nothing_behind(world, s3, api):  # noqa: F811
    fill(s3)
    # Listed and counted all right, and then the keys end.
    s3.fault(operation="get", count=-1, status=403, code="AccessDenied")
    assert api.pvci.create("team", "copy", "disk") == {}
    wait_for("it failed", lambda: api.status("copy")["InjectorHasError"], 120)
    status = api.status("copy")
    assert status["Phase"] == "Failed" and "AccessDenied" in status["InjectorError"] and status["InjectorState"]["failed"]
    assert SECRET not in json.dumps(status) + api.process.output()
    assert api.pvci.named("/delete", "team", "copy") == {}
    wait_for("all is gone", lambda: not any(world.cluster.get(path)["items"] for path in (
        "/apis/batch/v1/jobs", "/api/v1/pods", "/api/v1/persistentvolumeclaims",
        "/apis/millrace.dev/v1alpha1/namespaces/team/datasetimports")), 60)
    wait_for("the request's keys are gone as well", lambda: [
        item["metadata"]["name"] for item in world.cluster.get("/api/v1/namespaces/team/secrets")["items"]] == ["keys"])
