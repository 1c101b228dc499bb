"""The routes of ``vqafast serve``, as an application that any ASGI server can run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable  # noqa: TC003 - FastAPI reads the hints
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import Route

import vqafast
from vqafast.errors import InvalidArgument, VqafastError
from vqafast.farm.service.desk import Desk, unless_left
from vqafast.farm.service.errors import body_of, status_of
from vqafast.farm.service.metrics import Metrics
from vqafast.farm.service.paths import Root
from vqafast.farm.service.schema import FAILURES, UPLOAD, Asked, AskedAll, Health, PathName, Score
from vqafast.farm.service.uploads import received
from vqafast.farm.workers import workers_of
from vqafast.scoring.assessment import Assessment
from vqafast.scoring.crew.pool import Pool
from vqafast.scoring.loading import load_spec
from vqafast.scoring.scorer import ScorerOptions

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

GIB = 1 << 30
_RETRY = {"Retry-After": "1"}
# Header with the code of an error.
_CODE = "X-Vqafast-Error"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """What is served, by how many, and what is refused.

    Attributes
    ----------
    root : str
        Folder whose files can be named in requests.
    scorer : ScorerOptions
        Of `Scorer`, as in `BatchOptions`.
    workers, videos, memory
        See `BatchOptions`.
    timeout : float or None
        Seconds of work that a file may take.
    queue : int
        Requests that may wait for a worker; the next one is answered with 429.
    longest : float or None
        Seconds that a video may last.
    upload, upload_seconds
        Bytes that a body may have, and the time in which it must come.
    spool : str or None
        Folder on whose file system bodies are kept while they are scored.
    """

    root: str
    scorer: ScorerOptions = field(default_factory=ScorerOptions)
    workers: int = 0
    videos: int = 0
    memory: int | None = None
    timeout: float | None = 600.0
    queue: int = 32
    longest: float | None = None
    upload: int = 2 * GIB
    upload_seconds: float = 300.0
    spool: str | None = None

    def __post_init__(self) -> None:
        if self.queue < 0 or self.upload < 0 or not self.upload_seconds > 0:
            raise InvalidArgument(
                "serve: queue >= 0, max-upload >= 0 and upload-timeout > 0 must hold, "
                f"got {self.queue}, {self.upload}, {self.upload_seconds}"
            )
        if self.longest is not None and not self.longest > 0:
            raise InvalidArgument(f"serve: max-duration must be above 0 s, got {self.longest}")


class Service:
    """One running service: the desk, its limits and its numbers."""

    def __init__(self, options: ServiceOptions, failed: Callable[[], None] = lambda: None) -> None:
        self._options = options
        self.spec = load_spec(options.scorer.get("model"))
        self.root = Root(options.root)
        devices, threads, videos = workers_of(options.scorer, workers=options.workers, videos=options.videos)
        scorer: ScorerOptions = {**options.scorer, "threads": threads}

        def make(wake: Connection) -> Pool:
            # A client may try again; the file that a worker dies of is not given to another one.
            return Pool(
                scorer, devices, videos=videos, timeout=options.timeout, memory=options.memory, attempts=1,
                wake=wake,
            )  # fmt: skip

        self.desk = Desk(make, options.queue + len(devices) * videos, failed)
        self.metrics = Metrics(self.desk, self.spec)

    async def assess(self, request: Request, path: str, shown: str, asked: Asked) -> Assessment:
        """Score a file, for as long as the client waits; `shown` is what the answer calls it."""
        wanted = {name: value for name, value in asdict(asked).items() if value is not None}
        work = asyncio.ensure_future(self.desk.result(path, wanted, self._options.longest))
        result = await unless_left(work, asyncio.ensure_future(_left(request)))
        outcome = result.outcome
        if outcome.error is not None:
            e = outcome.error
            raise VqafastError(str(e).replace(path, shown), path=shown, code=e.code)
        assert outcome.assessment is not None
        self.metrics.scored(outcome.assessment)
        return replace(outcome.assessment, path=shown)

    async def of_file(self, request: Request, path: str, asked: Asked) -> Assessment:
        """Score a file below the root."""
        # A network file system may let it wait, and everybody else must not.
        found = await asyncio.to_thread(self.root.find, path)
        with self.desk.place():
            return await self.assess(request, found, os.path.relpath(found, self.root.folder), asked)

    async def of_body(self, request: Request, asked: Asked) -> Assessment:
        """Score what the request brings."""
        o = self._options
        # A place is taken first: what waits on the disk is bounded as what waits in memory is.
        with self.desk.place():
            async with received(
                request, most=o.upload, seconds=o.upload_seconds, folder=o.spool, count=self.metrics.uploaded
            ) as path:
                return await self.assess(request, path, "<upload>", asked)


def create_app(options: ServiceOptions, failed: Callable[[], None] = lambda: None) -> FastAPI:
    """Make the application; its workers start and end with it.

    Parameters
    ----------
    options : ServiceOptions
    failed : callable
        Called when the workers cannot go on: the process should end then.

    Raises
    ------
    VqafastError
        When the root or the model is not there, or an option is out of range.
    """
    service = Service(options, failed)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.desk.open()
        try:
            yield
        finally:
            await service.desk.close()

    # Its pages of documentation would be fetched from elsewhere; /openapi.json is enough for tools.
    app = FastAPI(
        title="vqafast", version=vqafast.__version__, docs_url=None, redoc_url=None, lifespan=lifespan,
        description="Blind (no-reference) video quality scores.", responses=FAILURES,
    )  # fmt: skip
    app.state.service = service
    app.add_middleware(Measured, metrics=service.metrics)
    _say_errors(app)
    _routes(app, service)
    return app


def _routes(app: FastAPI, service: Service) -> None:
    @app.get("/score", response_model=Score, summary="Score of a file below the root")
    async def score(request: Request, path: PathName, asked: Annotated[Asked, Depends()]) -> Response:
        return _short(await service.of_file(request, path, asked))

    @app.post("/score", response_model=Score, openapi_extra=UPLOAD, summary="Score of the body")
    async def score_body(request: Request, asked: Annotated[Asked, Depends()]) -> Response:
        return _short(await service.of_body(request, asked))

    @app.get("/assess", response_model=Assessment, summary="Everything about a file below the root")
    async def assess(request: Request, path: PathName, asked: Annotated[AskedAll, Depends()]) -> Response:
        return _whole(await service.of_file(request, path, asked))

    @app.post("/assess", response_model=Assessment, openapi_extra=UPLOAD, summary="Everything on the body")
    async def assess_body(request: Request, asked: Annotated[AskedAll, Depends()]) -> Response:
        return _whole(await service.of_body(request, asked))

    @app.get("/healthz", response_model=Health, responses={503: {"model": Health}}, summary="Can it score?")
    async def healthz() -> Response:
        desk = service.desk
        status: Literal["ok", "stopping"] = "ok" if desk.healthy else "stopping"
        health = Health(status, vqafast.__version__, service.spec.name, desk.waiting, desk.under_way)
        return JSONResponse(asdict(health), 200 if desk.healthy else 503)

    @app.get("/metrics", response_class=Response, summary="Prometheus")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


class Measured:
    """Middleware that counts answers."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status, code = time.monotonic(), 500, None

        async def note(message: Message) -> None:
            nonlocal status, code
            if message["type"] == "http.response.start":
                status = message["status"]
                code = Headers(raw=message["headers"]).get(_CODE)
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            # Paths that are no route are one: who knocks at random must not fill the memory with labels.
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.answered(route, status, code, time.monotonic() - begun)


