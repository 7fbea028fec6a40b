"""The chart, by Helm's own engine, each manifest against Kubernetes' schemas."""

import json
import pathlib
import re
import subprocess

import helm_python
import jsonschema
import pytest
import yaml

from controller import ROOT, program

CHART = ROOT / "charts" / "millrace"
SCHEMAS = json.loads((pathlib.Path(__file__).parent / "schemas" / "kubernetes-1.36.json").read_text())["schemas"]
# Of operators that aren't Kubernetes; their shape is checked below by hand.
FOREIGN = {"ServiceMonitor", "PrometheusRule"}

EVERYTHING = {
    "image": {"registry": "registry.example.com/mirror/", "tag": "9.9"}, "imagePullSecrets": ["pull"],
    "commonLabels": {"team": "data"}, "podAnnotations": {"a": "b"},
    "controller": {
        "replicas": 3, "secretNamespaces": ["data", "courses"], "allowEviction": True, "csiEndpoint": "unix:///csi/csi.sock",
        "extraArgs": ["--resync-seconds=60"], "extraContainers": [{"name": "provisioner", "image": "x", "volumeMounts": [
            {"name": "csi", "mountPath": "/csi"}]}], "nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}]},
    "node": {
        "kubeletPath": "/var/lib/k0s/kubelet", "cacheDir": "/var/cache/millrace", "tokenAudiences": ["sts.amazonaws.com"],
        "startupTaint": "millrace.dev/not-ready", "maxUnavailable": 1, "cacheMinFree": "20Gi"},
    "warm": {"enabled": True},
    "storageClasses": [
        {"name": "course", "isDefault": True, "reclaimPolicy": "Retain", "volumeBindingMode": "WaitForFirstConsumer",
         "parameters": {"dataset": "courses/iris", "uid": 1000, "subPathAnnotation": True}, "mountOptions": ["ro"]}],
    "datasets": [
        {"name": "iris", "namespace": "courses",
         "spec": {"source": {"s3": {"bucket": "iris-data", "anonymous": True}}, "allowedNamespaces": {"from": "All"}}}],
    "metrics": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}, "prometheusRule": {"enabled": True},
        "dashboard": {"enabled": True}},
    "networkPolicy": {"enabled": True, "apiServerCIDRs": ["10.0.0.1/32"]}, "priorityClass": {"create": True},
}
LEAST = {
    "crds": {"install": False}, "controller": {"replicas": 1, "probes": False, "revisions": False}, "metrics": {"enabled": False},
    "storageClasses": [], "networkPolicy": {"enabled": True, "apiServerCIDRs": ["10.0.0.1/32"]},
}
API = {
    "api": {
        "enabled": True, "tlsSecret": "api-tls", "audiences": ["millrace"], "allowAddresses": ["127.0.0.0/8"],
        "compat": {"enabled": True, "user": "system:serviceaccount:data:pvci-clients"},
        "service": {"type": "LoadBalancer", "annotations": {"a": "b"}}},
    "networkPolicy": {"enabled": True},
}
API_IN_NAMESPACES = {"api": {"enabled": True, "namespaces": ["data", "courses"]}}
IMPORTS = {"imports": {"enabled": True, "allowAddresses": ["10.0.0.0/8"]}, "imagePullSecrets": ["pull"]}
VALUES = {"default": {}, "everything": EVERYTHING, "least": LEAST, "api": API, "api in namespaces": API_IN_NAMESPACES, "imports": IMPORTS}


def render(values, notes=False):
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(values)
        files = chart.render(values=values, name="mr", namespace="storage")
    if notes:
        return next(text for name, text in files.items() if name.endswith("NOTES.txt"))
    return [
        document for name, text in files.items() if name.endswith(".yaml")
        for document in yaml.safe_load_all(text) if document]


