"""Runs the project's tests stage by stage, each in processes of its own with a time limit, and counts.

A stage that overruns is killed with all its children and counts as one failure. Logs: .build/test-logs.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as xml
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / ".build" / "test-logs"
END_TO_END = ROOT / "Tests" / "EndToEnd"

# Swift Testing runs all tests of a process on as many threads as there are cores, and many of ours block: so every
# test target has a process of its own.
SWIFT_LIMIT_S = 420
E2E_LIMIT_S = 600
# The end-to-end suites wait more than they compute: so many at a time.
E2E_JOBS = 2
GATE_LIMIT_S = 600
BUILD_LIMIT_S = 1500
SANITIZERS = ["thread", "address"]
STAGES = ["lint", "swift", "e2e", "gate", "fuzz"] + SANITIZERS
# Programs that the end-to-end tests start, as released. The suites in folders, which are those of the programs with gRPC,
# take the debug build of all: a release build of gRPC and what it needs takes as long as all these tests.
RELEASE_PRODUCTS = ["millrace", "millrace-keeper", "s3-embedded"]


class Totals:
    def __init__(self):
        self.passed = 0
        self.failures: list[str] = []
        self.skipped: list[str] = []
        self.flaky: list[str] = []

    def add(self, other: "Totals"):
        self.passed += other.passed
        self.failures += other.failures
        self.skipped += other.skipped
        self.flaky += other.flaky


def patiently(suite, totals: Totals):
    """Runs a suite; one that fails runs again, twice at most. What passes only then is named as flaky in the summary: a
    bug to mend, but no reason to hide that all else passed."""
    first = Totals()
    suite(first)
    for _ in range(2):
        if not first.failures:
            break
        again = Totals()
        say("    once more:")
        suite(again)
        again.flaky = first.flaky + ([] if again.failures else first.failures)
        first = again
    totals.add(first)


def end(child: subprocess.Popen):
    """Waits for a killed child. One that waits for a FUSE connection which it served itself can't die: then the mounts
    that are left are ended by force."""
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            if " fuse.millrace" in line or " fuse.test" in line:
                subprocess.run(["umount", "-f", "-l", line.split()[4]], check=False, capture_output=True, timeout=10)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            print(f"    process {child.pid} can't be ended", flush=True)


def run(name: str, command: list[str], limit_s: int, env: dict[str, str] | None = None) -> tuple[int, str, float]:
    """The exit status (-1: over the limit), the output and the seconds that it took."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log_path = LOGS / (re.sub(r"[^\w.-]", "_", name) + ".log")
    start = time.monotonic()
    with open(log_path, "wb") as log:
        child = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True, env={**os.environ, **(env or {})})
        try:
            status = child.wait(limit_s)
        except subprocess.TimeoutExpired:
            status = -1
        finally:
            # Also what a stage that ended by itself left behind.
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            end(child)
    return status, log_path.read_text(errors="replace"), time.monotonic() - start


_held = threading.local()


def say(line: str):
    """Prints, or keeps for later what is said in `together`."""
    held = getattr(_held, "lines", None)
    if held is None:
        print(line, flush=True)
    else:
        held.append(line)


def together(suites: list, jobs: int, totals: Totals):
    """Runs suites, `jobs` at a time; what each says is printed in one piece."""

    def one(suite) -> tuple[Totals, list[str]]:
        _held.lines = []
        own = Totals()
        patiently(suite, own)
        return own, _held.lines

    with ThreadPoolExecutor(jobs) as pool:
        for own, lines in pool.map(one, suites):
            for line in lines:
                print(line, flush=True)
            totals.add(own)


def report(name: str, seconds: float, what: str):
    say(f"{name:<28} {seconds:6.1f} s  {what}")


def tail(output: str, lines: int = 60):
    for line in output.rstrip().splitlines()[-lines:]:
        say("    " + line[:300])


def plain(name: str, command: list[str], limit_s: int, totals: Totals, counts: bool = True) -> bool:
    """A stage that passes or fails as a whole."""
    status, output, seconds = run(name, command, limit_s)
    if status == 0:
        totals.passed += counts
        report(name, seconds, "passed")
        return True
    totals.failures.append(name)
    report(name, seconds, f"over its limit of {limit_s} s" if status == -1 else f"FAILED (status {status})")
    tail(output)
    return False


def swift(target: str, totals: Totals, build: list[str], label: str = "swift"):
    name = f"{label}:{target}"
    status, output, seconds = run(
        name, ["swift", "test", "--skip-build", *build, "--filter", rf"^{target}\."], SWIFT_LIMIT_S)
    passed = len(re.findall(r"^✔ Test (?!run with).* passed after", output, re.M))
    failed = re.findall(r"^✘ Test (?!run with)(.*?) failed after", output, re.M)
    totals.skipped += [f"{name}: {line}" for line in re.findall(r"^➜ Test (.*)$", output, re.M)]
    totals.passed += passed
    totals.failures += [f"{name}: {test}" for test in failed]
    if status != 0 and not failed:
        started = set(re.findall(r"^◇ Test (?!run)(.*?) started", output, re.M))
        ended = set(re.findall(r"^[✔✘] Test (.*?) (?:passed|failed) after", output, re.M))
        why = f"over its limit of {SWIFT_LIMIT_S} s" if status == -1 else f"ended with status {status}"
        totals.failures.append(f"{name}: {why}; under way: {', '.join(sorted(started - ended)) or 'nothing'}")
    elif status == 0 and passed == 0:
        totals.failures.append(f"{name}: no test ran")
    is_good = status == 0 and passed > 0
    report(name, seconds, f"{passed} passed" + ("" if is_good else ", FAILED"))
    if not is_good:
        # What a test says about an issue, its seed for one, is on the lines with an arrow after it.
        issues = [line for line in output.splitlines() if re.search("recorded an issue|Fatal error|^↳", line)]
        for line in issues[:40]:
            say("    " + line)
        tail(output, 30)