def _say_errors(app: FastAPI) -> None:
    def answer(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
        told = {_CODE: code, **(headers or {}), **(_RETRY if status in (429, 503) else {})}
        return JSONResponse(body_of(code, message), status, told)

    @app.exception_handler(VqafastError)
    async def ours(_: Request, error: VqafastError) -> Response:
        return answer(status_of(error.code), error.code, str(error))

    @app.exception_handler(RequestValidationError)
    async def arguments(_: Request, error: RequestValidationError) -> Response:
        said = "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
        return answer(422, "invalid_argument", said)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if error.status_code == 405:
            # Starlette names the methods of the first route with this path, and there are two.
            path = request.url.path
            same = [r for r in app.routes if isinstance(r, Route) and r.path == path]
            headers["Allow"] = ", ".join(sorted({m for r in same for m in r.methods or ()}))
        return answer(error.status_code, "no_route", str(error.detail), headers)

    @app.exception_handler(Exception)
    async def others(_: Request, error: Exception) -> Response:
        return answer(500, "internal", type(error).__name__)


def _short(a: Assessment) -> Response:
    half = None if a.uncertainty is None else a.uncertainty.half_width
    answer = Score(a.path, a.score, half, a.scale, a.video.duration, a.model, a.warnings)
    return JSONResponse(asdict(answer))


def _whole(a: Assessment) -> Response:
    return Response(a.to_json(), media_type="application/json")


async def _left(request: Request) -> None:
    """Return when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
