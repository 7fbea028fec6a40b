"""The HTTP API of millrace-controller against kube-embedded and s3-embedded: PVCi's rows, by a client of PVCi's."""

import json
import re
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from controller import ROOT, wait_for
from kube import Cluster, needs_stand_in
from pvci import PVCi, PVCiError

sys.path.insert(0, str(ROOT / "Tests/EndToEnd"))
from harness import Embedded  # noqa: E402  pylint: disable=wrong-import-position

pytestmark = needs_stand_in("it needs tokens and rights of the stand-in's making")

OBJECTS = {"testset/a": 1000, "testset/deep/b": 2000, "testset2/c": 4000}
FLAGS = ["--no-leader-election", "--allow-address", "127.0.0.0/8", "--api", "127.0.0.1:0",
         "--api-compat", "127.0.0.1:0", "--api-compat-user", "team-user"]


def port_of(process, compat):
    """The port of a listener, from the log."""
    def look():
        for line in process.output().splitlines():
            if "the API listens" in line and f"compat={str(compat).lower()}" in line:
                return int(re.search(r"127\.0\.0\.1:(\d+)", line).group(1))
        return None
    return wait_for(f"the API listens (compat {compat})", look)


class Site:
    """A cluster with the controller's API, and a store."""

    def __init__(self, directory):
        self.cluster = Cluster(directory)
        self.store = Embedded(bucket="datasets")
        self.store.credentials("AKIAEXAMPLE", "hunter2")
        for key, size in OBJECTS.items():
            self.store.put_generated(key, size, 1)
        self.cluster.namespace("team")
        self.cluster.namespace("other")
        self.cluster.storage_class("millrace", datasetAnnotation="true")
        self.cluster.post("/apis/storage.k8s.io/v1/storageclasses", {
            "metadata": {"name": "block"}, "provisioner": "block.example.org"})
        self.process = self.cluster.controller(*FLAGS)
        self.url = f"http://127.0.0.1:{port_of(self.process, False)}"
        self.place = {"s3_ssl": False, "s3_endpoint": self.store.endpoint.removeprefix("http://"),
                      "s3_bucket": "datasets", "s3_prefix": "testset", "s3_key": "AKIAEXAMPLE", "s3_secret": "hunter2"}
        self.pvci = PVCi(f"http://127.0.0.1:{port_of(self.process, True)}", self.place)

    def ask(self, method, path, body=None, token="user:team-user", context=None, url=None):
        """Status, headers and JSON of an answer under /v1."""
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(
            (url or self.url) + path, method=method, data=None if body is None else json.dumps(body).encode(), headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60, context=context) as answer:
                text = answer.read()
                return answer.status, answer.headers, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            return error.code, error.headers, json.load(error)

    def stop(self):
        self.cluster.stop()
        self.store.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("api"))
    yield site
    site.stop()


def test_P1_the_service_tells_what_it_is(site):
    assert site.pvci.service() == {"version": "0.1.0", "mode": "release", "service": "millrace"}


def test_P2_size_counts_a_string_prefix(site):
    assert site.pvci.size() == {"objects": 3, "bytes": 7000}
    status, _, size = site.ask("POST", "/size?directory=1", site.place)
    assert (status, size) == (200, {"objects": 2, "bytes": 3000})


def test_P3_create_on_our_class_is_bound_at_once_and_copies_nothing(site):
    assert site.pvci.create("team", "zero", "millrace") == {}
    volume = site.cluster.bound("team", "zero")
    attributes = volume["spec"]["csi"]["volumeAttributes"]
    assert attributes["bucket"] == "datasets" and attributes["prefix"] == "testset/"
    secret = volume["spec"]["csi"]["nodePublishSecretRef"]
    assert secret["namespace"] == "team"
    stored = site.cluster.get(f"/api/v1/namespaces/team/secrets/{secret['name']}")
    claim = site.cluster.found_claim("team", "zero")
    assert stored["metadata"]["ownerReferences"][0]["uid"] == claim["metadata"]["uid"]
    # Nobody was told that its Dataset isn't there yet.
    assert [e["reason"] for e in site.cluster.events("team", "zero") if e["type"] == "Warning"] == []
    status = site.pvci.named("/status", "team", "zero")
    assert status["Phase"] == "Ready" and status["Percent"] == 100 and status["Bytes"] == 3000
    assert status["PVCStatus"]["phase"] == "Bound" and status["InjectorHasError"] is False


