"""The chart as Helm's own engine renders it, with values that turn on everything, the least, and single parts."""

import json
import pathlib

import helm_python
import yaml

from controller import ROOT

CHART = ROOT / "charts" / "millrace"
SCHEMAS = json.loads((pathlib.Path(__file__).parent / "schemas" / "kubernetes-1.36.json").read_text())["schemas"]
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
IMPORTS = {"imports": {"enabled": True, "allowAddresses": ["10.0.0.0/8"]}, "imagePullSecrets": [{"name": "pull"}]}
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


def hook_of(manifest):
    return (manifest["metadata"].get("annotations") or {}).get("helm.sh/hook")


def rules(manifests):
    """What is granted for as long as the release is there."""
    roles = [role for role in kinds(manifests, "ClusterRole") + kinds(manifests, "Role") if not hook_of(role)]
    return [
        (group, resource, verb) for role in roles
        for rule in role["rules"] for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]]
