"""The chart, by Helm's own engine, each manifest against Kubernetes' schemas."""

import json
import re
import subprocess

import helm_python
import jsonschema
import pytest
import yaml

from chart import CHART, EVERYTHING, IMPORTS, LEAST, STRICT, VALUES, crd_schema, hook_of, kinds, render, schema_of, strict
from controller import ROOT, program

# Of operators that aren't Kubernetes; their shape is checked below by hand.
FOREIGN = {"ServiceMonitor", "PrometheusRule"}


@pytest.mark.parametrize("file", sorted((CHART / "files").glob("*.yaml")), ids=lambda file: file.stem)
def test_printer_columns_show_fields_that_exist(file):
    spec = yaml.safe_load(file.read_text())["spec"]
    assert spec["names"]["shortNames"] and "millrace" in spec["names"]["categories"]
    version, = spec["versions"]
    root = version["schema"]["openAPIV3Schema"]["properties"]
    columns = version["additionalPrinterColumns"]
    assert len(columns) >= 5 and len({column["name"] for column in columns}) == len(columns)
    for column in columns:
        if column["jsonPath"].startswith(".metadata."):
            continue
        schema = {"properties": root}
        for step in re.sub(r"\[[^]]*\]", "[]", column["jsonPath"]).strip(".").split("."):
            schema = schema["properties"][step.removesuffix("[]")]
            schema = schema["items"] if step.endswith("[]") else schema
        assert schema["type"] == {"date": "string"}.get(column["type"], column["type"]), column


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
    ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"), ({"imagePullSecrets": [{"nam": "x"}]}, "imagePullSecrets"),
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


def test_air_gapped_clusters_pull_from_their_own_registry():
    # Names, and what pods have: people write either.
    for secrets in (["pull"], [{"name": "pull"}]):
        manifests = render({**EVERYTHING, "imports": IMPORTS["imports"], "imagePullSecrets": secrets})
        arguments = kinds(manifests, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"]
        assert {"--warm-image-pull-secret=pull", "--import-pull-secret=pull"} <= set(arguments)
    for manifest in kinds(manifests, "DaemonSet") + kinds(manifests, "Deployment") + kinds(manifests, "Job"):
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


def differences(old, new, path=""):
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() | new.keys():
            yield from differences(old.get(key), new.get(key), f"{path}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, pair in enumerate(zip(old, new)):
            yield from differences(*pair, f"{path}[{number}]")
    elif old != new:
        yield path


def test_an_upgrade_to_another_image_changes_nothing_that_mounts_hang_on():
    """Selectors can't change, and sockets, state and the keeper's directory must be where the next plugin looks."""
    named = lambda tag: {(m["kind"], m["metadata"]["name"]): m for m in render({"image": {"tag": tag}})}
    old, new = named("1"), named("2")
    assert old.keys() == new.keys()
    changed = {(kind, path) for (kind, name), manifest in old.items()
               for path in differences(manifest, new[kind, name]) if kind != "Secret"}  # The key of ids is kept by lookup.
    assert changed == {(kind, f".spec.template.spec.{part}[0].image") for kind, part in [
        ("Deployment", "containers"), ("DaemonSet", "containers"), ("DaemonSet", "initContainers"), ("Job", "containers")]}
    node, keeper = (new["DaemonSet", f"mr-millrace-{name}"]["spec"] for name in ("node", "keeper"))
    assert keeper["updateStrategy"] == {"type": "OnDelete"}
    assert node["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": "10%"}
    directory = lambda spec: next(v["hostPath"]["path"] for v in spec["template"]["spec"]["volumes"] if v["name"] == "keeper")
    assert directory(node) == directory(keeper)


def test_the_key_of_ids_may_be_a_secret_of_ones_own():
    """What renders the chart without the cluster can't find the key that the chart made, and would make another."""
    named = lambda values: {m["metadata"]["name"] for m in kinds(render(values), "Secret")}
    key = lambda values: next(volume["secret"]["secretName"] for d in kinds(render(values), "Deployment")
                              for volume in d["spec"]["template"]["spec"]["volumes"] if volume["name"] == "volume-key")
    assert "mr-millrace-volume-key" in named({}) and key({}) == "mr-millrace-volume-key"
    own = {"controller": {"volumeKeySecret": "mine"}}
    assert "mr-millrace-volume-key" not in named(own) and key(own) == "mine"


def test_before_an_uninstall_what_would_be_stuck_is_let_go():
    manifests = render(EVERYTHING)
    hooks = [m for m in manifests if hook_of(m)]
    assert sorted(m["kind"] for m in hooks) == [
        "ClusterRole", "ClusterRoleBinding", "Job", "Role", "RoleBinding", "ServiceAccount"]
    for manifest in hooks:
        annotations = manifest["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "pre-delete"
        # Its rights are there only meanwhile, and before it.
        assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
        assert (int(annotations["helm.sh/hook-weight"]) == 0) == (manifest["kind"] == "Job")
    controller = kinds(manifests, "Deployment")[0]["spec"]["template"]["spec"]
    job = kinds(hooks, "Job")[0]["spec"]["template"]["spec"]
    arguments = job["containers"][0]["args"]
    assert job["containers"][0]["image"] == controller["containers"][0]["image"] and "--let-go" in arguments
    # It takes the controller's own lease.
    leases = [a for a in arguments if a.startswith("--lease-")]
    assert len(leases) == 2 and set(leases) <= set(controller["containers"][0]["args"])
    assert kinds(hooks, "Role")[0]["rules"] == [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["mr-millrace-controller"],
         "verbs": ["get", "update"]}]
    # Every kind that gets a finalizer somewhere is among those that are let go.
    sources = {file: file.read_text() for file in (ROOT / "Sources").rglob("*.swift")}
    finalizers = {name for text in sources.values() for name in re.findall(r'static let finalizer = "([^"]+)"', text)}
    assert len(finalizers) >= 4 and all(name.startswith("millrace.dev/") for name in finalizers)
    freed = set(re.findall(r"free\((\w+)\.self\)", (ROOT / "Sources/millrace-controller/LettingGo.swift").read_text()))
    granted, = kinds(hooks, "ClusterRole")[0]["rules"]
    assert granted["apiGroups"] == ["millrace.dev"] and granted["verbs"] == ["get", "list", "patch"]
    assert set(granted["resources"]) == {f"{kind.lower()}s" for kind in freed}


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
    for pods in kinds(render(VALUES[name]), "Deployment") + kinds(render(VALUES[name]), "Job"):
        used = {argument.split("=")[0] for argument in pods["spec"]["template"]["spec"]["containers"][0]["args"]}
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