def kinds(manifests, kind):
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def strict(schema, is_properties=False):
    """The schema with unknown fields forbidden, as `kubectl --validate=strict` does."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if is_properties:
        return {name: strict(value) for name, value in schema.items()}
    result = {key: strict(value, key == "properties") for key, value in schema.items()}
    if "$ref" in schema:
        result["$ref"] = "#/schemas/" + schema["$ref"].rsplit("/", 1)[1]
    if schema.get("properties") and "additionalProperties" not in schema:
        result["additionalProperties"] = False
    return result


STRICT = {name: strict(schema) for name, schema in SCHEMAS.items()}


def schema_of(manifest):
    group, _, version = manifest["apiVersion"].rpartition("/")
    for name, schema in SCHEMAS.items():
        for known in schema.get("x-kubernetes-group-version-kind", []):
            if known == {"group": group, "version": version, "kind": manifest["kind"]}:
                return name
    return None


def crd_schema():
    crd = yaml.safe_load((CHART / "files" / "datasets.yaml").read_text())
    return crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]




def test_lint_finds_nothing():
    for values in VALUES.values():
        report = helm_python.lint(CHART, values=values, strict=True, kube_version="v1.36.0")
        # An icon is all that may be missing.
        findings = [m for m in report["messages"] if "icon is recommended" not in m["error"]]
        assert not findings and not report["errors"], report


@pytest.mark.parametrize("name", VALUES)
def test_every_manifest_fits_kubernetes(name):
    manifests = render(VALUES[name])
    assert len(manifests) >= 9
    for manifest in manifests:
        where = f"{manifest['kind']} {manifest['metadata']['name']}"
        if manifest["kind"] in FOREIGN:
            continue
        if manifest["kind"] == "Dataset":
            schema = strict(crd_schema())
            schema["properties"]["metadata"] = {"type": "object"}
        else:
            assert schema_of(manifest), f"{where}: no schema"
            schema = {"$ref": f"#/schemas/{schema_of(manifest)}", "schemas": STRICT}
        errors = list(jsonschema.Draft7Validator(schema).iter_errors(manifest))
        assert not errors, f"{where}: {errors[0].json_path}: {errors[0].message}"


@pytest.mark.parametrize("name", VALUES)
def test_objects_are_found_again(name):
    """Names are unique, and what is namespaced is in the release's namespace or where values say."""
    seen = set()
    for manifest in render(VALUES[name]):
        metadata = manifest["metadata"]
        key = (manifest["kind"], metadata.get("namespace"), metadata["name"])
        assert key not in seen
        seen.add(key)
        assert len(metadata["name"]) <= 63 and metadata["labels"]["app.kubernetes.io/instance"] == "mr"


def test_a_broken_manifest_would_be_found():
    driver = kinds(render({}), "CSIDriver")[0]
    driver["spec"]["podInfoOnMont"] = True
    schema = {"$ref": f"#/schemas/{schema_of(driver)}", "schemas": STRICT}
    assert list(jsonschema.Draft7Validator(schema).iter_errors(driver))


@pytest.mark.parametrize("values, word", [
    ({"controler": {}}, "controler"), ({"controller": {"replicas": 0}}, "replicas"),
    ({"controller": {"replicas": "two"}}, "replicas"), ({"node": {"kubeletPath": "relative"}}, "kubeletPath"),
    ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"), ({"imagePullSecrets": [{"name": "x"}]}, "imagePullSecrets"),
    ({"storageClasses": [{"name": "x"}]}, "parameters"), ({"datasets": [{"spec": {"source": {}}}]}, "name"),
    ({"node": {"memory": "lots"}}, "memory"), ({"driverName": "Bad_Name"}, "driverName"),
    ({"controller": {"csiEndpoint": "tcp://x"}}, "csiEndpoint")])
def test_wrong_values_are_refused_by_name(values, word):
    with pytest.raises(helm_python.HelmValuesError) as caught:
        render(values)
    assert word in str(caught.value)


def test_every_value_has_a_schema():
    schema = json.loads((CHART / "values.schema.json").read_text())

    def check(values, schema, path):
        for key, value in values.items():
            assert key in schema["properties"], f"{path}{key} isn't in values.schema.json"
            inner = schema["properties"][key]
            if isinstance(value, dict) and "properties" in inner:
                check(value, inner, f"{path}{key}.")

    check(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "")


def rules(manifests):
    return [
        (group, resource, verb) for role in kinds(manifests, "ClusterRole") + kinds(manifests, "Role")
        for rule in role["rules"] for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]]


