"""The CRDs' CEL rules, each by an independent implementation of CEL and by the stand-in's, with what it takes and refuses."""

import pytest
import yaml

from controller import ROOT, wait_for
from kube import Cluster, needs_stand_in

S3, HTTP, NFS, PACH = ({name: {"x": 1}} for name in ("s3", "http", "nfs", "pachyderm"))
KEYS = {"secretRef": {"name": "keys"}}
PINNED = {"revision": {"policy": "Pinned"}}
STORE = {"revision": {"policy": "Pinned", "store": {"bucket": "b", **KEYS}}}
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
UP = (["a/b", "a..b", ".a/..b"], ["..", "a/../b", "./a", "a/."])

# By the end of a rule's path and a word of it: what `self` may be, and what not.
CASES = [
    (".subPath", "'*'", (["a/b"], ["a*", "a?b", "$HOME"])),
    ("", "startsWith('/')", (["a/b"], ["/", "/a"])),
    ("", "part == '..'", UP),
    ("", "'//'", (["a/b/"], ["a//b", "//"])),
    ("caBundle", "CERTIFICATE", ([PEM], ["not pem"])),
    ("bucket", "'..'", (["a.b"], ["a..b"])),
    ("DatasetImport.spec", "self.claimName", ([{}, {"claimName": "a"}, {"claimTemplate": {}}], [{"claimName": "a", "claimTemplate": {}}])),
    ("DatasetImport.spec", "self.schedule", ([{}, {"schedule": "@daily", "claimTemplate": {}}], [{"schedule": "@daily"}])),
    ("DatasetImport.spec", "self.checksum", (
        [{"source": S3}, {"checksum": "x", "source": HTTP}, {"checksum": "x", "source": {"s3": {"bucket": "b", "object": "o"}}},
         {"checksum": "x", "source": {"s3": {}}}],
        [{"checksum": "x", "source": {"s3": {"bucket": "b"}}}])),
    ("DatasetImport.spec.source", "filter", ([S3, HTTP], [{}, {**S3, **HTTP}])),
    ("DatasetImport.spec.source.s3", "prefix", ([{}, {"prefix": "a"}, {"object": "a"}], [{"prefix": "a", "object": "a"}])),
    ("Dataset.spec", "roleARN", (
        [{"source": S3, **KEYS}, {"source": {"s3": {"anonymous": True}}}, {"source": {"s3": {"roleARN": "r"}}}, {"source": HTTP}],
        [{"source": S3}, {"source": {"s3": {"anonymous": False}}}])),
    ("Dataset.spec", "!(has(self.secretRef) && has(self.source.s3)", (
        [{"source": S3, **KEYS}, {"source": {"s3": {"anonymous": True}}}, {"source": {"s3": {"anonymous": False}}, **KEYS}],
        [{"source": {"s3": {"anonymous": True}}, **KEYS}])),
    ("Dataset.spec", "!has(self.broker) || has(self.source.s3)", (
        [{"source": HTTP}, {"source": S3, "broker": {}}], [{"source": HTTP, "broker": {}}])),
    ("Dataset.spec", "self.broker.secretRef", (
        [{"source": S3}, {"source": S3, "broker": KEYS}, {"source": S3, "broker": {}, **KEYS}], [{"source": S3, "broker": {}}])),
    ("Dataset.spec", "has(self.source.nfs))", ([{"source": NFS}, {"source": S3, **KEYS}], [{"source": NFS, **KEYS}])),
    ("Dataset.spec", "!has(self.source.pachyderm) || has(self.secretRef)", (
        [{"source": PACH, **KEYS}, {"source": HTTP}], [{"source": PACH}])),
    ("Dataset.spec", "'Pinned' || has(self.source.s3) || has(self.source.pachyderm)", (
        [{"source": HTTP}, {"source": HTTP, "revision": {}}, {"source": HTTP, "revision": {"policy": "Latest"}},
         {"source": S3, **PINNED}, {"source": PACH, **PINNED}],
        [{"source": HTTP, **PINNED}, {"source": NFS, **PINNED}])),
    ("Dataset.spec", "self.revision.store.secretRef", (
        [{"source": S3}, {"source": S3, **PINNED, **KEYS}, {"source": S3, **STORE},
         {"source": PACH, **KEYS, "revision": {"policy": "Pinned", "store": {"bucket": "b"}}}],
        [{"source": S3, **PINNED}, {"source": PACH, **KEYS, **PINNED}, {"source": S3, "revision": {"policy": "Pinned", "store": {}}}])),
    ("Dataset.spec.source", "filter", ([S3, HTTP, NFS, PACH], [{}, {**S3, **NFS}, {**S3, **HTTP, **NFS, **PACH}])),
    ("Dataset.spec.source.s3", "roleARN", (
        [{}, {"anonymous": True}, {"roleARN": "r"}, {"anonymous": False, "roleARN": "r"}], [{"anonymous": True, "roleARN": "r"}])),
    ("Dataset.spec.source.http", "self.urls", ([{"url": "u"}, {"urls": ["u"]}], [{}, {"url": "u", "urls": ["u"]}])),
    ("mountOptions", "suid", ([[], ["ro", "vers=4"]], [["rw"], ["ro", "dev"], ["suid"]])),
    ("allowedNamespaces", "Selector", (
        [{"from": "All"}, {"from": "Selector", "selector": {}}], [{"from": "Selector"}, {"from": "All", "selector": {}}])),
]
# Rules of what was: (what it was, may become, may not).
CHANGES = [
    ("CredentialGrant.spec", f"self.{name} == oldSelf.{name}", ({name: "a"}, {name: "a", "access": "x"}, {name: "b"}))
    for name in ("dataset", "delivery")]