def end_to_end(path: Path, totals: Totals):
    name = f"e2e:{path.relative_to(END_TO_END)}"
    junit = LOGS / (re.sub(r"[^\w.-]", "_", name) + ".xml")
    junit.unlink(missing_ok=True)
    env = {"MILLRACE_BIN": str(ROOT / ".build" / "debug" / "millrace")} if path.parent != END_TO_END else None
    status, output, seconds = run(
        name,
        [sys.executable, "-m", "pytest", "-q", "-ra", "--tb=short", "-p", "no:cacheprovider", f"--junitxml={junit}",
         str(path)], E2E_LIMIT_S, env)
    passed = failed = 0
    if junit.exists():
        for case in xml.parse(junit).getroot().iter("testcase"):
            test = f"{name}: {case.get('name')}"
            if case.find("failure") is not None or case.find("error") is not None:
                totals.failures.append(test)
                failed += 1
            elif (skipped := case.find("skipped")) is not None:
                totals.skipped.append(f"{test}: {skipped.get('message')}")
            else:
                passed += 1
    totals.passed += passed
    if status not in (0, 5) and not failed:
        why = f"over its limit of {E2E_LIMIT_S} s" if status == -1 else f"ended with status {status}"
        totals.failures.append(f"{name}: {why}")
        failed = 1
    report(name, seconds, f"{passed} passed" + (f", {failed} FAILED" if failed else ""))
    if failed:
        tail(output, 120)


def gate(totals: Totals):
    """The counts of `Benchmarks/gate`: each is a test."""
    status, output, seconds = run("gate", ["Benchmarks/gate"], GATE_LIMIT_S)
    passed = len(re.findall(r"^ok  ", output, re.M))
    failed = re.findall(r"^FAIL  (.*)$", output, re.M)
    totals.passed += passed
    totals.failures += [f"gate: {line}" for line in failed]
    if status != 0 and not failed:
        totals.failures.append(f"gate: over its limit of {GATE_LIMIT_S} s" if status == -1 else "gate: it ended early")
    report("gate", seconds, f"{passed} passed" + ("" if status == 0 else ", FAILED"))
    if status != 0:
        tail(output)


def wanted_names(wanted: list[str], stage: str) -> list[str]:
    """What comes after "STAGE:" in the arguments."""
    return [item.split(":", 1)[1] for item in wanted if item.startswith(stage + ":")]


def main() -> int:
    wanted = sys.argv[1:]
    stages = {item.split(":")[0] for item in wanted}
    unknown = stages - set(STAGES)
    if unknown:
        print(f"test: {', '.join(sorted(unknown))}: no such stage. Give some of: {' '.join(STAGES)}", file=sys.stderr)
        return 2

    def is_wanted(stage: str) -> bool:
        return not stages or stage in stages

    totals = Totals()
    start = time.monotonic()
    if is_wanted("lint"):
        plain("lint", ["scripts/lint"], 300, totals)
    if is_wanted("swift"):
        if plain("build (debug)", ["swift", "build", "--build-tests"], BUILD_LIMIT_S, totals, counts=False):
            only = wanted_names(wanted, "swift")
            for folder in sorted((ROOT / "Tests").glob("*Tests")):
                has_tests = any("@Test" in file.read_text() for file in folder.rglob("*.swift"))
                if has_tests and (not only or folder.name in only):
                    patiently(lambda totals: swift(folder.name, totals, []), totals)
    is_built = not (is_wanted("e2e") or is_wanted("gate")) or all(
        plain(f"build ({product})", ["swift", "build", "-c", "release", "--product", product], BUILD_LIMIT_S,
              totals, counts=False) for product in RELEASE_PRODUCTS)
    if is_wanted("e2e") and is_built:
        only = wanted_names(wanted, "e2e")
        paths = [
            path for path in sorted(END_TO_END.glob("test_*.py")) + sorted(END_TO_END.glob("*/test_*.py"))
            if not only or path.stem.removeprefix("test_") in only or path.parent.name in only
        ]
        together([lambda totals, path=path: end_to_end(path, totals) for path in paths], E2E_JOBS, totals)
    if is_wanted("gate") and is_built:
        patiently(gate, totals)
    if is_wanted("fuzz") and (ROOT / "scripts" / "fuzz").exists():
        plain("fuzz", ["scripts/fuzz", "--short"], 600, totals)
    for sanitizer in SANITIZERS:
        # Each builds the data plane once more.
        if sanitizer in stages:
            patiently(lambda totals: plain(f"{sanitizer} sanitizer", ["scripts/sanitize", sanitizer], 900, totals), totals)
        else:
            totals.skipped.append(f"{sanitizer} sanitizer: only when asked for: scripts/test {sanitizer}")

    for line in totals.skipped:
        print(f"skipped  {line}")
    for line in totals.flaky:
        print(f"flaky    {line}: failed, then passed")
    for line in totals.failures:
        print(f"FAILED   {line}")
    print(f"{time.monotonic() - start:.0f} s; logs in {LOGS.relative_to(ROOT)}")
    print(f"{totals.passed} passed, {len(totals.failures)} failed", flush=True)
    return 1 if totals.failures or totals.passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