def test_rights_are_as_small_as_the_values_allow():
    least, default, everything = (rules(render(values)) for values in (LEAST, {}, EVERYTHING))
    for granted in (least, default, everything):
        assert not [rule for rule in granted if "*" in rule]
        # Nobody lists Secrets, writes them, or may change what others made.
        assert {verb for _, resource, verb in granted if resource == "secrets"} <= {"get"}
        assert not [r for r in granted if r[1] in ("clusterroles", "roles", "rolebindings", "serviceaccounts")]
        assert ("", "persistentvolumeclaims", "patch") not in granted
    assert not [rule for rule in least if rule[1] in ("secrets", "pods")]
    # Which revisions pods may show is asked before one goes; nothing is done to pods.
    assert ("", "secrets", "get") in default and {v for _, resource, v in default if resource == "pods"} == {"list"}
    # Nodes only where the controller shall take the startup taint off, or warm up; pods only for that and for evictions.
    assert {verb for _, resource, verb in everything if resource == "pods"} == {"list", "watch", "create", "delete"}
    assert {verb for _, resource, verb in everything if resource == "nodes"} == {"list", "watch", "patch"}
    assert not [rule for rule in default if rule[1] in ("nodes", "csinodes")]
    # Named namespaces replace the right on all of them.
    roles = [role["metadata"].get("namespace") for role in kinds(render(EVERYTHING), "Role")
             if any("secrets" in rule["resources"] for rule in role["rules"])]
    assert sorted(roles) == ["courses", "data"]
    assert not [r for role in kinds(render(EVERYTHING), "ClusterRole") for r in role["rules"] if "secrets" in r["resources"]]


def test_the_api_gets_its_rights_only_where_it_is_wanted():
    with_api, without = set(rules(render(API))), set(rules(render({})))
    assert not [rule for rule in without if rule[1] in ("tokenreviews", "subjectaccessreviews", "datasetimports")]
    assert ("authentication.k8s.io", "tokenreviews", "create") in with_api
    # Secrets are written, and neither listed, changed nor deleted.
    assert {verb for _, resource, verb in with_api - without if resource == "secrets"} == {"create"}
    assert not [rule for rule in with_api if "*" in rule or rule[1] in ("clusterroles", "roles", "nodes")]
    # With namespaces named, nothing of it holds elsewhere.
    manifests = render(API_IN_NAMESPACES)
    bound = {binding["roleRef"]["name"] for binding in kinds(manifests, "ClusterRoleBinding")}
    assert "mr-millrace-api-namespaced" not in bound and "mr-millrace-api" in bound
    places = [b["metadata"]["namespace"] for b in kinds(manifests, "RoleBinding")
              if b["roleRef"]["name"] == "mr-millrace-api-namespaced"]
    assert sorted(places) == ["courses", "data"]


def test_imports_get_their_rights_only_where_they_are_wanted():
    # What else lists pods has rules of its own.
    quiet = {"controller": {"revisions": False}}
    with_imports, without = set(rules(render(IMPORTS | quiet))), set(rules(render(quiet)))
    assert not [rule for rule in without if rule[1] in ("jobs", "datasetimports", "pods")]
    added = with_imports - without
    assert {verb for _, resource, verb in added if resource == "jobs"} == {"list", "watch", "create", "delete"}
    assert {verb for _, resource, verb in added if resource == "pods"} == {"list"}
    # Secrets are the Job's to mount, never the controller's to read.
    assert not [rule for rule in added if "secrets" in rule or "*" in rule]


def test_the_apis_calls_are_all_granted():
    """Every verb that the API's source uses on a kind is in its roles."""
    granted = {(resource, verb) for _, resource, verb in rules(render(API))}
    plurals = {
        "PersistentVolume": "persistentvolumes", "PersistentVolumeClaim": "persistentvolumeclaims", "Pod": "pods",
        "StorageClass": "storageclasses", "Dataset": "datasets", "DatasetImport": "datasetimports"}
    used = {(name, "create") for name in (
        "tokenreviews", "subjectaccessreviews", "persistentvolumeclaims", "secrets", "datasets", "datasetimports")}
    # By ImportService.
    used.add(("datasetimports", "patch"))
    for file in (ROOT / "Sources" / "API").glob("*.swift"):
        text = re.sub(r"\s+", " ", file.read_text())
        for verb, kind in re.findall(r"client\.(get|list|delete|patch)\( ?(\w+)\.self", text):
            used.add((plurals[kind], verb))
    assert len(used) >= 13 and used <= granted, used - granted


def test_the_broker_writes_secrets_only_where_it_is_let():
    # What else reads Secrets has rules of its own.
    quiet = {"probes": False, "revisions": False}
    broad = {"broker": {"enabled": True}, "controller": quiet}
    narrow = {"broker": {"enabled": True, "namespaces": ["runs", "storage"]}, "controller": quiet}
    for values in (broad, narrow):
        verbs = {verb for _, resource, verb in rules(render(values)) if resource == "secrets"}
        assert verbs == {"get", "create", "patch", "delete"}
    places = [role["metadata"].get("namespace") for kind in ("Role", "ClusterRole") for role in kinds(render(narrow), kind)
              if any("secrets" in rule["resources"] for rule in role["rules"])]
    assert sorted(places) == ["runs", "storage"]
    for values, expected in ((broad, False), ({}, True)):
        deployment = kinds(render(values), "Deployment")[0]
        assert ("--no-broker" in deployment["spec"]["template"]["spec"]["containers"][0]["args"]) == expected
    assert not [rule for rule in rules(render({})) if rule[1] == "credentialgrants"]


