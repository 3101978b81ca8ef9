"""The web app as one ASGI application, and the server that runs it."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Before Gradio is imported: it counts its users otherwise.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio
import uvicorn
from fastapi import FastAPI

from naturelm_audio.options import GenerateOptions
from naturelm_audio.web.access import Access
from naturelm_audio.web.examples import Examples
from naturelm_audio.web.models import Loader, Shelf
from naturelm_audio.web.pages import State, build
from naturelm_audio.web.routes import PREFIX, add_error_handlers, router
from naturelm_audio.web.sessions import Sessions
from naturelm_audio.web.uploads import Limits

__all__ = ["AppOptions", "WebApp"]

logger = logging.getLogger(__name__)

THREADS = 40
SYSTEM_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif")
SYSTEM_MONO = ("ui-monospace", "Consolas", "DejaVu Sans Mono", "monospace")


@dataclass(frozen=True, kw_only=True)
class AppOptions:
    """What the app offers, and to whom."""

    models: Sequence[str] = ()
    generate: GenerateOptions = field(default_factory=GenerateOptions)
    assets: Path | None = None
    password: str | None = None
    local: bool = True
    limits: Limits = field(default_factory=Limits)
    batch_size: int | None = None


class WebApp:
    """The app with its first model loaded; :meth:`close` removes what users left.

    Args:
        options: what it offers.
        load: gives the model of a name.

    Raises:
        NatureLMError: the first model can't be loaded, or the examples aren't there.
    """

    def __init__(self, options: AppOptions, load: Loader) -> None:
        self.shelf = Shelf(options.models, load, batch_size=options.batch_size)
        self.shelf.get()
        examples = Examples(options.assets)
        self.sessions = Sessions(options.limits)
        self.state = State(self.sessions, self.shelf, examples, options.generate)
        os.environ["GRADIO_TEMP_DIR"] = str(self.sessions.folder)
        self.asgi = Access(self._mounted(), options.password, local=options.local)

    def close(self) -> None:
        """End all jobs, delete all uploads, let the models go."""
        self.sessions.close()
        self.shelf.close()

    def server(self, host: str, port: int) -> uvicorn.Server:
        """Return the server, not started."""
        return uvicorn.Server(
            uvicorn.Config(
                self.asgi, host=host, port=port, log_level="warning", timeout_graceful_shutdown=3, ws="none"
            )
        )

    def _mounted(self) -> FastAPI:
        app = FastAPI(title="NatureLM-audio", openapi_url=None)
        app.include_router(router(self.sessions, self.state.examples))
        add_error_handlers(app)
        head = f'<script src="{PREFIX[1:]}/static/app.js"></script>'
        return gradio.mount_gradio_app(
            app, build(self.state), path="", theme=_theme(), head=head,
            css_paths=Path(__file__).parent / "static" / "app.css",
            footer_links=[], run_history=False, show_error=True, max_file_size=1, pwa=False, ssr_mode=False,
            enable_monitoring=False, mcp_server=False,
        )  # fmt: skip


def _theme() -> Any:
    """Gradio's theme with the fonts of the system and a button that can be read."""
    base: Any = gradio.themes.Default
    theme = base(
        primary_hue=gradio.themes.colors.teal,
        neutral_hue=gradio.themes.colors.slate,
        font=list(SYSTEM_FONTS),
        font_mono=list(SYSTEM_MONO),
    )
    return theme.set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
    )
