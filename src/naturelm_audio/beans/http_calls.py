"""Calls of a JSON server that may be slow, busy or broken: repeated with growing pauses, limited in time and
size, and never sent anywhere but to the address given.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import logging
import math
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from naturelm_audio.errors import NatureLMError, OptionsError

__all__ = ["Caller", "ServerError", "check_address"]

logger = logging.getLogger(__name__)

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # worth another try
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
LARGEST_ANSWER_BYTES = 64 * 1024 * 1024
SHOWN_CHARACTERS = 300  # of a server's own words


class ServerError(NatureLMError):
    """A server that can't be reached, refuses, or answers something else than was agreed."""


class _PassingError(Exception):
    """What may be different at the next try; ``wait_seconds`` is the pause that the server asked for."""

    def __init__(self, reason: str, wait_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        return None  # then it is an HTTPError: nobody else gets the sounds


@dataclass(frozen=True, kw_only=True)
class Caller:
    """How calls are made.

    Args:
        timeout_seconds: of one try, from its start to the last byte.
        tries: of one call.
        sleep: waits between tries.
    """

    timeout_seconds: float = 120.0
    tries: int = 12
    sleep: Callable[[float], None] = time.sleep

    def call(self, address: str, body: Any = None) -> Any:
        """Return the parsed answer of a GET, or of a POST where there is a ``body``.

        Raises:
            ServerError: it was refused, or all tries failed.
        """
        pause = FIRST_PAUSE_SECONDS
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        for number in range(1, self.tries + 1):
            try:
                return self._try(address, data)
            except _PassingError as error:
                if number == self.tries:
                    raise ServerError(
                        f"{address}: no answer after {number} {'try' if number == 1 else 'tries'}: {error}"
                    ) from None
                wait = min(error.wait_seconds or pause * random.uniform(1.0, 1.2), LONGEST_PAUSE_SECONDS)
                logger.warning("%s: %s; trying again in %.1f s", address, error, wait)
                self.sleep(wait)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        raise ServerError(f"{address}: was not called: give at least one try")

    def _try(self, address: str, data: bytes | None) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        request = urllib.request.Request(address, data, headers)
        deadline = time.monotonic() + self.timeout_seconds
        try:
            with _opener(address).open(request, timeout=self.timeout_seconds) as answer:
                return _parsed(_read(answer, deadline), address)
        except urllib.error.HTTPError as error:
            with error:
                _refused(error, address)
        except urllib.error.URLError as error:
            raise _PassingError(f"can't be reached ({error.reason})") from None
        except TimeoutError:
            raise _PassingError(f"no answer within {self.timeout_seconds:g} s") from None
        except (http.client.HTTPException, ConnectionError) as error:
            raise _PassingError(f"the connection broke ({type(error).__name__})") from None


def check_address(address: str) -> str:
    """Return an address that may be called.

    Raises:
        OptionsError: it is no http or https address of a host.
    """
    try:
        parts = urllib.parse.urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise OptionsError(
            f"--predict-url {address}: must be an http or https address, such as the one of POST /predict"
        )
    return address


def _opener(address: str) -> urllib.request.OpenerDirector:
    """Opens this address and follows no other; this machine is never looked for behind a proxy."""
    host = urllib.parse.urlsplit(address).hostname or ""
    try:
        here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = False
    proxies = [urllib.request.ProxyHandler({})] if here else []
    return urllib.request.build_opener(_NoRedirect, *proxies)


def _read(answer: Any, deadline: float) -> bytes:
    """The body, in pieces: a server that sends a byte now and then does not hold us for ever."""
    pieces: list[bytes] = []
    size = 0
    while piece := answer.read1(1 << 16):
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST_ANSWER_BYTES:
            raise ServerError(f"{answer.url}: answers with more than {LARGEST_ANSWER_BYTES >> 20} MB")
        if time.monotonic() > deadline:
            raise TimeoutError
    return b"".join(pieces)


def _parsed(body: bytes, address: str) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        raise ServerError(f"{address}: answers {body[:40]!r}..., which is not JSON") from None


def _refused(error: urllib.error.HTTPError, address: str) -> NoReturn:
    words = f"status {error.code}{_detail(error)}"
    if error.code in PASSING:
        raise _PassingError(words, _seconds(error.headers.get("Retry-After")))
    hint = ": redirects are not followed, give the address itself" if 300 <= error.code < 400 else ""
    raise ServerError(f"{address}: refused with {words}{hint}")


def _detail(error: urllib.error.HTTPError) -> str:
    """What the server says of it, as one short line."""
    try:
        content = json.loads(error.read(1 << 16))
        said = content.get("detail") or content.get("error") if isinstance(content, dict) else None
    except (ValueError, OSError, http.client.HTTPException):
        said = None
    return f" ({' '.join(str(said).split())[:SHOWN_CHARACTERS]})" if said else ""


def _seconds(text: str | None) -> float | None:
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
