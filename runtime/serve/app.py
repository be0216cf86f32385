"""The routes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.serve import metrics, schema
from xsam_edge.runtime.serve.access import Access
from xsam_edge.runtime.serve.chat import read_chat
from xsam_edge.runtime.serve.failures import RequestError, as_failure
from xsam_edge.runtime.serve.fields import Segmentation, read_fields
from xsam_edge.runtime.serve.guard import Guard, Hosts, failure_response, read_body, while_connected
from xsam_edge.runtime.serve.limits import Limits
from xsam_edge.runtime.serve.multipart import parse_form
from xsam_edge.runtime.serve.replies import render
from xsam_edge.runtime.serve.service import Service
from xsam_edge.runtime.serve.talk import talk

_PAGE = Path(__file__).with_name("page")
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def make_app(
    model: XSam,
    name: str,
    access: Access,
    limits: Limits | None = None,
    prefixes: Sequence[str] = (),
    version: str = "0",
) -> FastAPI:
    """The application; its ``state.service`` is there before it is started, and closed when it ends.

    Args:
        model: which stays the caller's to close.
        name: of the model, as clients have it.
        access: who may ask.
        limits: of requests, and of what is kept.
        prefixes: of URLs that pictures are fetched from; none, none is.
        version: of the program.
    """
    service = Service(model, name, limits or Limits())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.close()

    app = FastAPI(title="xsam-edge", version=version, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.service = service
    app.add_middleware(Guard, service=service, access=access)
    if access.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(access.origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Retry-After"],
        )
    app.add_middleware(Hosts, service=service, access=access)
    _add_errors(app)
    _add_questions(app, service, prefixes)
    _add_facts(app, service)
    for path in sorted(_PAGE.iterdir()):
        if path.suffix in _TYPES:
            _add_file(app, path)
    return app


def _add_errors(app: FastAPI) -> None:
    async def failed(_: Request, error: Exception) -> Response:
        return failure_response(as_failure(error))

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        hints = {404: "there is nothing at this path; see /openapi.json", 405: "this path does not take this method"}
        return failure_response(
            RequestError(error.status_code, hints.get(error.status_code, error.detail), None, None, error.headers)
        )

    for kind in (RequestError, InputError):
        app.add_exception_handler(kind, failed)
    app.add_exception_handler(HTTPException, refused)


def _add_questions(app: FastAPI, service: Service, prefixes: Sequence[str]) -> None:
    limits = service.limits

    @app.post("/v1/images/segmentations", openapi_extra=schema.SEGMENTATIONS, summary="Masks of what is asked for")
    async def segmentations(request: Request) -> Response:
        body, kind = await read_body(request, service), request.headers.get("content-type", "")
        began = time.perf_counter()

        async def answer() -> Response:
            asked = await service.in_thread(lambda: read_fields(parse_form(body, kind), limits, prefixes), len(body))
            _check_model(asked.model, service)
            return Response(await _segmented(service, asked, began), media_type="application/json")

        return await while_connected(request, answer(), limits.seconds)

    @app.post("/v1/chat/completions", openapi_extra=schema.COMPLETIONS, summary="An answer in words, or a caption")
    async def completions(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RequestError(415, "expected the content type application/json", None, "wrong_content_type")
        body = await read_body(request, service)
        began = time.perf_counter()
        asked = await service.in_thread(lambda: read_chat(body, limits, prefixes), len(body))
        _check_model(asked.model, service)
        return await talk(service, asked, request, began)

    @app.delete("/v1/scenes/{scene}", summary="Let go of a picture", status_code=204)
    async def forget(scene: str) -> Response:
        service.scenes.drop(scene)
        return Response(status_code=204)


async def _segmented(service: Service, asked: Segmentation, began: float) -> bytes:
    async with service.picture(asked.picture, asked.scene) as kept:
        answered = await service.answer(kept, asked.question)
        timings = service.timings(answered, began)
        height, width = kept.size
        facts = {
            "model": service.name,
            "task": asked.question.task,
            "scene": kept.id,
            "cached": not answered.encoded,
            "width": width,
            "height": height,
            "timings_ms": timings,
        }
        body = await service.in_thread(lambda: render(answered.results, asked.question.texts, asked.mask_format, facts))
        service.count({**timings, "render": 1e3 * (time.perf_counter() - began) - timings["total"]})
        return body


def _check_model(named: str | None, service: Service) -> None:
    if named is not None and named != service.name:
        message = f"the model {named[:80]!r} is not served here; {service.name!r} is"
        raise RequestError(404, message, "model", "model_not_found")


def _add_facts(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models", summary="The model that is served")
    async def models() -> Response:
        manifest = service.model.manifest
        entry = {"id": service.name, "object": "model", "created": service.created, "owned_by": "xsam-edge"}
        entry |= {"variant": manifest.variant, "precision": manifest.precision}
        return JSONResponse({"object": "list", "data": [entry]})

    @app.get("/healthz", summary="Whether the process answers")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/readyz", summary="Whether questions are taken")
    async def readyz() -> Response:
        status = 200 if service.ready else 503
        return JSONResponse({"status": "ready" if service.ready else "ending"}, status)

    @app.get("/metrics", summary="Counters and histograms for Prometheus")
    async def page() -> Response:
        service.scenes.expire()
        return Response(service.metrics.page(), headers={"Content-Type": metrics.CONTENT_TYPE})


def _add_file(app: FastAPI, path: Path) -> None:
    content, kind = path.read_bytes(), f"{_TYPES[path.suffix]}; charset=utf-8"
    place = "/" if path.name == "index.html" else f"/page/{path.name}"
    app.add_api_route(place, _sends(content, kind), methods=["GET"], include_in_schema=False)


def _sends(content: bytes, kind: str) -> Callable[[], Response]:
    def send() -> Response:
        return Response(content, headers={"Content-Type": kind, "Cache-Control": "no-cache"})

    return send