def test_P3_create_on_another_class_makes_an_import(site):
    assert site.pvci.create("team", "copy", "block") == {}
    record = site.cluster.get("/apis/millrace.dev/v1alpha1/namespaces/team/datasetimports/copy")
    assert record["spec"]["claimName"] == "copy"
    assert site.cluster.found_claim("team", "copy")["spec"]["resources"]["requests"]["storage"] == "9176"
    assert "hunter2" not in json.dumps([record, site.cluster.found_claim("team", "copy")])


def test_P4_create_async_answers_at_once(site):
    assert site.pvci.create_async("team", "later", "millrace") == {}
    site.cluster.bound("team", "later")
    body = {**site.place, "namespace": "team", "name": "later2", "storage_class": "millrace"}
    status, headers, answer = site.ask("POST", "/create-async", body)
    assert status == 202 and headers["Location"] == answer["status"] == "/v1/namespaces/team/claims/later2"
    wait_for("it is ready", lambda: site.ask("GET", answer["status"])[2].get("phase") == "Ready")


def test_P5_status_of_what_is_not_there(site):
    status = site.pvci.named("/status", "team", "nothing")
    assert status["PVCHasError"] and "nothing" in status["PVCError"] and status["Phase"] == "NotFound"


def test_P6_cleanup_can_be_repeated(site):
    for _ in range(2):
        assert site.pvci.named("/cleanup", "team", "nothing") == {}


def test_P7_delete_takes_all_that_belongs_to_a_claim_and_no_foreign_one(site):
    site.pvci.create("team", "gone", "millrace")
    site.cluster.bound("team", "gone")
    assert site.pvci.named("/delete", "team", "gone") == {}
    wait_for("the volume goes", lambda: not any(
        v["spec"]["claimRef"]["name"] == "gone" for v in site.cluster.volumes()))
    assert site.cluster.get("/apis/millrace.dev/v1alpha1/namespaces/team/datasets/gone") is None
    site.cluster.claim("team", "precious", "block", mode="ReadWriteOnce")
    with pytest.raises(PVCiError, match="wasn't made by this API") as refused:
        site.pvci.named("/delete", "team", "precious")
    assert refused.value.status == 400 and site.cluster.found_claim("team", "precious")


