"""Results as Markdown, JSON and charts."""

import json
import os

from . import charts, contenders
from .case import Case
from .rounds import medians

BEGIN, END = "<!-- results: made by Benchmarks/run -->", "<!-- end of results -->"


def figure(value: float) -> str:
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def cell(stats: dict | None) -> str:
    """The median, with the lowest and highest where they differ."""
    if stats is None:
        return ""
    low, high = figure(stats["low"]), figure(stats["high"])
    return figure(stats["median"]) + (f" ({low}–{high})" if low != high else "")


def table(case: Case, results: dict) -> str:
    metrics: list[str] = []
    for values in results.values():
        metrics += [m for m in values if m not in metrics and m != "error"]
    out = "| | " + " | ".join(metrics) + " |\n|---|" + "---|" * len(metrics) + "\n"
    for name, values in results.items():
        cells = [cell(values.get(m)) for m in metrics]
        if "error" in values and not any(cells) and cells:
            cells[0] = values["error"].split("\n")[0][:100]
        out += f"| {name} | " + " | ".join(cells) + " |\n"
    return out


def verdicts(case: Case, results: dict) -> list[dict]:
    found = []
    for target in case.targets:
        value, passed = target.verdict(medians(results))
        found.append({"target": target.text, "value": value, "passed": passed})
    return found


def section(case: Case, results: dict, rounds: int, chart: str | None) -> str:
    out = f"### {case.title}\n\n`Benchmarks/run {case.name}`, {rounds} rounds."
    out += f" {case.note}\n\n" if case.note else "\n\n"
    out += table(case, results) + "\n"
    for verdict in verdicts(case, results):
        mark = {True: "reached", False: "**missed**", None: "not measured"}[verdict["passed"]]
        value = f" ({verdict['value']:.3g})" if verdict["value"] is not None else ""
        out += f"- {verdict['target']}: {mark}{value}\n"
    if chart:
        out += f"\n![{case.title}]({chart})\n"
    return out


def tuning(versions: dict[str, str]) -> str:
    out = "| program | version | tuning |\n|---|---|---|\n"
    for contender in contenders.MOUNTS.values():
        out += f"| {contender.name} | {versions.get(contender.name, '')} | {contender.tuning} |\n"
    client = versions["Mountpoint's client"]
    out += f"| mountpoint-client | {client} | throughput target 100 Gbit/s; no FUSE |\n"
    out += f"| curl | {versions['curl'].split('(')[0].strip()} | curl-16: 16 connections, ranges of 8 MiB |\n"
    return out


def write(directory: str, machine: dict, versions: dict, done: list[tuple[Case, dict]], rounds: int) -> str:
    """results.json, results.md and a chart a case, into the directory. Answers the Markdown."""
    os.makedirs(directory, exist_ok=True)
    text = (f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, Linux {machine['kernel']}; "
            f"{machine['date']}, commit {machine['commit']}, load {machine['load']:.1f} at the start.\n"
            "Medians, with the lowest and highest of the rounds in brackets.\n\n")
    text += tuning(versions) + "\n"
    for case, results in done:
        name = f"{case.name}.svg"
        with open(os.path.join(directory, name), "w") as file:
            file.write(charts.bars(case, results))
        text += section(case, results, rounds, name) + "\n"
    with open(os.path.join(directory, "results.md"), "w") as file:
        file.write(text)
    with open(os.path.join(directory, "results.json"), "w") as file:
        json.dump({"machine": machine, "versions": versions, "rounds": rounds,
                   "cases": {c.name: {"title": c.title, "results": r, "targets": verdicts(c, r)} for c, r in done}},
                  file, indent=1)
    return text


def update_docs(path: str, results: str, charts_directory: str) -> None:
    """Puts the results between the page's two marks; the charts are beside it."""
    with open(path) as file:
        page = file.read()
    begin, end = page.index(BEGIN) + len(BEGIN), page.index(END)
    results = results.replace("](", f"]({charts_directory}/").replace(f"]({charts_directory}/http", "](http")
    with open(path, "w") as file:
        file.write(page[:begin] + "\n\n" + results + page[end:])
