"""What the page's own parts ask for: uploads, pictures, sounds, rows and downloads of one session.

Every address begins with the session's id, which can't be guessed; a path never comes from the browser.
"""

from __future__ import annotations

import io
import json
import shutil
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import soundfile
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from naturelm_audio.errors import NatureLMError, OptionsError
from naturelm_audio.web.downloads import Download, Survey, make_download
from naturelm_audio.web.examples import Examples
from naturelm_audio.web.jobs import Job
from naturelm_audio.web.sessions import TABS, Session, SessionGoneError, Sessions
from naturelm_audio.web.uploads import Settings, Upload

__all__ = ["PREFIX", "router"]

PREFIX = "/naturelm"
STATIC = Path(__file__).parent / "static"
HOUR = "private, max-age=3600"
PICTURES_AT_ONCE = 2
HIGHEST_LEVEL = 20


def router(sessions: Sessions, examples: Examples) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix=PREFIX)

    @routes.get("/static/app.js")
    def script() -> Response:
        parts = [part.read_text(encoding="utf-8") for part in sorted(STATIC.glob("*.js"))]
        return Response("\n".join(parts), media_type="text/javascript")

    _add_uploads(routes, sessions, examples)
    _add_pictures_and_sounds(routes, sessions)
    _add_jobs(routes, sessions)
    return routes


def _add_uploads(routes: APIRouter, sessions: Sessions, examples: Examples) -> None:
    @routes.post("/{session}/uploads/{tab}")
    async def upload(session: str, tab: str, name: str, request: Request) -> Response:
        try:
            found = sessions.get(session)
        except SessionGoneError as error:
            return _problem(str(error), 410)
        if tab not in TABS:
            return Response(status_code=404)
        return await _receive(found, tab, name, request)

    @routes.post("/{session}/examples/{tab}/{name}")
    def example(session: str, tab: str, name: str) -> Response:
        if tab not in TABS:
            return Response(status_code=404)
        found = sessions.get(session)
        path = found.new_path(name)
        examples.write(name, path)
        return JSONResponse(found.add(tab, path, name).to_mapping())

    @routes.delete("/{session}/uploads/{tab}/{upload}")
    def remove(session: str, tab: str, upload: str) -> Response:
        if tab in TABS:
            sessions.get(session).remove(tab, upload)
        return JSONResponse({})


def _add_pictures_and_sounds(routes: APIRouter, sessions: Sessions) -> None:
    drawing = threading.BoundedSemaphore(PICTURES_AT_ONCE)

    @routes.get("/{session}/pictures/{upload}")
    def picture(
        session: str, upload: str, start: float, end: float, channel: int = 0, speed: float = 1.0
    ) -> Response:
        with drawing:
            image = _upload(sessions, session, upload).picture(start, end, _settings(channel, speed))
        return Response(image, media_type="image/png", headers={"Cache-Control": HOUR})

    @routes.get("/{session}/tiles/{upload}/{level}/{index}")
    def tile(
        session: str, upload: str, level: int, index: int, channel: int = 0, speed: float = 1.0
    ) -> Response:
        if not (0 <= level <= HIGHEST_LEVEL and index >= 0):
            return Response(status_code=404)
        with drawing:
            image = _upload(sessions, session, upload).tile(level, index, _settings(channel, speed))
        return Response(image, media_type="image/png", headers={"Cache-Control": HOUR})

    @routes.get("/{session}/sounds/{upload}")
    def sound(
        session: str, upload: str, start: float, end: float, channel: int = 0, speed: float = 1.0
    ) -> Response:
        samples, rate_hz = _upload(sessions, session, upload).sound(start, end, _settings(channel, speed))
        file = io.BytesIO()
        soundfile.write(file, samples, rate_hz, format="WAV", subtype="PCM_16")
        return Response(file.getvalue(), media_type="audio/wav", headers={"Cache-Control": HOUR})


def _add_jobs(routes: APIRouter, sessions: Sessions) -> None:
    @routes.get("/{session}/jobs/{job}")
    def rows(session: str, job: str, after: int = 0) -> Response:
        found = _job(sessions, session, job)
        status = found.status()
        lines = ",".join(found.rows.lines(max(after, 0)))
        return Response(json.dumps(status)[:-1] + f', "new": [{lines}]}}', media_type="application/json")

    @routes.post("/{session}/jobs/{job}/cancel")
    def cancel(session: str, job: str) -> Response:
        _job(sessions, session, job).cancel()
        return JSONResponse({})

    @routes.get("/{session}/jobs/{job}/downloads/{kind}")
    def download(
        session: str, job: str, kind: str, request: Request, merge: int = 0, least: float = 0.0
    ) -> Response:
        said = {name: request.query_params.get(name, "").strip() for name in Survey.__dataclass_fields__}
        survey = Survey(**said) if any(said.values()) else None
        found = _job(sessions, session, job)
        return _attachment(make_download(found, kind, merge=bool(merge), least=least, survey=survey))


def problem_response(request: Request, error: Exception) -> Response:
    """Return an error of the tree as a sentence with a status that fits."""
    return _problem(" ".join(str(error).split()), 410 if isinstance(error, SessionGoneError) else 422)


def _problem(sentence: str, status: int) -> Response:
    return JSONResponse({"problem": sentence}, status_code=status)


def _settings(channel: int, speed: float) -> Settings:
    if not 0.001 <= speed <= 1000:
        raise OptionsError(f"the speed must be from 0.001 to 1000, not {speed:g}")
    return (channel or None, speed)


def _upload(sessions: Sessions, session: str, upload: str) -> Upload:
    found = sessions.get(session).upload(upload)
    if found is None:
        raise SessionGoneError("this recording was removed")
    return found


def _job(sessions: Sessions, session: str, job: str) -> Job:
    found = sessions.get(session).job(job)
    if found is None:
        raise SessionGoneError("this run was replaced by another")
    return found


async def _receive(session: Session, tab: str, name: str, request: Request) -> Response:
    """Write the body to the session's folder as it comes, never more than the limit."""
    limit = session.limits.upload_bytes
    too_large = f"{name} is larger than the {limit / 1e6:,.0f} MB that this app takes: split it"
    if int(request.headers.get("content-length") or 0) > limit:
        return _problem(too_large, 413)
    path = session.new_path(name)
    received = 0
    try:
        with open(path, "wb") as file:
            async for chunk in request.stream():
                received += len(chunk)
                if received > limit:
                    return _forget(path, too_large)
                file.write(chunk)
    except ClientDisconnect:
        return _forget(path, "the upload was broken off")
    except OSError as error:
        return _forget(path, f"{name} can't be stored: {error.strerror or error}")
    try:
        added = await run_in_threadpool(session.add, tab, path, name)
    except NatureLMError as error:
        return _forget(path, str(error))
    return JSONResponse(added.to_mapping())


def _forget(path: Path, sentence: str) -> Response:
    shutil.rmtree(path.parent, ignore_errors=True)
    return _problem(sentence, 413)


def _attachment(made: Download) -> Response:
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(made.name)}",
        "Cache-Control": "no-store",
    }
    return Response(made.content, media_type=made.media_type, headers=headers)


def add_error_handlers(app: Any) -> None:
    """Answer errors of the tree with a sentence."""
    app.add_exception_handler(NatureLMError, problem_response)