def test_P8_the_mode_of_a_volume_in_use_stays(site):
    site.pvci.create("team", "moded", "millrace")
    volume = site.cluster.bound("team", "moded")
    assert site.pvci.named("/mode/rox", "team", "moded") == {}
    with pytest.raises(PVCiError, match="read-only"):
        site.pvci.named("/mode/rwo", "team", "moded")
    site.cluster.post("/api/v1/namespaces/team/pods", {
        "metadata": {"name": "reader"}, "spec": {
            "containers": [{"name": "c", "image": "x"}],
            "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "moded"}}]}})
    with pytest.raises(PVCiError, match="pod team/reader uses"):
        site.pvci.named("/mode/rox", "team", "moded")
    path = f"/api/v1/persistentvolumes/{volume['metadata']['name']}"
    assert site.cluster.get(path)["spec"]["accessModes"] == ["ReadOnlyMany"]


def test_P9_errors_have_PVCis_shape(site):
    with pytest.raises(PVCiError) as refused:
        PVCi(site.pvci.url, {**site.place, "s3_bucket": "nobucket"}).size()
    assert refused.value.status == 400 and "nobucket" in refused.value.message
    status, _, answer = site.ask("POST", "/size", {**site.place, "s3_bucket": "nobucket"})
    assert status == 404 and list(answer) == ["error"]


def test_P15_nothing_without_a_token_and_nothing_that_rbac_forbids(site):
    assert site.ask("GET", "/v1/namespaces/team/claims", token=None)[0] == 401
    assert site.ask("GET", "/v1/namespaces/team/claims", token="forged")[0] == 401
    status, _, problem = site.ask("GET", "/v1/namespaces/other/claims")
    assert status == 403 and problem["detail"].startswith("team-user may not list persistentvolumeclaims")
    with pytest.raises(PVCiError, match="team-user may not create") as refused:
        site.pvci.create("other", "x", "millrace")
    assert refused.value.status == 403
    assert "hunter2" not in site.process.output()


def test_endpoints_on_the_link_are_refused_and_so_are_names_and_redirects_to_them(site):
    for endpoint in ("169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]"):
        with pytest.raises(PVCiError, match="isn't allowed"):
            PVCi(site.pvci.url, {**site.place, "s3_endpoint": endpoint}).size()

    class Redirecting:
        def __init__(self):
            self.listener = socket.create_server(("127.0.0.1", 0))
            self.port = self.listener.getsockname()[1]

    redirecting = Redirecting()
    import threading

    def serve():
        while True:
            try:
                connection, _ = redirecting.listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://169.254.169.254/\r\n"
                                   b"Content-Length: 0\r\nConnection: close\r\n\r\n")

    threading.Thread(target=serve, daemon=True).start()
    with pytest.raises(PVCiError):
        PVCi(site.pvci.url, {**site.place, "s3_endpoint": f"127.0.0.1:{redirecting.port}"}).size()
    redirecting.listener.close()


def test_the_openapi_document_is_valid_and_real_answers_fit_it(site):
    validator = pytest.importorskip("openapi_spec_validator", reason="openapi-spec-validator: scripts/setup test")
    import jsonschema

    document = site.ask("GET", "/openapi.json", token=None)[2]
    validator.validate(document)
    assert document == json.loads((ROOT / "docs/openapi.json").read_text())
    seen = set()

    def check(method, path, template, body=None, **options):
        status, headers, answer = site.ask(method, path, body, **options)
        operation = document["paths"][template][method.lower()]
        response = operation["responses"].get(str(status), operation["responses"]["default"])
        kind = headers.get("Content-Type")
        if "content" in response:
            schema = {"$ref": f"#/_/schema", "_": {"schema": response["content"][kind]["schema"]},
                      "components": document["components"]}
            jsonschema.Draft202012Validator(schema).validate(answer)
        else:
            assert answer is None
        seen.add((method, template))
        return status

    claims = "/v1/namespaces/{namespace}/claims"
    order = {**site.place, "namespace": "team", "name": "doc", "storage_class": "millrace"}
    named = {"namespace": "team", "name": "doc"}
    s3 = {"bucket": "datasets", "prefix": "testset", "endpoint": site.store.endpoint, "pathStyle": True}
    keys = {"accessKeyID": "AKIAEXAMPLE", "secretAccessKey": "hunter2"}
    assert check("GET", "/", "/", token=None) == 200
    assert check("POST", "/size", "/size", site.place) == 200
    assert check("POST", "/size", "/size", {}) == 400
    assert check("POST", "/create", "/create", order) == 200
    site.cluster.bound("team", "doc")
    assert check("POST", "/create-async", "/create-async", {**order, "name": "doc2"}) == 202
    assert check("POST", "/status", "/status", named) == 200
    assert check("POST", "/mode/rox", "/mode/rox", named) == 200
    assert check("POST", "/mode/rwo", "/mode/rwo", named) == 409
    assert check("POST", "/cleanup", "/cleanup", named) == 200
    assert check("POST", "/v1/size", "/v1/size", {"source": {"s3": s3}, "credentials": keys}) == 200
    assert check("POST", "/v1/size", "/v1/size", {"source": {"s3": s3}}) == 400
    assert check("GET", "/v1/namespaces/team/claims", claims) == 200
    assert check("POST", "/v1/namespaces/team/claims", claims, {
        "name": "doc3", "storageClassName": "millrace", "source": {"s3": s3}, "credentials": keys}) == 201
    assert check("GET", "/v1/namespaces/team/claims/doc3", claims + "/{name}") == 200
    site.cluster.bound("team", "doc3")
    assert check("PUT", "/v1/namespaces/team/claims/doc3/mode", claims + "/{name}/mode", {"accessMode": "ReadOnlyMany"}) == 200
    assert check("DELETE", "/v1/namespaces/team/claims/doc3/job", claims + "/{name}/job") == 204
    assert check("DELETE", "/v1/namespaces/team/claims/doc3", claims + "/{name}") == 204
    assert check("GET", "/v1/namespaces/team/claims/none", claims + "/{name}") == 404
    assert check("POST", "/delete", "/delete", named) == 200
    for plural, spec in (("datasets", {"source": {"s3": {**s3, "anonymous": True}}}), ("imports", {"source": {"s3": s3}, "claimName": "precious"})):
        path = f"/v1/namespaces/team/{plural}"
        template = f"/v1/namespaces/{{namespace}}/{plural}"
        assert check("POST", path, template, {"name": "made", "spec": spec}) == 201
        assert check("POST", path, template, {"name": "made", "spec": spec}) == 409
        assert check("GET", path, template) == 200
        assert check("GET", path + "/made", template + "/{name}") == 200
        assert check("DELETE", path + "/made", template + "/{name}") == 204
    keys, template = "/v1/credentials/team/nothing/team", "/v1/credentials/{owner}/{storage}/{namespace}"
    assert check("POST", keys, template, {"access": "ReadOnly"}) == 403
    assert check("GET", keys, template) == 200
    assert check("DELETE", keys, template) == 200
    assert check("GET", "/openapi.json", "/openapi.json", token=None) == 200
    known = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert known == seen, f"not tried: {known - seen}"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_P12_and_P13_PVCis_environment_says_where_it_listens_and_serves_metrics(site):
    port, metrics = free_port(), free_port()
    process = site.cluster.controller(
        "--no-leader-election", "--allow-address", "127.0.0.0/8", environment={
            "IP": "127.0.0.1", "PORT": str(port), "METRICS_PORT": str(metrics), "MODE": "debug",
            "HTTP_READ_TIMEOUT": "7", "HTTP_WRITE_TIMEOUT": "70", "VOLUME_OVERAGE_PCT": "100"})
    assert port_of(process, True) == port
    client = PVCi(f"http://127.0.0.1:{port}", site.place, token="user:team-user")
    assert client.service()["mode"] == "debug"
    client.create("team", "double", "block")
    claim = site.cluster.found_claim("team", "double")
    assert claim["spec"]["resources"]["requests"]["storage"] == "14681"
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    assert 'millrace_service_info{service="millrace",version="0.1.0",mode="debug"} 1' in text
    assert 'millrace_api_requests_total{code="200",method="POST",route="/create"} 1' in text
    process.stop()


def certificate(directory, name):
    """A self-signed pair for 127.0.0.1."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", directory / f"{name}.key", "-out", directory / f"{name}.crt"],
        check=True, capture_output=True)
    return (directory / f"{name}.crt").read_text(), (directory / f"{name}.key").read_text()


def test_tls_with_a_certificate_that_is_replaced_under_way(site, tmp_path):
    pairs = [certificate(tmp_path, name) for name in ("old", "new")]

    def install(pair):
        for file, text in zip(("tls.crt", "tls.key"), pair):
            (tmp_path / f"{file}.draft").write_text(text)
            (tmp_path / f"{file}.draft").rename(tmp_path / file)

    install(pairs[0])
    process = site.cluster.controller(
        "--no-leader-election", "--no-probes", "--api", "127.0.0.1:0", "--api-tls-cert", str(tmp_path / "tls.crt"),
        "--api-tls-key", str(tmp_path / "tls.key"))
    url = f"https://127.0.0.1:{port_of(process, False)}"

    def trusts(pair):
        context = ssl.create_default_context(cadata=pair[0])
        try:
            return site.ask("GET", "/", token=None, context=context, url=url)[0] == 200
        except urllib.error.URLError:
            return False

    assert trusts(pairs[0]) and not trusts(pairs[1])
    install(pairs[1])
    wait_for("the new certificate is served", lambda: trusts(pairs[1]), 60)
    assert not trusts(pairs[0])
    (tmp_path / "tls.crt").write_text("nonsense")
    assert trusts(pairs[1])
    process.stop()


def test_flags_that_make_no_sense_are_named(site):
    for flags, word in ((["--api", "nowhere"], "--api nowhere"), (["--allow-address", "x/8"], "--allow-address x/8"),
                        (["--api-tls-cert", "x"], "belong together"),
                        (["--api", "127.0.0.1:0", "--api-tls-cert", "/none", "--api-tls-key", "/none"], "/none can't be read")):
        process = site.cluster.controller("--no-leader-election", *flags)
        assert process.child.wait(30) != 0 and word in process.output(), process.output()
