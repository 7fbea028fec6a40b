"""Rights that the chart gives: as few as its values allow, and all that the programs use."""

import re

from chart import API, API_IN_NAMESPACES, EVERYTHING, IMPORTS, LEAST, hook_of, kinds, render, rules
from controller import ROOT


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
        account = "mr-millrace-uninstall" if hook_of(binding) else "mr-millrace-controller"
        assert [subject["name"] for subject in binding["subjects"]] == [account]
    accounts = {account["metadata"]["name"]: account for account in kinds(manifests, "ServiceAccount")}
    assert accounts["mr-millrace-node"]["automountServiceAccountToken"] is False
    for daemon in kinds(manifests, "DaemonSet"):
        assert daemon["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
