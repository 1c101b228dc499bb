"""Results of gpu_report.py and gpu_pipeline.py as Markdown."""

from __future__ import annotations

from typing import Any

STAGES = ("open", "decode", "ingest", "backbone", "head", "total")

KERNELS = """\
Device time of one call. us of small cases are latencies, of inputs in the cache; GB/s counts each input and
output once, and "of copy" is its share of what a copy on the device reaches here. The ratio is plain / fused.
"""

PIPELINE = """\
As many videos at once as said above, each a copy of the file; medians of interleaved rounds. Frames/s counts
the frames of the file in every column, however few of them are decoded: scoring decodes only what its samples
need, and "decoded" says how many pictures that is. "decode all" is the same decoder on every frame, "decode
the same" on the pictures that scoring decodes; what comes out is thrown away. Ratios stand with their range:
"of decode" is the speed of scoring as a share of decoding's, "ours / plain" that over the same model's in
plain PyTorch, in the same pipeline. Seconds of the stages are medians of single videos, scored one at a
time: several would wait for each other's turn with the model. Stages overlap, so they may add up to more
than the whole.
"""


def markdown(state: dict[str, Any]) -> str:
    """A whole results file: kernels or pipeline alone, or both."""
    if "kernels" in state:
        parts = [
            machine(state["machine"]),
            "## Kernels",
            kernels(state["kernels"]),
            "## Scoring",
            pipeline(state["pipeline"]),
        ]
        return "\n\n".join(parts)
    if "plan" in state:
        return "\n\n".join([machine(state["machine"]), pipeline(state)])
    return kernels(state)


def machine(about: dict[str, Any]) -> str:
    versions = [f"{name} {number}" for name, number in about["versions"].items() if number]
    named = [
        f"{word} {about[key]}"
        for word, key in (("driver", "driver"), ("CUDA", "cuda_runtime"), ("commit", "commit"))
        if about[key]
    ]
    first = [about["gpu"] or "no GPU", about["cpu"], f"{about['cores']} cores", f"Python {about['python']}"]
    changed = " (with local changes)" if about["modified"] else ""
    return ", ".join([*first, *versions, *named]) + changed


def unreached(part: dict[str, Any], what: str) -> list[str]:
    """What there is to say when rows are missing."""
    progress = part["progress"]
    notes = [f"Stopped: {progress['stopped']}."] if "stopped" in progress else []
    missing = (progress["total"] or 0) - len(part["results"])
    if missing:
        notes.append(f"{missing} of {progress['total']} {what} were not reached.")
    return notes


# Kernels


def kernels(part: dict[str, Any]) -> str:
    context = part["context"]
    shown = ("card", "driver", "cuda_runtime", "torch", "sm_count", "commit", "date", "rounds", "command")
    about = ", ".join(f"{key} {context[key]}" for key in shown if key in context)
    if "copy_gb_per_s" in context:
        about += f", L2 {context['l2_bytes'] / 2**20:.0f} MiB, copy {context['copy_gb_per_s']:.0f} GB/s"
    notes = [
        f"\\* without a CUDA graph, launched from Python, so that no ratio is given: {text}"
        for text in part["progress"]["uncaptured"]
    ]
    head = (
        "| op | case | us | GB/s | of copy | plain us | ratio (p10 to p90) |\n|---|---|---|---|---|---|---|"
    )
    table = "\n".join([head, *(kernel_line(row) for row in part["results"])])
    return "\n\n".join([about, KERNELS.strip(), *notes, *unreached(part, "cases"), table])


def kernel_line(row: dict[str, Any]) -> str:
    head = f"| {row['op']} | {row['case']} |"
    if "failed" in row:
        return f"{head} failed: {row['failed']} | | | | |"
    marks = {side: "\\*" if side in row["uncaptured"] else "" for side in ("fused", "plain")}
    rates = ("-", "-") if row["latency"] else (f"{row['gb_per_s']:.0f}", f"{100 * row['of_copy']:.0f} %")
    text = f"{head} {row['us']['fused']:.2f}{marks['fused']} | {rates[0]} | {rates[1]} |"
    if "plain" not in row["us"]:
        return f"{text} failed: {row['plain_failed']} | |"
    ratio = "-"
    if "ratio" in row:
        low, high = row["ratio_p10_p90"]
        ratio = f"**{row['ratio']:.2f}x** ({low:.2f} to {high:.2f})"
    return f"{text} {row['us']['plain']:.2f}{marks['plain']} | {ratio} |"


# Pipeline


def pipeline(part: dict[str, Any]) -> str:
    plan, rows = part["plan"], part["results"]
    about = (
        f"{plan['device']}, {plan['videos']} videos at once, {plan['repeats'] * plan['videos']} a round, "
        f"{plan['rounds']} rounds; fewer where a file's share of the time was too short."
    )
    notes = unreached(part, "files")
    if part["progress"]["total"] == 0:
        notes.append(f"There is no *.mp4 in {plan['clips']}.")
    columns = [
        "file",
        "decoder",
        "decoded",
        "decode all, frames/s",
        "decode the same, frames/s",
        "score, frames/s",
        "score, videos/s",
        "of decode all",
        "of decode the same",
        "plain PyTorch, frames/s",
        "ours / plain",
        "rounds",
        *(f"{stage}, s (frames/s)" for stage in STAGES[:-1]),
        "whole, s (frames/s)",
    ]
    table = [
        f"| {' | '.join(columns)} |",
        f"|{'--|' * len(columns)}",
        *(pipeline_line(row, len(columns)) for row in rows),
    ]
    # Equal remarks on several files stand once.
    remarks: dict[str, list[str]] = {}
    for row in rows:
        said = [f"{code}: {text}" for code, text in row.get("warnings", {}).items()]
        said += [f"plain PyTorch failed: {row['plain_failed']}"] if "plain_failed" in row else []
        for text in said:
            remarks.setdefault(text, []).append(row["file"])
    below = [f"- {', '.join(files)}: {text}" for text, files in remarks.items()]
    off = [row["plain_differs"] for row in rows if "plain_differs" in row]
    if off:
        below.append(f"- Scores of the two models differ by {max(off):.3g} at most.")
    return "\n\n".join([about, PIPELINE.strip(), *notes, "\n".join(table), "\n".join(below)]).strip()


def ranged(value: float, both: list[float]) -> str:
    return f"{value:.2f} ({both[0]:.2f}-{both[1]:.2f})"


def pipeline_line(row: dict[str, Any], columns: int) -> str:
    if "failed" in row:
        return f"| {row['file']} | failed: {row['failed']} |{' |' * (columns - 2)}"
    fps = row["fps"]
    plain = ["-", "-"]
    if "plain" in fps:
        plain = [f"{fps['plain']:.0f}", ranged(row["against_plain"], row["against_plain_range"])]
    cells = [
        row["file"],
        row["decoder"],
        f"{row['pictures']} of {row['frames']}",
        f"{fps['decode_all']:.0f}",
        f"{fps['decode_same']:.0f}",
        f"{fps['score']:.0f}",
        f"{row['videos_per_s']:.2f}",
        ranged(row["of_decode_all"], row["of_decode_all_range"]),
        ranged(row["of_decode_same"], row["of_decode_same_range"]),
        *plain,
        str(row["rounds"]),
        *(f"{row['stage_s'][stage]:.3f} ({row['stage_fps'][stage]:.0f})" for stage in STAGES),
    ]
    return f"| {' | '.join(cells)} |"