def test_the_controllers_calls_are_all_granted():
    """Every verb that the controller's source uses on a kind is in its roles."""
    granted = {(resource, verb) for _, resource, verb in rules(render(EVERYTHING))}
    used = set()
    plurals = {
        "PersistentVolume": "persistentvolumes", "PersistentVolumeClaim": "persistentvolumeclaims", "Pod": "pods",
        "Dataset": "datasets/status", "Secret": "secrets", "ClusterNode": "nodes"}
    for file in (ROOT / "Sources" / "Controller").glob("*.swift"):
        text = re.sub(r"\s+", " ", file.read_text())
        for verb, kind in re.findall(r"client\.(get|list|delete|patch)\( ?(?:Kubernetes\.)?(\w+)\.self", text):
            used.add((plurals[kind], verb))
    used |= {("persistentvolumes", "create"), ("persistentvolumeclaims", "create"), ("events", "create")}
    assert len(used) >= 9 and used <= granted, used - granted


def test_the_node_has_no_rights_at_all():
    manifests = render(EVERYTHING)
    for binding in kinds(manifests, "ClusterRoleBinding") + kinds(manifests, "RoleBinding"):
        assert [subject["name"] for subject in binding["subjects"]] == ["mr-millrace-controller"]
    accounts = {account["metadata"]["name"]: account for account in kinds(manifests, "ServiceAccount")}
    assert accounts["mr-millrace-node"]["automountServiceAccountToken"] is False
    for daemon in kinds(manifests, "DaemonSet"):
        assert daemon["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_air_gapped_clusters_pull_from_their_own_registry():
    for manifest in kinds(render(EVERYTHING), "DaemonSet") + kinds(render(EVERYTHING), "Deployment"):
        spec = manifest["spec"]["template"]["spec"]
        assert spec["imagePullSecrets"] == [{"name": "pull"}]
        for container in spec["containers"]:
            if container["name"] == "provisioner":
                continue
            assert container["image"] == "registry.example.com/mirror/millrace/millrace:9.9"


def test_upgrades_leave_the_keeper_alone_and_uninstall_leaves_nothing_stuck():
    manifests = render({})
    strategies = {d["metadata"]["name"]: d["spec"]["updateStrategy"]["type"] for d in kinds(manifests, "DaemonSet")}
    assert strategies == {"mr-millrace-node": "RollingUpdate", "mr-millrace-keeper": "OnDelete"}
    assert not [m for m in manifests if m["metadata"].get("finalizers")]
    crd = kinds(manifests, "CustomResourceDefinition")[0]
    assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_driver_is_declared_as_the_node_plugin_needs_it():
    spec = kinds(render({}), "CSIDriver")[0]["spec"]
    assert spec["attachRequired"] is False and spec["podInfoOnMount"] is True and spec["requiresRepublish"] is True
    assert spec["volumeLifecycleModes"] == ["Persistent"] and spec["fsGroupPolicy"] == "None"
    assert kinds(render(EVERYTHING), "CSIDriver")[0]["spec"]["tokenRequests"][0]["audience"] == "sts.amazonaws.com"


def test_kubelet_path_and_startup_taint_reach_the_pods():
    manifests = render(EVERYTHING)
    for pods in kinds(manifests, "DaemonSet") + kinds(manifests, "Deployment"):
        tolerations = pods["spec"]["template"]["spec"]["tolerations"]
        assert {"key": "millrace.dev/not-ready", "operator": "Exists"} in tolerations
    assert "--startup-taint=millrace.dev/not-ready" in kinds(manifests, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"]
    for daemon in kinds(manifests, "DaemonSet"):
        spec = daemon["spec"]["template"]["spec"]
        text = json.dumps(spec)
        assert "/var/lib/k0s/kubelet" in text and "/var/lib/kubelet" not in text


@pytest.mark.parametrize("name", VALUES)
def test_the_controller_knows_its_arguments(name):
    known = set(re.findall(r"--[a-z-]+", subprocess.run(
        [program("millrace-controller"), "--help"], capture_output=True, text=True, timeout=60).stdout))
    container = kinds(render(VALUES[name]), "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
    used = {argument.split("=")[0] for argument in container["args"]}
    assert used and used <= known, used - known


def test_the_node_plugin_knows_its_arguments():
    source = (ROOT / "Sources" / "millrace-csi" / "MillraceCSI.swift").read_text()
    known = {"--" + re.sub(r"([A-Z])", r"-\1", name).lower() for name in re.findall(r"\bvar (\w+)", source)}
    for container in kinds(render(EVERYTHING), "DaemonSet")[1]["spec"]["template"]["spec"]["containers"]:
        if container["command"] == ["millrace-csi"]:
            used = {argument.split("=")[0] for argument in container["args"]}
            assert used and used <= known, used - known
            return
    raise AssertionError("no millrace-csi in the chart")


def test_metrics_in_rules_and_dashboard_exist():
    sources = "".join(file.read_text() for file in (ROOT / "Sources").rglob("*.swift"))
    text = json.dumps(kinds(render(EVERYTHING), "PrometheusRule")) + (CHART / "files" / "dashboard.json").read_text()
    names = set(re.findall(r"millrace_\w+?(?=_bucket|_count|[^\w])", text))
    assert len(names) >= 6
    for name in names:
        short = name.removeprefix("millrace_controller_")
        assert f'"{name}"' in sources or f'"{short}"' in sources, name
    dashboard = kinds(render(EVERYTHING), "ConfigMap")[0]["data"]["millrace.json"]
    assert len(json.loads(dashboard)["panels"]) >= 6


def test_network_policies_let_nothing_in_but_metrics():
    policies = {p["metadata"]["name"]: p["spec"] for p in kinds(render(EVERYTHING), "NetworkPolicy")}
    assert sorted(policies) == ["mr-millrace-controller", "mr-millrace-keeper", "mr-millrace-node"]
    for name, spec in policies.items():
        assert "Ingress" in spec["policyTypes"]
        for rule in spec.get("ingress", []):
            assert rule["ports"] == [{"port": "metrics", "protocol": "TCP"}], name
    assert "Egress" in policies["mr-millrace-keeper"]["policyTypes"] and "egress" not in policies["mr-millrace-keeper"]
    # Without probes the controller needs the API server alone.
    least = next(p["spec"] for p in kinds(render(LEAST), "NetworkPolicy") if p["metadata"]["name"].endswith("controller"))
    assert {"ipBlock": {"cidr": "10.0.0.1/32"}} in least["egress"][1]["to"] and {} not in least["egress"]


def test_the_controller_survives_drains_and_goes_first_when_memory_is_short():
    manifests = render(EVERYTHING)
    budget = kinds(manifests, "PodDisruptionBudget")[0]["spec"]
    deployment = kinds(manifests, "Deployment")[0]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert budget["maxUnavailable"] == 1 and budget["selector"]["matchLabels"].items() <= labels.items()
    assert not kinds(render(LEAST), "PodDisruptionBudget")  # One replica could never be drained.
    own = kinds(manifests, "PriorityClass")[0]["metadata"]["name"]
    for pods in kinds(manifests, "Deployment") + kinds(manifests, "DaemonSet"):
        assert pods["spec"]["template"]["spec"]["priorityClassName"] == own
    default = {pods["spec"]["template"]["spec"]["priorityClassName"]
               for pods in kinds(render({}), "Deployment") + kinds(render({}), "DaemonSet")}
    assert default == {"system-cluster-critical", "system-node-critical"}


def test_monitors_find_a_port_that_pods_have():
    manifests = render(EVERYTHING)
    service = kinds(manifests, "Service")[0]
    monitor = kinds(manifests, "ServiceMonitor")[0]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    found = []
    for pods in kinds(manifests, "Deployment") + kinds(manifests, "DaemonSet"):
        template = pods["spec"]["template"]
        ports = {port["name"] for container in template["spec"]["containers"] for port in container.get("ports", [])}
        if "metrics" in ports:
            assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
            found.append(pods["metadata"]["name"])
    assert found == ["mr-millrace-controller", "mr-millrace-node"]


def test_notes_say_what_to_do_next():
    text = render({}, notes=True)
    assert "rollout status" in text and "kind: Dataset" in text and "storageClassName" in text
    assert "kind: Dataset" not in render(EVERYTHING, notes=True)
