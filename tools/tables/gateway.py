"""Tables of docs/gateway.md and docs/detection.md."""

from pathlib import Path

from tables.shared import ATTACKS, markdown, record_of


def alarms(root: Path) -> str:
    """Queries to the first alarm by thief and task, one number a seed."""
    record = record_of(root, "gateway/detection")
    if not record:
        return ""
    tasks = record["alarms"]

    def cell(found: list[int | None]) -> str:
        return ", ".join("–" if queries is None else str(queries) for queries in found)

    rows = (
        [
            f"`{thief}`",
            *(cell(task["thieves"][thief]["queries_to_alarm"]) for task in tasks.values()),
            ", ".join(dict.fromkeys(name for task in tasks.values() for name in task["thieves"][thief]["detectors"])),
        ]
        for thief in next(iter(tasks.values()))["thieves"]
    )
    watched = {name: max(thief["queries"] for thief in runs[0]["thieves"].values()) for name, runs in record["runs"].items()}
    titles = (f"{ATTACKS[name]}, {watched[name]} queries watched" for name in tasks)
    return markdown(["thief", *titles, "seen by"], rows)


def false_alarms(root: Path) -> str:
    """False alarms of benign clients, who were no part of the calibration."""
    record = record_of(root, "gateway/detection")
    if not record:
        return ""
    tasks = {name: task["false_alarms_per_100_client_days"] for name, task in record["alarms"].items()}
    names = list(dict.fromkeys(detector for task in tasks.values() for detector in task))
    rows = (
        [
            {"any": "any detector"}.get(name, f"`{name}`"),
            *("{value:.2f} ({low:.2f} … {high:.2f})".format(**task[name]) if name in task else "" for task in tasks.values()),
        ]
        for name in names
    )
    return markdown(["false alarms in 100 client-days", *(ATTACKS[name] for name in tasks)], rows)


def attribution(root: Path) -> str:
    """Who was named, by the queries of a client."""
    record = record_of(root, "gateway/detection")
    if not record:
        return ""
    rows = (
        [
            budget,
            f"{found['marks']['value']:.1f}",
            str(found["thefts"]),
            "{value:.2f} ({low:.2f} … {high:.2f})".format(**found["right"]),
            str(found["innocents_named"]),
        ]
        for budget, found in sorted(record["attribution"].items(), key=lambda pair: int(pair[0]))
    )
    return markdown(
        ["queries of each client", "marks", "thefts", "share with the right client named, and nobody else", "innocents named"], rows
    )


def throughput(root: Path) -> str:
    """The gateway beside bare ONNX Runtime and MLServer, at each number of connections."""
    record = record_of(root, "gateway/throughput")
    if not record:
        return ""
    sides = {"bare": "bare ONNX Runtime", "full": "the whole gateway"} | ({"mlserver": "MLServer"} if record["mlserver"] else {})
    columns = [
        *(f"{name}: requests a second (p50, p99 in ms)" for name in sides.values()),
        *(f"whole over {sides[s]}: throughput, processor time" for s in sides if s != "full"),
        *(["bare ONNX Runtime over MLServer"] if record["mlserver"] else []),
    ]
    rows = [
        [
            f"{case}, {key[1:]}",
            *("{per_second:.0f} ({p50_ms:.2g}, {p99_ms:.2g})".format(**found[side]) for side in sides),
            *("{median:.2f} [{low:.2f}, {high:.2f}], {processor:.2f}".format(**found["ratios"][side]) for side in sides if side != "full"),
            *(f"{found[name]:.2f}" for name in ("bare_over_mlserver",) if name in found),
        ]
        for case, cases in record["cases"].items()
        for key, found in cases.items()
        if key.startswith("c") and isinstance(found, dict) and "ratios" in found
    ]
    return markdown(["images, connections", *columns], rows)


def memory(root: Path) -> str:
    """Resident memory over a million queries."""
    record = record_of(root, "gateway/memory")
    if not record:
        return ""
    known = record["headline"]
    sizes = {"start": "at the start, MiB", "middle": "in the middle", "end": "at the end"}
    columns = ["clients", "queries", *sizes.values(), "slope over the second half, MiB a million queries"]
    found = [f"{known['clients']:,}", f"{known['queries']:,}", *(f"{known[f'{name}_mib']:.0f}" for name in sizes)]
    return markdown(columns, [[*found, f"{known['slope_mib_per_million_queries']:.1f}"]])


def faults(root: Path) -> str:
    """What was broken, and whether the gateway held."""
    record = record_of(root, "gateway/faults")
    if not record:
        return ""
    rows = (
        [name, "yes" if fault["survived"] else "**no**", str(fault["undercounts"]), str(fault["leaks"])]
        for name, fault in record["faults"].items()
    )
    return markdown(["fault", "survived", "budgets under-counted", "raw probabilities leaked"], rows)
