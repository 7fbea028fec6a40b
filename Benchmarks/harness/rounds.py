"""Runs cases in rounds: every contender once a round, in an order that turns, so that noise meets all alike."""

import statistics
import sys
import traceback

from .case import Bench, Case, TooSlow
from .origin import Origin


def run(case: Case, origin: Origin, rounds: int, scratch: str, only: list[str] | None) -> dict:
    """Answers contender → metric → {median, low, high, values}; a contender that failed has `error`, in words."""
    values: dict[str, dict[str, list[float]]] = {}
    out: dict[str, str] = {}
    contenders = [c for c in case.contenders if not only or c in only]
    for round_number in range(rounds):
        turn = round_number % len(contenders)
        for name in contenders[turn:] + contenders[:turn]:
            if name in out:
                continue
            print(f"  round {round_number + 1}/{rounds} {name:12}", end=" ", flush=True)
            bench = Bench(case, origin, scratch, first=round_number == 0)
            try:
                metrics = case.measure(bench, name)
            except TooSlow as slow:
                out[name] = str(slow)
                print(slow)
                continue
            except Exception as error:  # one contender's failure must not lose the others' figures
                out[name] = f"{type(error).__name__}: {error}"
                print(out[name])
                if name == "millrace":
                    traceback.print_exc(file=sys.stdout)
                continue
            finally:
                bench.close()
            print(", ".join(f"{k} {v:.4g}" for k, v in metrics.items()))
            for metric, value in metrics.items():
                values.setdefault(name, {}).setdefault(metric, []).append(value)
    results: dict[str, dict] = {}
    for name in contenders:
        results[name] = {
            metric: {"median": statistics.median(v), "low": min(v), "high": max(v), "values": v}
            for metric, v in values.get(name, {}).items()
        }
        if name in out:
            results[name]["error"] = out[name]
    return results


def medians(results: dict) -> dict:
    return {
        name: {metric: v["median"] for metric, v in metrics.items() if metric != "error"}
        for name, metrics in results.items()
    }
