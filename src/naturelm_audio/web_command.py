"""``naturelm inference-app``: the web app on this machine, or for a network with a password.

Only click is imported here; everything else when the command runs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from naturelm_audio.errors import MissingExtraError, OptionsError
from naturelm_audio.options import BUNDLED_MODEL, DTYPES, RunConfig, read_config

__all__ = ["PASSWORD_VARIABLE", "inference_app"]

logger = logging.getLogger(__name__)

PORT = 7860
PASSWORD_VARIABLE = "NATURELM_APP_PASSWORD"
# What the MP3 decoder says at each jump into a file, by the thousand for one picture, and without a reason.
CHATTER = b"part2_3_length"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command("inference-app")
@click.option("--cfg-path", help="Configuration file (YAML), official or ours; options here win over it.")
@click.option(
    "--host", default=LOOPBACK[0], show_default=True, help="Address to listen at; 0.0.0.0 for a network."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 takes a free one."
)
@click.option(
    "--model",
    multiple=True,
    help=f"As of naturelm infer, or a folder of models; repeatable.  [{BUNDLED_MODEL}]",
)
@click.option("--llama-path", help="Base language model, for checkpoints that come without one.")
@click.option("--device", help="auto, cpu, cuda, cuda:1, mps.  [auto]")
@click.option("--dtype", type=click.Choice(DTYPES), help="Number format.  [auto]")
@click.option("--merging-alpha", type=float, help="0 is the base language model, 1 the tuned one.  [1]")
@click.option(
    "--assets-dir", type=click.Path(path_type=Path), help="Folder of example recordings.  [synthetic ones]"
)
@click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    help=f"File with the password; or set {PASSWORD_VARIABLE}.",
)
@click.option("--password", help="The password itself; others on this machine can see it.")
@click.option(
    "--max-upload-mb", type=click.IntRange(1), default=2000, show_default=True, help="Largest recording."
)
@click.option("-v", "--verbose", count=True, help="Say more on stderr; twice for everything.")
def inference_app(verbose: int, **given: Any) -> int:
    """Open the web app: ask about recordings in a browser.

    Uploads stay on this machine and are deleted when their page is closed. Nothing is fetched from anywhere
    else.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s")
    logging.getLogger("naturelm_audio").setLevel(
        [logging.WARNING, logging.INFO, logging.DEBUG][min(verbose, 2)]
    )
    return run_app(given, click.echo)


def run_app(given: dict[str, Any], say: Callable[[str], object]) -> int:
    """Serve until interrupted; return the exit status.

    Args:
        given: options of the command.
        say: prints a line, such as where the app is.

    Raises:
        NatureLMError: an option is wrong, the model can't be loaded, or the address is taken.
    """
    config = read_config(given["cfg_path"]) if given["cfg_path"] else RunConfig()
    password = password_of(given)
    listening = listen_at(given["host"], given["port"])
    with listening:
        app = make_app(config, given, password)
        host, port = listening.getsockname()[:2]
        if password is None and host not in LOOPBACK:
            logger.warning("anyone who reaches %s can use this app: set a password, see --help", host)
        shown = f"[{host}]" if ":" in host else host
        say(f"NatureLM-audio is at http://{shown}:{port} (end it with Ctrl-C)")
        signal.signal(signal.SIGTERM, _leave)  # else it would end the process before users' files are gone
        try:
            with without_chatter():
                app.server(host, port).run(sockets=[listening])
        finally:
            app.close()
    return 0


@contextlib.contextmanager
def without_chatter() -> Iterator[None]:
    """Let everything through to stderr but the chatter of the MP3 decoder, which nothing else can silence."""
    terminal, (heard, said) = os.dup(2), os.pipe()
    os.dup2(said, 2)
    os.close(said)

    def pass_on() -> None:
        with open(heard, "rb") as lines:
            for line in lines:
                if CHATTER not in line:
                    os.write(terminal, line)

    passing = threading.Thread(target=pass_on, name="stderr", daemon=True)
    passing.start()
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        passing.join(5.0)
        if not passing.is_alive():
            os.close(terminal)


def _leave(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def make_app(config: RunConfig, given: dict[str, Any], password: str | None) -> Any:
    """Return the app with its first model loaded.

    Raises:
        NatureLMError: the model can't be loaded, or the [web] extra is missing.
    """
    try:
        from naturelm_audio.web.app import AppOptions, WebApp
    except ImportError as error:
        if error.name and error.name.startswith("naturelm_audio"):
            raise
        raise MissingExtraError("web", "The web app") from error
    from naturelm_audio.checkpoint import load_model
    from naturelm_audio.web.models import models_in
    from naturelm_audio.web.uploads import Limits

    own = config.model or BUNDLED_MODEL
    names = [name for one in given["model"] or [own] for name in models_in(one)]
    generate = config.generate
    if given["merging_alpha"] is not None:
        generate = replace(generate, merging_alpha=given["merging_alpha"])

    def load(name: str) -> Any:
        of_config = name == config.model
        return load_model(
            name,
            llama=given["llama_path"] or (config.llama_path if of_config else None),
            device=given["device"] or config.device or "auto",
            dtype=given["dtype"] or config.dtype or "auto",
            arguments=config.model_arguments or None if of_config else None,
        )

    options = AppOptions(
        models=list(dict.fromkeys([*names, BUNDLED_MODEL])),
        generate=generate,
        assets=given["assets_dir"],
        password=password,
        local=given["host"] in LOOPBACK and password is None,
        limits=Limits(upload_bytes=given["max_upload_mb"] * 1_000_000),
        batch_size=config.batch_size,
    )
    return WebApp(options, load)


def password_of(given: dict[str, Any]) -> str | None:
    """Return the password of the file, the option or the environment; None if there is none.

    Raises:
        OptionsError: the file can't be read, or the password is empty.
    """
    path = given["password_file"]
    password = given["password"]
    if path is not None:
        try:
            password = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise OptionsError(f"--password-file {path}: can't be read: {error}") from None
    elif password is None:
        password = os.environ.get(PASSWORD_VARIABLE)
    if password is not None and not password:
        raise OptionsError("the password is empty: write one, or leave it out")
    return password


def listen_at(host: str, port: int) -> socket.socket:
    """Return a socket that listens at the address.

    Raises:
        OptionsError: the address is taken or not of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with contextlib.ExitStack() as undo:
            listening = undo.enter_context(socket.socket(family, kind, protocol))
            if os.name == "posix":
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(100)
            undo.pop_all()
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"--host {host} --port {port}: {reason}: choose another, 0 takes any free port"
        raise OptionsError(message) from None
    return listening
