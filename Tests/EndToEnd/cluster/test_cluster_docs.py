"""The documents against the code: nothing is missing, and nothing is invented."""

import re
import subprocess

import yaml

from controller import ROOT, program

REFERENCE = (ROOT / "docs/reference.md").read_text()


def section(title):
    return REFERENCE.split(f"## {title}", 1)[1].split("\n## ", 1)[0]


def terms(text):
    """What stands in backticks in the first column of tables."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {term for cell in cells for term in re.findall(r"`([^`]+)`", cell)}


def fields(schema, path):
    properties = schema.get("properties")
    if not properties or path.endswith(("elector", "conditions")):
        return {path}
    return {field for name, inner in properties.items() for field in fields(inner, f"{path}.{name}")}


def test_every_field_of_a_dataset():
    crd = yaml.safe_load((ROOT / "charts/millrace/files/datasets.yaml").read_text())
    root = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    real = fields(root["spec"], "spec") | fields(root["status"], "status") | {"spec.source"}
    documented = terms(section("Dataset"))
    assert documented == real, documented ^ real


def test_every_field_of_a_credential_grant():
    crd = yaml.safe_load((ROOT / "charts/millrace/files/credentialgrants.yaml").read_text())
    root = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    real = fields(root["spec"], "spec") | fields(root["status"], "status")
    documented = terms(section("CredentialGrant"))
    assert documented == real, documented ^ real


def test_every_field_of_an_import():
    crd = yaml.safe_load((ROOT / "charts/millrace/files/datasetimports.yaml").read_text())
    root = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    real = fields(root["spec"], "spec") | fields(root["status"], "status")
    real = {"status.current.*" if field.startswith("status.current.") else field for field in real}
    documented = terms(section("DatasetImport"))
    assert documented == real, documented ^ real


def test_every_class_parameter():
    source = (ROOT / "Sources/Controller/ClassParameters.swift").read_text()
    block = source.split("static let known: Set<String> = [", 1)[1].split("]", 1)[0]
    real = set(re.findall(r'"([^"]+)"', block))
    text = section("StorageClass parameters")
    mentioned = {term for line in text.splitlines() if line.startswith("| `") for term in re.findall(r"`([^`]+)`", line.split("|")[1])}
    assert real == mentioned, real ^ mentioned
    for key in ("name", "namespace"):
        assert f"csi.storage.k8s.io/node-publish-secret-{key}" in text


def test_every_annotation():
    source = (ROOT / "Sources/Controller/Names.swift").read_text()
    real = set(re.findall(r'"(millrace\.dev/[^"]+)"', source))
    assert real <= terms(section("Annotations")), real - terms(section("Annotations"))


def values(tree, path=""):
    for key, value in tree.items():
        name = f"{path}{key}"
        if isinstance(value, dict) and value and key not in ("labels", "resources"):
            yield from values(value, name + ".")
        else:
            yield name


def test_every_chart_value():
    real = set(values(yaml.safe_load((ROOT / "charts/millrace/values.yaml").read_text())))
    documented = terms(section("Chart values"))
    assert documented == real, documented ^ real


def test_every_flag():
    text = subprocess.run(
        [program("millrace-controller"), "--help"], capture_output=True, text=True, timeout=60).stdout
    real = set(re.findall(r"--[a-z][a-z-]+", text)) - {"--help", "--version"}
    assert terms(section("`millrace-controller`")) == real


def test_every_threat_has_its_test():
    text = (ROOT / "docs/security.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| threat")]
    assert len(rows) >= 15
    suites = [ROOT / "Tests" / name for name in ("ControllerTests", "APITests", "BrokerTests")]
    swift = "".join(file.read_text() for suite in suites for file in suite.glob("*.swift"))
    python = "".join(file.read_text() for file in (ROOT / "Tests/EndToEnd/cluster").glob("test_*.py"))
    for row in rows:
        tests = re.findall(r"`([A-Za-z]+Tests\.\w+|test_\w+)`", row)
        assert tests, row
        for test in tests:
            if test.startswith("test_"):
                assert f"def {test}(" in python, test
            else:
                suite, name = test.split(".")
                assert f"struct {suite}" in swift and re.search(rf"func {name}\(", swift), test


def test_reasons_in_troubleshooting_exist():
    text = (ROOT / "docs/how-to/troubleshooting.md").read_text()
    sources = "".join(file.read_text() for file in (ROOT / "Sources/Controller").glob("*.swift"))
    table = text.split("|---|---|", 1)[1].split("No Event", 1)[0]
    reasons = {reason for line in table.splitlines() if line.startswith("| `")
               for reason in re.findall(r"`([A-Z]\w+)`", line.split("|")[1])}
    assert len(reasons) >= 10
    for reason in reasons | {"SecretMissing", "SecretKeys", "Denied", "NoBucket", "Unreachable"}:
        assert f'"{reason}"' in sources, reason


def test_datasets_in_the_documents_are_valid():
    import jsonschema
    from chart import crd_schema, strict

    found = 0
    for file in [ROOT / "docs/quick-start.md", *sorted((ROOT / "docs/how-to").glob("*.md"))]:
        for block in re.findall(r"(?:^ {4,}.*\n|^\s*\n)+", file.read_text(), re.M):
            start = block.find("apiVersion: millrace.dev")
            if start < 0:
                continue
            lines = block[block.rfind("\n", 0, start) + 1:].splitlines()
            indent = len(lines[0]) - len(lines[0].lstrip())
            kept = []
            for line in lines:
                if line.strip() == "END" or (line.strip() and len(line) - len(line.lstrip()) < indent):
                    break
                kept.append(line[indent:])
            schema = strict(crd_schema())
            schema["properties"]["metadata"] = {"type": "object"}
            errors = list(jsonschema.Draft7Validator(schema).iter_errors(yaml.safe_load("\n".join(kept))))
            assert not errors, f"{file}: {errors[0].message}"
            found += 1
    assert found >= 2
