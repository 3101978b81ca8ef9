"""Who may use the app: everyone who reaches it, or those who know the password; in front of all routes."""

from __future__ import annotations

import asyncio
import hmac
import html
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

__all__ = ["LOOPBACK", "Access"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
COOKIE = "naturelm_access"
LOGIN = "/naturelm-login"
SECONDS_AFTER_WRONG = 1.0
MOST_BYTES = 4096
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>NatureLM-audio</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>body{{font:16px system-ui,sans-serif;max-width:22em;margin:15vh auto;padding:0 1em}}
input,button{{font:inherit;padding:.5em;width:100%;box-sizing:border-box;margin:.4em 0}}</style>
<main><h1>NatureLM-audio</h1><form method="post" action="{action}">
<label for="password">Password</label>
<input id="password" name="password" type="password" required autofocus autocomplete="current-password">
<button>Open</button><p role="alert">{message}</p></form></main></html>"""


class Access:
    """Lets requests through that carry the cookie which the right password gives.

    Args:
        app: behind it.
        password: None lets everyone through.
        local: answer only to the names of this very machine, so that no other site's page can point its own
            name at the app.
    """

    def __init__(self, app: Asgi, password: str | None, *, local: bool) -> None:
        self._app = app
        self._password = password
        self._local = local
        self._cookies: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        if self._local and _host(headers.get("host", "")) not in LOOPBACK:
            await _respond(send, 403, "This app answers only to the machine it runs on.")
        elif self._password is None or self._knows(headers.get("cookie", "")):
            await self._app(scope, receive, send)
        elif scope["path"].endswith(LOGIN) and scope["method"] == "POST":
            await self._enter(scope, receive, send)
        else:
            await _respond(send, 401, _page(scope))

    def _knows(self, header: str) -> bool:
        try:
            cookie = SimpleCookie(header).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and cookie.value in self._cookies

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        more = True
        while more and len(body) <= MOST_BYTES:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        given = parse_qs(body.decode(errors="replace")).get("password", [""])[0]
        if not hmac.compare_digest(given.encode(), (self._password or "").encode()):
            await asyncio.sleep(SECONDS_AFTER_WRONG)
            await _respond(send, 401, _page(scope, "That is not the password."))
            return
        self._cookies.add(cookie := secrets.token_urlsafe(24))
        root = scope.get("root_path", "") or "/"
        await _respond(
            send, 303, "", location=root, cookie=f"{COOKIE}={cookie}; HttpOnly; SameSite=Strict; Path=/"
        )


def _host(header: str) -> str:
    """The name in a Host header, without its port."""
    return header[1:].partition("]")[0] if header.startswith("[") else header.partition(":")[0]


def _page(scope: Scope, message: str = "") -> str:
    return PAGE.format(action=html.escape(scope.get("root_path", "") + LOGIN), message=html.escape(message))


async def _respond(send: Send, status: int, text: str, *, location: str = "", cookie: str = "") -> None:
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-store")]
    headers += [(b"location", location.encode())] if location else []
    headers += [(b"set-cookie", cookie.encode())] if cookie else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
