"""What the API server stand-in answers, as a real one of 1.36 was seen to: the same tests hold on a real cluster."""

import json
import re

import pytest

from controller import wait_for
from kube import Cluster

MERGE = "application/merge-patch+json"
CLAIM = {"storageClassName": "nosuch", "accessModes": ["ReadOnlyMany"], "resources": {"requests": {"storage": "1Gi"}}}
CLAIMS = "/api/v1/namespaces/rec/persistentvolumeclaims"
DATASETS = "/apis/rec.dev/v1/namespaces/rec/datasets"
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "datasets.rec.dev"},
    "spec": {"group": "rec.dev", "scope": "Namespaced", "names": {"plural": "datasets", "singular": "dataset", "kind": "Dataset"},
             "versions": [{"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}, "schema": {
                 "openAPIV3Schema": {"type": "object", "properties": {
                     "spec": {"type": "object", "required": ["bucket"], "properties": {
                         "bucket": {"type": "string"}, "region": {"type": "string", "default": "us-east-1"}},
                         "x-kubernetes-validations": [
                             {"rule": "self.bucket == oldSelf.bucket", "message": "bucket is immutable"}]},
                     "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}}}]}}


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("api"))
    yield cluster
    cluster.stop()


@pytest.fixture
def ask(api):
    """Calls in a namespace `rec` of the test's own."""
    def gone():
        return api.get("/api/v1/namespaces/rec") is None

    api.post("/api/v1/namespaces", {"metadata": {"name": "rec"}})
    yield api.connection.ask
    if not gone():
        api.connection.ask("DELETE", "/api/v1/namespaces/rec")
        wait_for("the namespace is gone", gone, 120)


def refusal(answer):
    status, body = answer
    assert body["kind"] == "Status" and body["status"] == "Failure" and body["code"] == status, body
    return status, body["reason"], body["message"]


def claim(ask, name, **spec):
    status, made = ask("POST", CLAIMS, {"metadata": {"name": name}, "spec": {**CLAIM, **spec}})
    assert status == 201, made
    return made


def test_a_claims_defaults_are_the_servers(ask):
    made = claim(ask, "a")
    assert made["kind"] == "PersistentVolumeClaim" and made["apiVersion"] == "v1"
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    assert made["spec"]["volumeMode"] == "Filesystem" and made["status"] == {"phase": "Pending"}
    assert refusal(ask("POST", CLAIMS, {"metadata": {"name": "a"}, "spec": CLAIM})) == (
        409, "AlreadyExists", 'persistentvolumeclaims "a" already exists')
    status, generated = ask("POST", CLAIMS, {"metadata": {"generateName": "gen-"}, "spec": CLAIM})
    assert status == 201 and re.fullmatch("gen-[a-z0-9]{5}", generated["metadata"]["name"])


def test_an_update_of_what_changed_meanwhile_is_a_conflict(ask):
    made = claim(ask, "a")
    made["metadata"]["labels"] = {"x": "1"}
    status, changed = ask("PUT", f"{CLAIMS}/a", made)
    assert status == 200 and changed["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    code, reason, message = refusal(ask("PUT", f"{CLAIMS}/a", made))
    assert (code, reason) == (409, "Conflict")
    assert message == ('Operation cannot be fulfilled on persistentvolumeclaims "a": the object has been modified; please '
                       "apply your changes to the latest version and try again")


def test_patches(ask):
    claim(ask, "a")
    status, patched = ask("PATCH", f"{CLAIMS}/a", {"metadata": {"annotations": {"k": "v"}}}, MERGE)
    assert status == 200 and patched["metadata"]["annotations"]["k"] == "v"
    test = [{"op": "test", "path": "/metadata/resourceVersion", "value": "1"}]
    assert refusal(ask("PATCH", f"{CLAIMS}/a", test, "application/json-patch+json")) == (
        422, "Invalid", "the server rejected our request due to an error in our request")
    fields = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "a", "labels": {"y": "2"}}}
    status, applied = ask(
        "PATCH", f"{CLAIMS}/a?fieldManager=millrace&force=true", fields, "application/apply-patch+yaml")
    assert status == 200 and applied["metadata"]["labels"] == {"y": "2"} and applied["metadata"]["annotations"]["k"] == "v"


def test_what_is_not_there_and_what_is_wrong(ask):
    assert refusal(ask("GET", f"{CLAIMS}/none")) == (404, "NotFound", 'persistentvolumeclaims "none" not found')
    code, reason, message = refusal(ask("POST", CLAIMS, {
        "metadata": {"name": "Bad_Name"}, "spec": {**CLAIM, "accessModes": ["Nope"]}}))
    assert (code, reason) == (422, "Invalid")
    assert 'metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain' in message
    assert 'spec.accessModes: Unsupported value: "Nope": supported values: "ReadOnlyMany", "ReadWriteMany"' in message
    code, reason, message = refusal(ask("POST", CLAIMS, {
        "metadata": {"name": "b"}, "spec": {"accessModes": ["ReadOnlyMany"]}}))
    assert (code, reason) == (422, "Invalid") and "spec.resources[storage]: Required value" in message
    code, reason, message = refusal(ask("POST", "/api/v1/namespaces/rec/events", {
        "metadata": {"name": "e"}, "involvedObject": {"namespace": "other", "name": "x"}}))
    assert (code, reason) == (422, "Invalid") and "does not match event.namespace" in message


def test_lists_come_in_pages(ask):
    for name in ("a", "b"):
        claim(ask, name)
    _, first = ask("GET", f"{CLAIMS}?limit=1")
    assert [item["metadata"]["name"] for item in first["items"]] == ["a"]
    assert first["metadata"]["remainingItemCount"] == 1 and "kind" not in first["items"][0]
    _, second = ask("GET", f"{CLAIMS}?limit=1&continue={first['metadata']['continue']}")
    assert [item["metadata"]["name"] for item in second["items"]] == ["b"] and "continue" not in second["metadata"]
    code, reason, _ = refusal(ask("GET", f"{CLAIMS}?resourceVersion=1&resourceVersionMatch=Exact"))
    assert (code, reason) == (410, "Expired")


def test_a_watch_goes_on_from_a_list(api, ask):
    claim(ask, "a")
    start = ask("GET", CLAIMS)[1]["metadata"]["resourceVersion"]
    ask("PATCH", f"{CLAIMS}/a", {"metadata": {"labels": {"w": "1"}}}, MERGE)
    status, deleted = ask("DELETE", f"{CLAIMS}/a")
    # Its finalizer holds it for a moment, so the answer is the claim and no Status.
    assert status == 200 and deleted["kind"] == "PersistentVolumeClaim" and deleted["metadata"]["deletionTimestamp"]
    watch = f"{CLAIMS}?watch=1&resourceVersion={start}&allowWatchBookmarks=true&timeoutSeconds=2"
    with api.connection.open("GET", watch) as answer:
        events = [json.loads(line) for line in answer]
    assert [event["type"] for event in events] == ["MODIFIED", "MODIFIED", "DELETED", "BOOKMARK"]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(versions) and "deletionTimestamp" in events[1]["object"]["metadata"]
    with api.connection.open("GET", f"{CLAIMS}?watch=1&resourceVersion=1") as answer:
        error = json.loads(answer.readline())
    assert error["type"] == "ERROR" and error["object"]["code"] == 410 and error["object"]["reason"] == "Expired"


def test_binding_and_release(api, ask):
    volume = {"metadata": {"name": "rec-pv", "finalizers": ["millrace.dev/x"]}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadOnlyMany"], "persistentVolumeReclaimPolicy": "Delete",
        "storageClassName": "nosuch", "csi": {"driver": "s3.csi.millrace.dev", "volumeHandle": "h"}}}
    small = {**volume, "metadata": {"name": "rec-small"}, "spec": {**volume["spec"], "capacity": {"storage": "1Mi"}}}
    made = claim(ask, "b")
    volume["spec"]["claimRef"] = {"kind": "PersistentVolumeClaim", "namespace": "rec", "name": "b", "uid": made["metadata"]["uid"]}
    path = "/api/v1/persistentvolumes"
    assert ask("POST", path, small)[0] == 201 and ask("POST", path, volume)[0] == 201
    wait_for("Bound", lambda: api.phase("rec", "b") == "Bound")
    bound = api.found_claim("rec", "b")
    assert bound["spec"]["volumeName"] == "rec-pv"
    assert bound["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] == "yes"
    # Too small for anyone who asks for more.
    wait_for("free", lambda: api.get(f"{path}/rec-small")["status"]["phase"] == "Available")
    ask("DELETE", f"{path}/rec-small")
    code, reason, message = refusal(ask("PATCH", f"{path}/rec-pv", {"spec": {"csi": {"volumeHandle": "other"}}}, MERGE))
    assert (code, reason) == (422, "Invalid") and "spec.persistentvolumesource is immutable after creation" in message
    ask("DELETE", f"{CLAIMS}/b")
    wait_for("Released", lambda: api.get(f"{path}/rec-pv")["status"]["phase"] == "Released")
    assert sorted(api.get(f"{path}/rec-pv")["metadata"]["finalizers"]) == ["kubernetes.io/pv-protection", "millrace.dev/x"]
    assert "deletionTimestamp" in ask("DELETE", f"{path}/rec-pv")[1]["metadata"]
    assert ask("PATCH", f"{path}/rec-pv", {"metadata": {"finalizers": None}}, MERGE)[0] == 200
    wait_for("gone", lambda: api.get(f"{path}/rec-pv") is None)


def test_custom_resources(api, ask):
    api.define(CRD)
    wait_for("served", lambda: ask("GET", DATASETS)[0] == 200)
    try:
        code, reason, message = refusal(ask("POST", DATASETS, {
            "apiVersion": "rec.dev/v1", "kind": "Dataset", "metadata": {"name": "d"}, "spec": {}}))
        assert (code, reason) == (422, "Invalid") and "spec.bucket: Required value" in message
        status, made = ask("POST", DATASETS, {
            "apiVersion": "rec.dev/v1", "kind": "Dataset", "metadata": {"name": "d"}, "spec": {"bucket": "b", "unknown": 1},
            "status": {"phase": "x"}})
        assert status == 201 and made["spec"] == {"bucket": "b", "region": "us-east-1"} and "status" not in made
        code, _, message = refusal(ask("PATCH", f"{DATASETS}/d", {"spec": {"bucket": "c"}}, MERGE))
        assert code == 422 and message.endswith("spec: Invalid value: bucket is immutable")
        status, told = ask("PATCH", f"{DATASETS}/d/status", {"status": {"phase": "Ready"}, "spec": {"bucket": "zz"}}, MERGE)
        assert status == 200 and told["spec"]["bucket"] == "b" and told["status"] == {"phase": "Ready"}
        assert told["metadata"]["generation"] == 1
        _, changed = ask("PATCH", f"{DATASETS}/d", {"spec": {"region": "eu"}, "status": {"phase": "no"}}, MERGE)
        assert changed["status"] == {"phase": "Ready"} and changed["metadata"]["generation"] == 2
    finally:
        ask("DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/datasets.rec.dev")


def test_reviews(ask):
    _, review = ask("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "bad"}})
    assert not review["status"].get("authenticated")
    _, review = ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": {
        "user": "nobody", "resourceAttributes": {"verb": "create", "resource": "persistentvolumeclaims", "namespace": "rec"}}})
    assert review["status"]["allowed"] is False


def test_a_namespace_that_goes_takes_nothing_new(api, ask):
    claim(ask, "a")
    # A finalizer keeps the claim, and with it the namespace.
    status, made = ask("PATCH", f"{CLAIMS}/a", {"metadata": {"finalizers": ["kubernetes.io/pvc-protection", "millrace.dev/x"]}}, MERGE)
    assert status == 200, made
    status, going = ask("DELETE", "/api/v1/namespaces/rec")
    assert status == 200 and going["status"]["phase"] == "Terminating" and going["spec"]["finalizers"] == ["kubernetes"]
    code, reason, message = refusal(ask("POST", CLAIMS, {"metadata": {"name": "late"}, "spec": CLAIM}))
    assert (code, reason) == (403, "Forbidden")
    assert message == ('persistentvolumeclaims "late" is forbidden: unable to create new content in namespace rec because '
                       "it is being terminated")
    wait_for("the claim is going too", lambda: "deletionTimestamp" in api.found_claim("rec", "a")["metadata"])
    ask("PATCH", f"{CLAIMS}/a", {"metadata": {"finalizers": None}}, MERGE)
    wait_for("all of it is gone", lambda: api.get("/api/v1/namespaces/rec") is None, 120)
