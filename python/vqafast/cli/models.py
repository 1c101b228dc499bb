"""``vqafast models``: what there is, what it is, and models of one's own."""

from __future__ import annotations

import json
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqafast.cli import _options as options  # noqa: TC001 - typer reads the hints
from vqafast.cli._report import fail, printable, reporting
from vqafast.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vqafast.models.store import Entry

app = typer.Typer(help="List, show, export, add and remove models.")

Wanted = Annotated[str, typer.Argument(metavar="NAME|PATH", help="Model name or model directory.")]


@app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("list")
def list_(as_json: options.Json = False, debug: options.Debug = False) -> None:
    """List built-in and added models; one that cannot be read keeps its line."""
    with reporting(debug):
        from vqafast.models import store

        rows = [_row(entry) for entry in store.entries()]
        if as_json:
            print(json.dumps(rows, ensure_ascii=False, indent=1))
            return
        _print_table(rows)


@app.command("info")
def info(model: Wanted, as_json: options.Json = False, debug: options.Debug = False) -> None:
    """Show everything in a model's model.json, after checking its files."""
    with reporting(debug):
        from vqafast.models.model_json import to_json
        from vqafast.scoring.loading import load_spec

        spec = load_spec(model)
        data = to_json(spec)
        data["directory"] = str(spec.directory)
        data["size"] = sum((spec.directory / file).stat().st_size for file in spec.files)
        if as_json:
            print(json.dumps(data, ensure_ascii=False, indent=1))
            return
        for line in _lines(data):
            print(line)


@app.command("export")
def export(
    model: Wanted,
    out: Annotated[Path, typer.Option(help="New or empty directory.")],
    form: Annotated[str, typer.Option("--format", help="onnx, openvino or tensorrt.")] = "onnx",
    device: Annotated[str, typer.Option(help="For tensorrt: the GPU to build for.")] = "cuda",
    precision: Annotated[str, typer.Option(help="For tensorrt: f32 or f16.")] = "f32",
    batch: Annotated[int, typer.Option(help="For tensorrt: as when scoring.")] = 8,
    debug: options.Debug = False,
) -> None:
    """Write a model's verified graphs for use elsewhere; tensorrt's plans are for this kind of GPU."""
    with reporting(debug):
        from vqafast.models import store

        paths = store.export(model, out, format=form, device=device, precision=precision, batch=batch)
        for path in paths:
            print(printable(str(path)))
        if form == "tensorrt":
            command = f"VQAFAST_CACHE={shlex.quote(str(out))} vqafast score --model {shlex.quote(model)}"
            asked = f"--engine tensorrt --device {device} --precision {precision} --batch {batch}"
            print(printable(f"{command} {asked} ... finds them"))


@app.command("add")
def add(
    path: Annotated[
        Path | None, typer.Argument(help="Model directory; with --from, a checkpoint.", show_default=False)
    ] = None,
    name: Annotated[str | None, typer.Option(help="Default: the name in model.json.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="In the place of the one added before.")] = False,
    origin: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="SYSTEM",
            help="PATH is the authors' checkpoint of: vsfa, fast-vqa-b, ...; see docs/models.md.",
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="Weights of the backbone that the checkpoint lacks: file, name or address."),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="mdtvsfa: scores on the scale of K, C, L or N.")] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Leave random what has no weights: not for scores.")
    ] = False,
    debug: options.Debug = False,
) -> None:
    """Put a model into the store after checking it: description, SHA-256, a trial run."""
    with reporting(debug), tempfile.TemporaryDirectory() as folder:
        from vqafast.cli._trial import trial
        from vqafast.models import store

        if origin is not None:
            from vqafast.models.convert import convert

            path = convert(
                origin,
                path,
                Path(folder) / "model",
                backbone=backbone,
                dataset=dataset,
                random_weights=random_weights,
            )
        elif backbone is not None or dataset is not None or random_weights:
            raise InvalidArgument("models add: --backbone, --dataset and --random-weights go with --from")
        if path is None:
            raise InvalidArgument("models add: PATH must be given, got none")
        entry = store.add(path, trial=trial, name=name, replace=replace)
        spec = entry.spec
        version = f" {spec.version}" if spec is not None else ""
        print(f"added {entry.name}{printable(version)}: vqafast score --model {entry.name} PATH")


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="An added model.")], debug: options.Debug = False
) -> None:
    """Take an added model away."""
    with reporting(debug):
        from vqafast.models import store

        store.remove(name)
        print(f"removed {name}")


def _row(entry: Entry) -> dict[str, Any]:
    if entry.spec is None:
        problem = str(entry.problem)
        code = entry.problem.code if entry.problem is not None else "internal"
        return {"name": entry.name, "origin": entry.origin, "error": {"code": code, "message": problem}}
    spec = entry.spec
    scale = spec.scale
    return {
        "name": entry.name,
        "origin": entry.origin,
        "version": spec.version,
        "family": spec.family,
        "scale": f"{scale.name} {scale.min:g}..{scale.max:g}, {scale.direction.replace('_', ' ')}",
        "licence": spec.licence,
        "weights_sha256": spec.weights_sha256,
        "size": entry.size,
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    columns = ("name", "version", "origin", "family", "scale", "licence", "size", "sha256")
    table: list[tuple[str, ...]] = [columns]
    for row in rows:
        if "error" in row:
            continue
        cells = {**row, "size": f"{row['size'] / 1e6:.1f} MB", "sha256": row["weights_sha256"][:12]}
        table.append(tuple(printable(str(cells[c])) for c in columns))
    widths = [max(len(line[i]) for line in table) for i in range(len(columns))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for row in rows:
        if "error" in row:
            fail(row["error"]["code"], f"{row['name']}: {row['error']['message']}")


def _lines(data: dict[str, Any], depth: int = 0) -> Iterator[str]:
    """Indented ``name: value``; lists of plain values stay on one line."""
    indent = "  " * depth
    for name, value in data.items():
        label = f"{indent}{printable(str(name))}:"
        if isinstance(value, dict):
            yield label
            yield from _lines(value, depth + 1)
        elif isinstance(value, list) and any(isinstance(v, (dict, list)) for v in value):
            yield label
            yield from _lines({str(i): v for i, v in enumerate(value)}, depth + 1)
        elif isinstance(value, list):
            yield f"{label} {printable(', '.join(map(_plain, value)))}"
        else:
            yield f"{label} {printable(_plain(value))}"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