def all_rules():
    """(path, rule, schema that has it) of every CRD of the chart."""
    def walk(schema, path):
        for entry in schema.get("x-kubernetes-validations", []):
            yield path, entry, schema
        for name, inner in schema.get("properties", {}).items():
            yield from walk(inner, f"{path}.{name}")
        for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
            if isinstance(schema.get(key), dict):
                yield from walk(schema[key], path + mark)

    found = []
    for file in sorted((ROOT / "charts/millrace/files").glob("*.yaml")):
        crd = yaml.safe_load(file.read_text())
        for version in crd["spec"]["versions"]:
            found += walk(version["schema"]["openAPIV3Schema"], crd["spec"]["names"]["kind"])
    return found


def case_of(path, rule, table):
    matching = [case for end, word, case in table if word in rule and (path == end if "." in end.strip(".") else path.endswith(end))]
    assert len(matching) == 1, f"{path}: {rule}: {len(matching)} cases"
    return matching[0]


def test_every_rule_has_a_message_and_a_bound():
    """What can't be bounded costs too much, and a real API server refuses the whole CRD."""
    rules = all_rules()
    assert len(rules) >= 34
    for path, entry, schema in rules:
        assert entry.get("message"), path
        if "split(" in entry["rule"]:
            assert schema["maxLength"] <= 4096, path
        if "self.exists(" in entry["rule"]:
            assert schema["maxItems"] <= 64 and schema["items"]["maxLength"] <= 1024, path
        assert "[]" not in path and "{}" not in path, f"{path}: multiplied by the members of a list"


def test_every_rule_by_an_independent_cel():
    cel = pytest.importorskip("cel", reason="no CEL to compare with: pip install common-expression-language")

    def verdict(rule, value, old=None):
        context = cel.Context()
        context.add_function("split", lambda text, separator: text.split(separator))
        context.add_variable("self", value)
        if old is not None:
            context.add_variable("oldSelf", old)
        return cel.evaluate(rule, context)

    for path, entry, _ in all_rules():
        rule = entry["rule"]
        if "oldSelf" in rule:
            old, good, bad = case_of(path, rule, CHANGES)
            assert verdict(rule, good, old) is True and verdict(rule, bad, old) is False, (path, rule)
            continue
        good, bad = case_of(path, rule, CASES)
        assert good and bad
        for value in good:
            assert verdict(rule, value) is True, (path, rule, value)
        for value in bad:
            assert verdict(rule, value) is False, (path, rule, value)


@needs_stand_in("it is the stand-in's CEL that is looked at")
def test_every_rule_by_the_stand_in(tmp_path):
    """Each rule alone, on a field of its own, so that nothing else can refuse a value."""
    rules = all_rules()
    shapes = {str: {"type": "string"}, list: {"type": "array", "items": {"type": "string"}},
              dict: {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    cases = [case_of(path, entry["rule"], CHANGES if "oldSelf" in entry["rule"] else CASES) for path, entry, _ in rules]
    sample = lambda case: case[1] if len(case) == 3 else case[0][-1]
    fields = {f"r{n}": {**shapes[type(sample(case))], "x-kubernetes-validations": [entry]}
              for n, (case, (_, entry, _)) in enumerate(zip(cases, rules))}
    cluster = Cluster(tmp_path)
    try:
        cluster.define({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "rules.cel.test"},
            "spec": {"group": "cel.test", "scope": "Cluster", "names": {"plural": "rules", "singular": "rule", "kind": "Rule"},
                     "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                         "type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}}}]}})
        path = "/apis/cel.test/v1/rules"
        ask = cluster.connection.ask
        wait_for("served", lambda: ask("GET", path)[0] == 200)
        post = lambda field, value: ask("POST", path, {
            "apiVersion": "cel.test/v1", "kind": "Rule", "metadata": {"generateName": "r-"}, "spec": {field: value}})
        for number, (where, entry, _) in enumerate(rules):
            field, case = f"r{number}", cases[number]
            said = f"{where}: {entry['rule']}"
            if len(case) == 3:
                old, good, bad = case
                made = post(field, old)[1]["metadata"]["name"]
                change = lambda value: ask("PATCH", f"{path}/{made}", {"spec": {field: value}}, "application/merge-patch+json")
                assert change(good)[0] == 200, said
                refused = [change(bad)]
            else:
                for value in case[0]:
                    status, answer = post(field, value)
                    assert status == 201, (said, value, answer)
                refused = [post(field, value) for value in case[1]]
            for status, answer in refused:
                assert status == 422 and entry["message"] in answer["message"], (said, answer)
    finally:
        cluster.stop()
