"""The credential broker on real S3 servers: Ceph, which enforces what keys may do, and moto, a second one with STS."""

import base64
import datetime
import json
import subprocess
import sys
import urllib.error
import urllib.request

import boto3
import pytest
import yaml
from botocore.config import Config
from botocore.exceptions import ClientError

from controller import ROOT, Process, program, wait_for
from harness.servers import ACCESS_KEY, SECRET_KEY, ceph, free_port, moto

ROLE = "arn:aws:iam:::role/millrace"
GRANTS = "/apis/millrace.dev/v1alpha1/namespaces/{}/credentialgrants"
SIGNED = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0},
                request_checksum_calculation="when_required", response_checksum_validation="when_required")


class Site:
    """A cluster with a controller and its API, and the storage beside it: Dataset `storage/NAME` in bucket `data`."""

    def __init__(self, directory, name, server, role):
        self.name, self.server = name, server
        self.processes = []
        kubeconfig = str(directory / f"kubeconfig-{name}")
        self.url = self.start("kube-embedded", "--kubeconfig", kubeconfig).child.stdout.readline().strip()
        for file in (ROOT / "charts/millrace/files").glob("*.yaml"):
            self.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", yaml.safe_load(file.read_text()))
        for namespace in ("storage", "run-1", "other"):
            self.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace, "labels": {"run": str(namespace[:3] == "run")}}})
        self.call("POST", "/api/v1/namespaces/storage/secrets", {
            "metadata": {"name": "broker"}, "stringData": {"accessKeyID": ACCESS_KEY, "secretAccessKey": SECRET_KEY}})
        self.call("POST", "/apis/millrace.dev/v1alpha1/namespaces/storage/datasets", {
            "metadata": {"name": name},
            "spec": {
                "source": {"s3": {"bucket": "data", "prefix": "runs", "endpoint": server.endpoint, "region": server.region}},
                "secretRef": {"name": "broker"}, "broker": {"roleARN": role, "access": "ReadWrite"},
                "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"run": "True"}}}}})
        self.port = free_port()
        self.start("millrace-controller", "--kubeconfig", kubeconfig, "--no-leader-election", "--no-probes",
                   *self.api_flags())

    def api_flags(self):
        text = subprocess.run([program("millrace-controller"), "--help"], capture_output=True, text=True, timeout=60).stdout
        flags = ["--api", f"127.0.0.1:{self.port}"] if "--api " in text else []
        return flags + (["--allow-address", "127.0.0.0/8"] if "--allow-address" in text else [])

    def start(self, name, *arguments):
        self.processes.append(Process([program(name), *arguments]))
        return self.processes[-1]

    def call(self, method, path, body=None, content="application/json"):
        request = urllib.request.Request(
            self.url + path, method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": content})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def get(self, path):
        try:
            return self.call("GET", path)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def broker(self, method, storage, body=None, user="admin", namespace="run-1"):
        """The API's route; answers status and body."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/credentials/storage/{storage}/{namespace}", method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer user:{user}", **({"Content-Type": "application/json"} if body else {})})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def wait_for_api(self):
        def answers():
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5).close()
                return True
            except urllib.error.HTTPError:
                return True
            except OSError:
                return False
        wait_for("the API listens", answers, 60)

    def grant(self, name, **spec):
        return self.call("POST", GRANTS.format("run-1"), {
            "metadata": {"name": name}, "spec": {"dataset": f"storage/{self.name}", **spec}})

    def condition(self, name, kind="Ready"):
        grant = self.get(f"{GRANTS.format('run-1')}/{name}")
        return next((c for c in (grant or {}).get("status", {}).get("conditions", []) if c["type"] == kind), None)

    def secret(self, name, namespace="run-1"):
        found = self.get(f"/api/v1/namespaces/{namespace}/secrets/{name}")
        return found and {key: base64.b64decode(value).decode() for key, value in found["data"].items()}

    def stop(self):
        for process in reversed(self.processes):
            if process.child.poll() is None:
                process.kill()
            process.child.stdout.close()


def compact(document):
    """Ceph 16 takes no blank for one in a form."""
    return json.dumps(document, separators=(",", ":"))


def admin(server, service):
    return boto3.client(service, endpoint_url=server.endpoint, aws_access_key_id=ACCESS_KEY,
                        aws_secret_access_key=SECRET_KEY, region_name=server.region, config=SIGNED)


def prepare(server, principal):
    """A role that the broker's user may take, good for the bucket; two objects, one of them out of the prefix."""
    iam = admin(server, "iam")
    trust = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": [principal]}, "Action": ["sts:AssumeRole"]}]}
    role = iam.create_role(RoleName="millrace", AssumeRolePolicyDocument=compact(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName="millrace", PolicyName="bucket", PolicyDocument=compact({
        "Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::data", "arn:aws:s3:::data/*"]}]}))
    server.client().put_object(Bucket="data", Key="runs/in", Body=b"input")
    server.client().put_object(Bucket="data", Key="secret/x", Body=b"not for runs")
    return role


@pytest.fixture(scope="module")
def ceph_server():
    server = ceph()
    server.role = prepare(server, "arn:aws:iam:::user/admin")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def moto_server():
    server = moto()
    server.role = prepare(server, "*")
    yield server
    server.stop()


@pytest.fixture
def site(tmp_path, ceph_server):
    site = Site(tmp_path, "b", ceph_server, ceph_server.role)
    yield site
    site.stop()


@pytest.fixture
def sites(tmp_path, ceph_server, moto_server):
    """Cluster b with Ceph, cluster c with moto."""
    made = []
    try:
        for name, server in (("b", ceph_server), ("c", moto_server)):
            made.append(Site(tmp_path, name, server, server.role))
        for site in made:
            site.wait_for_api()
        yield made
    finally:
        for site in made:
            site.stop()


def s3(keys):
    return boto3.client(
        "s3", endpoint_url=keys["endpoint"], aws_access_key_id=keys["accessKeyID"],
        aws_secret_access_key=keys["secretAccessKey"], aws_session_token=keys["sessionToken"],
        region_name=keys["region"], config=SIGNED)


def refused(call):
    try:
        call()
    except ClientError as error:
        return error.response["Error"]["Code"] in ("AccessDenied", "403")
    return False


def ready(site, name):
    return wait_for(f"{name} is ready", lambda: (c := site.condition(name)) and c["status"] == "True" and c, 60)


def test_O6_keys_are_good_for_their_prefix_and_nothing_else(site):
    site.grant("writer", access="ReadWrite", subPath="run-1")
    site.grant("reader")
    ready(site, "writer")
    ready(site, "reader")
    writer, reader = s3(site.secret("writer")), s3(site.secret("reader"))

    writer.put_object(Bucket="data", Key="runs/run-1/out", Body=b"output")
    assert writer.get_object(Bucket="data", Key="runs/run-1/out")["Body"].read() == b"output"
    assert [o["Key"] for o in writer.list_objects_v2(Bucket="data", Prefix="runs/run-1/")["Contents"]] == ["runs/run-1/out"]
    upload = writer.create_multipart_upload(Bucket="data", Key="runs/run-1/big")["UploadId"]
    writer.upload_part(Bucket="data", Key="runs/run-1/big", UploadId=upload, PartNumber=1, Body=b"part")
    writer.abort_multipart_upload(Bucket="data", Key="runs/run-1/big", UploadId=upload)
    for outside in (
        lambda: writer.get_object(Bucket="data", Key="runs/in"),
        lambda: writer.put_object(Bucket="data", Key="runs/run-10/out", Body=b"x"),
        lambda: writer.delete_object(Bucket="data", Key="runs/in"),
        lambda: writer.list_objects_v2(Bucket="data"),
        lambda: writer.list_objects_v2(Bucket="data", Prefix="runs/"),
        lambda: writer.put_bucket_policy(Bucket="data", Policy=compact({"Version": "2012-10-17", "Statement": []})),
    ):
        assert refused(outside)

    assert reader.get_object(Bucket="data", Key="runs/in")["Body"].read() == b"input"
    for outside in (
        lambda: reader.put_object(Bucket="data", Key="runs/in", Body=b"x"),
        lambda: reader.delete_object(Bucket="data", Key="runs/in"),
        lambda: reader.get_object(Bucket="data", Key="secret/x"),
        lambda: reader.list_objects_v2(Bucket="data", Prefix="secret/"),
    ):
        assert refused(outside)
    writer.delete_object(Bucket="data", Key="runs/run-1/out")


def test_O6_keys_expire_and_say_when(site):
    site.grant("g", ttlSeconds=900)
    ready(site, "g")
    status = site.get(f"{GRANTS.format('run-1')}/g")["status"]
    time = lambda name: datetime.datetime.fromisoformat(status[name].replace("Z", "+00:00"))
    assert 890 <= (time("expiresAt") - time("issuedAt")).total_seconds() <= 910
    assert time("issuedAt") < time("renewAt") < time("expiresAt")


def test_O6_deleting_a_grant_ends_its_keys_before_they_expire(site, ceph_server):
    for name in ("gone", "stays"):
        site.grant(name)
        ready(site, name)
    gone, stays = s3(site.secret("gone")), s3(site.secret("stays"))
    assert gone.get_object(Bucket="data", Key="runs/in")["Body"].read() == b"input"
    site.call("DELETE", f"{GRANTS.format('run-1')}/gone")
    wait_for("the grant is gone", lambda: site.get(f"{GRANTS.format('run-1')}/gone") is None, 60)
    assert site.secret("gone") is None
    wait_for("its keys are denied", lambda: refused(lambda: gone.get_object(Bucket="data", Key="runs/in")))
    assert stays.get_object(Bucket="data", Key="runs/in")["Body"].read() == b"input"
    denials = [n for n in admin(ceph_server, "iam").list_role_policies(RoleName="millrace")["PolicyNames"]
               if n.startswith("millrace-revoked-")]
    assert denials
    # A grant of the same name is another session.
    site.grant("gone")
    ready(site, "gone")
    assert s3(site.secret("gone")).get_object(Bucket="data", Key="runs/in")["Body"].read() == b"input"


def test_O6_a_namespace_that_loses_its_right_loses_its_keys(site):
    site.grant("g")
    ready(site, "g")
    keys = s3(site.secret("g"))
    keys.get_object(Bucket="data", Key="runs/in")
    site.call("PATCH", "/api/v1/namespaces/run-1", {"metadata": {"labels": {"run": "False"}}}, "application/merge-patch+json")
    wait_for("it is told", lambda: (c := site.condition("g")) and c["reason"] == "NotAllowed", 60)
    assert site.secret("g") is None
    assert refused(lambda: keys.get_object(Bucket="data", Key="runs/in"))


def test_a_store_that_refuses_is_told_without_keys(site):
    site.call("PATCH", "/api/v1/namespaces/storage/secrets/broker",
              {"data": {"secretAccessKey": base64.b64encode(b"wrong-secret-key").decode()}}, "application/merge-patch+json")
    site.grant("g")
    condition = wait_for("it is told", lambda: (c := site.condition("g")) and c["status"] == "False" and c, 60)
    # What Ceph says of a wrong signature where STS is on.
    assert condition["reason"] == "MintFailed" and "answered AccessDenied" in condition["message"]
    said = json.dumps(site.get("/api/v1/namespaces/run-1/events")) + "".join(p.output() for p in site.processes)
    assert "wrong-secret-key" not in said and SECRET_KEY not in said


POD = """
import boto3, os, sys
from botocore.config import Config
s3 = boto3.client("s3", endpoint_url=os.environ["S3_ENDPOINT"], region_name=os.environ["S3_REGION"], config=Config(
    s3={"addressing_style": "path"}, request_checksum_calculation="when_required",
    response_checksum_validation="when_required"))
assert s3.get_object(Bucket="data", Key="runs/in")["Body"].read() == b"input"
s3.put_object(Bucket="data", Key=f"runs/{sys.argv[1]}", Body=sys.argv[1].encode())
print(s3.get_object(Bucket="data", Key=f"runs/{sys.argv[1]}")["Body"].read().decode())
"""
KEYS = {"accessKeyID": "AWS_ACCESS_KEY_ID", "secretAccessKey": "AWS_SECRET_ACCESS_KEY", "sessionToken": "AWS_SESSION_TOKEN",
        "endpoint": "S3_ENDPOINT", "region": "S3_REGION"}


def run_pod(site, name, secret):
    """What the kubelet makes of a pod with `envFrom: [{secretRef}]`: its program, with the Secret's data around it."""
    pod = site.call("POST", "/api/v1/namespaces/run-1/pods", {
        "metadata": {"name": name}, "spec": {"containers": [
            {"name": "main", "image": "python", "command": [sys.executable, "-c", POD, name],
             "envFrom": [{"secretRef": {"name": secret}}]}]}})
    container = pod["spec"]["containers"][0]
    environment = {"PATH": "/usr/bin:/bin", "AWS_EC2_METADATA_DISABLED": "true"}
    for source in container["envFrom"]:
        environment.update(site.secret(source["secretRef"]["name"]))
    result = subprocess.run(container["command"], env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_O1_O4_two_storages_and_pods_in_both_clusters(sites):
    """The scheduler's work: for each storage, each cluster whose pods use it."""
    b, c = sites
    order = {"access": "ReadWrite", "keys": KEYS}
    for storage in sites:
        for compute in sites:
            secret = f"s3-{storage.name}"
            if compute is storage:
                status, answer = storage.broker("POST", storage.name, {**order, "secretName": secret})
                assert status == 200 and answer["ready"] and "credentials" not in answer, answer
            else:
                status, answer = storage.broker("POST", storage.name, {**order, "retrieve": True})
                assert status == 200, answer
                status, stored = compute.broker(
                    "POST", storage.name, {"credentials": answer["credentials"], "secretName": secret, "keys": KEYS})
                assert status == 200 and stored["expiration"] == answer["expiration"], stored
    for storage in sites:
        for compute in sites:
            name = f"pod-in-{compute.name}-of-{storage.name}"
            assert run_pod(compute, name, f"s3-{storage.name}") == name
            assert storage.server.client().get_object(Bucket="data", Key=f"runs/{name}")["Body"].read() == name.encode()
    # The keys that went from b to c end when b revokes them.
    keys = c.secret("s3-b")
    away = s3({field: keys[name] for field, name in KEYS.items()})
    away.get_object(Bucket="data", Key="runs/in")
    status, answer = b.broker("DELETE", "b")
    assert status == 200 and len(answer["revoked"]) == 2 and all(r["revoked"] for r in answer["revoked"]), answer
    assert refused(lambda: away.get_object(Bucket="data", Key="runs/in"))
    status, answer = c.broker("DELETE", "b", namespace="run-1")
    assert status == 200


def test_O2_an_empty_post_mints_and_stores(sites):
    b, _ = sites
    status, answer = b.broker("POST", "b")
    assert status == 200 and answer["secretName"] == "b", answer
    keys = b.secret("b")
    assert s3(keys).get_object(Bucket="data", Key="runs/in")["Body"].read() == b"input"
    assert keys["secretAccessKey"] not in json.dumps(answer)


def test_O3_retrieved_keys_are_answered_and_kept_nowhere(sites):
    b, _ = sites
    before = {s["metadata"]["name"] for s in b.get("/api/v1/namespaces/run-1/secrets")["items"]}
    status, answer = b.broker("POST", "b", {"retrieve": True})
    assert status == 200
    assert s3(answer["credentials"]).get_object(Bucket="data", Key="runs/in")["Body"].read() == b"input"
    assert {s["metadata"]["name"] for s in b.get("/api/v1/namespaces/run-1/secrets")["items"]} == before
    grant = b.get(f"{GRANTS.format('run-1')}/{answer['name']}")
    assert answer["credentials"]["secretAccessKey"] not in json.dumps(grant)
    assert answer["credentials"]["secretAccessKey"] not in "".join(p.output() for p in b.processes)


def test_O5_the_secret_is_as_an_argo_artifact_wants_it(sites):
    b, _ = sites
    names = {"accessKeyID": "accesskey", "secretAccessKey": "secretkey", "sessionToken": "token"}
    status, _ = b.broker("POST", "b", {"secretName": "artifacts", "keys": names, "name": "artifacts"})
    assert status == 200
    artifact = {"s3": {
        "endpoint": b.server.endpoint.removeprefix("http://"), "bucket": "data", "key": "runs/in", "insecure": True,
        "accessKeySecret": {"name": "artifacts", "key": "accesskey"},
        "secretKeySecret": {"name": "artifacts", "key": "secretkey"},
        "sessionTokenSecret": {"name": "artifacts", "key": "token"}}}["s3"]
    value = lambda field: b.secret(artifact[field]["name"])[artifact[field]["key"]]
    client = s3({"endpoint": "http://" + artifact["endpoint"], "region": b.server.region,
                 "accessKeyID": value("accessKeySecret"), "secretAccessKey": value("secretKeySecret"),
                 "sessionToken": value("sessionTokenSecret")})
    assert client.get_object(Bucket=artifact["bucket"], Key=artifact["key"])["Body"].read() == b"input"


def test_the_api_asks_what_the_caller_may(sites):
    b, _ = sites
    for body in (None, {"retrieve": True}, {"credentials": {"accessKeyID": "a", "secretAccessKey": "b"}}):
        status, answer = b.broker("POST", "b", body, user="nobody")
        assert status == 403, answer
    assert b.broker("DELETE", "b", user="nobody")[0] == 403
    status, answer = b.broker("POST", "b", user="other-user", namespace="other")
    assert status == 403 and "isn't granted" in json.dumps(answer)
    status, answer = b.broker("POST", "b", {"endpoint": "http://127.0.0.1:1"})
    assert status == 400 and "endpoint" in json.dumps(answer), "where to mint isn't the caller's to say"
