"""``vqafast serve``: scores over HTTP."""

from __future__ import annotations

import socket
import sys
from typing import Annotated

import typer

from vqafast.cli import _options as options
from vqafast.cli._report import reporting
from vqafast.errors import EngineUnavailable, InvalidArgument
from vqafast.signals import Interruption


def command(
    *,
    root: Annotated[str, typer.Option("--root", help="Folder whose files can be scored.")],
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 0.0.0.0 is reached from other machines.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535)] = 8080,
    workers: options.Workers = 0,
    videos: options.Videos = 0,
    queue: Annotated[
        int, typer.Option("--queue", min=0, help="Requests that may wait; more are answered with 429.")
    ] = 32,
    timeout: Annotated[str, typer.Option("--timeout", help="A file may take so long: 120, 2m.")] = "10m",
    memory: options.Memory = None,
    max_duration: Annotated[
        str | None, typer.Option("--max-duration", help="A video may last so long: 90s, 2h.")
    ] = None,
    max_upload: Annotated[
        str, typer.Option("--max-upload", help="A body may have so much: 2G; 0 takes none.")
    ] = "2Gi",
    upload_timeout: Annotated[
        str, typer.Option("--upload-timeout", help="In which a body must come.")
    ] = "5m",
    spool: Annotated[
        str | None, typer.Option("--spool", help="Folder for bodies.  [default: of temporary files]")
    ] = None,
    grace: Annotated[
        str, typer.Option("--grace", help="Time to finish what runs after SIGTERM or Ctrl-C.")
    ] = "60s",
    model: options.Model = None,
    device: options.Device = "cpu",
    engine: options.Engine = None,
    decoder: options.Decoder = "auto",
    precision: options.Precision = "f32",
    threads: options.EachThreads = 0,
    samples: options.Samples = 1,
    batch: options.Batch = 8,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No line for each request.")] = False,
    debug: options.Debug = False,
) -> None:
    """Score files and uploads over HTTP: /score, /assess, /healthz, /metrics, /openapi.json.

    There is no password and no encryption: put a proxy in front where strangers reach it.
    """
    with reporting(debug):
        try:
            import uvicorn

            from vqafast.farm.service.app import ServiceOptions, create_app
        except ImportError as error:
            raise EngineUnavailable(
                f"serve: needs FastAPI and uvicorn: pip install 'vqafast[serve]': {error}"
            ) from error
        chosen = ServiceOptions(
            root=root,
            scorer={
                "model": model, "device": device, "engine": engine, "decoder": decoder,
                "precision": precision, "threads": threads, "samples": samples, "batch": batch,
            },
            workers=workers, videos=videos, memory=options.size(memory, "memory"),
            timeout=options.seconds(timeout, "timeout"), queue=queue,
            longest=options.seconds(max_duration, "max-duration"),
            upload=0 if max_upload == "0" else options.size(max_upload, "max-upload") or 0,
            upload_seconds=options.seconds(upload_timeout, "upload-timeout") or 0.0, spool=spool,
        )  # fmt: skip
        told: list[str] = []

        def failed() -> None:
            told.append("its workers cannot go on")
            server.should_exit = True

        config = uvicorn.Config(
            create_app(chosen, failed), host=host, port=port, access_log=not quiet,
            timeout_graceful_shutdown=int(options.seconds(grace, "grace") or 0), server_header=False,
        )  # fmt: skip
        server = uvicorn.Server(config)
        # uvicorn takes the signals while it runs and raises them again at its end.
        with _listening(host, port) as listener, Interruption():
            server.run([listener])
        if told or not server.started:
            raise EngineUnavailable(f"serve: {told[0] if told else 'the service did not start; see above'}")
    print("stopped", file=sys.stderr)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise InvalidArgument(
            f"serve: cannot listen on {host}, port {port}: {error.strerror or error}"
        ) from error
