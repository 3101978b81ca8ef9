"""A server that speaks ``predictions_v1`` in the place of the local model: same questions, same scores.

The server gets each clip as it is stored, at its own rate, and cuts or pads it by ``max_length_seconds``. An
item's own error is final and becomes a row with ``error``; an answer that is not to exactly the items asked
stops the run, because nothing of it can be trusted.
"""

from __future__ import annotations

import base64
import io
import urllib.parse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from pathlib import Path
from typing import Any

import soundfile

from naturelm_audio import prompts
from naturelm_audio.beans.http_calls import Caller, ServerError, check_address
from naturelm_audio.beans.models import Item, Outcome
from naturelm_audio.beans.sounds import as_stored
from naturelm_audio.options import GenerateOptions

__all__ = ["RemoteModel"]

SCHEMA = "predictions_v1"
PAYLOAD = "base64_wav"
MOST_ITEMS = 512
ITEMS_WITHOUT_LIMIT = 8


class RemoteModel:
    """A server. Its ``/health`` and ``/info`` are asked once, at the root of its host.

    Args:
        address: of POST /predict.
        generate: the longest answer, the beams and the strength of the adapters that are asked for.
        folder: where relative file names of rows begin.
        batch_size: items in one call, at most; the server's own limit holds as well.
        calls_at_once: how many calls wait for their answers at the same time.
        caller: how calls are made.

    Raises:
        OptionsError: no http or https address.
        ServerError: it is not there, or speaks something else.
    """

    def __init__(
        self,
        address: str,
        generate: GenerateOptions,
        *,
        folder: Path,
        batch_size: int | None = None,
        calls_at_once: int = 1,
        caller: Caller | None = None,
    ) -> None:
        self._address = check_address(address)
        self._generate = generate
        self._folder = folder
        self._caller = caller or Caller()
        self._calls_at_once = calls_at_once
        self._caller.call(_at_root(address, "/health"))
        self._info = _checked_info(self._caller.call(_at_root(address, "/info")), address)
        self._items = min(_items_at_once(self._info), batch_size or MOST_ITEMS)
        self.rows_at_once = self._items * calls_at_once

    def about(self) -> dict[str, Any]:
        """Return what the server says of its model."""
        return {name: self._info.get(name) for name in ("name", "model", "model_revision", "precision")}

    def prepare(self, item: Item) -> dict[str, Any]:
        """Return the request of one item.

        Raises:
            AudioError: the row's audio can't be used.
        """
        samples, rate_hz = as_stored(item.sound, item.seconds, folder=self._folder)
        if item.seconds != int(item.seconds):  # the server only knows whole seconds
            samples = samples[: round(item.seconds * rate_hz)]
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, rate_hz, format="WAV", subtype="FLOAT")
        settings = {
            "max_tokens": self._generate.max_new_tokens,
            "temperature": 0.0,
            "max_length_seconds": ceil(item.seconds),
            "num_beams": self._generate.num_beams,
            "merging_alpha": self._generate.merging_alpha,
        }
        return {
            "sample_id": f"{item.component.name}/{item.row.id}",
            "messages": [{"role": "user", "content": prompts.with_audio(item.question)}],
            "audio_inputs": [
                {
                    "payload_type": PAYLOAD,
                    "data": base64.b64encode(buffer.getbuffer()).decode(),
                    "sample_rate": rate_hz,
                }
            ],
            "generation_config": settings,
        }

    def answer(self, items: Sequence[tuple[Item, dict[str, Any]]]) -> list[Outcome]:
        """Return what became of each item, in their order.

        Raises:
            ServerError: the server fails for good, or answers something else than it was asked.
        """
        requests = [
            {**request, "sample_id": f"{place}/{request['sample_id']}"}
            for place, (_, request) in enumerate(items)
        ]
        calls = [requests[start : start + self._items] for start in range(0, len(requests), self._items)]
        with ThreadPoolExecutor(self._calls_at_once) as pool:
            return [outcome for some in pool.map(self._call, calls) for outcome in some]

    def _call(self, requests: Sequence[dict[str, Any]]) -> list[Outcome]:
        answer = self._caller.call(self._address, {"schema_version": SCHEMA, "requests": list(requests)})
        responses = answer.get("responses") if isinstance(answer, dict) else None
        if not isinstance(responses, list) or answer.get("schema_version") != SCHEMA:
            raise ServerError(f"{self._address}: answers something else than {SCHEMA} with 'responses'")
        by_id = _by_id(responses, [request["sample_id"] for request in requests], self._address)
        return [_outcome(by_id[request["sample_id"]], self._address) for request in requests]


def _at_root(address: str, path: str) -> str:
    """The address of another path of the same host."""
    return urllib.parse.urlsplit(address)._replace(path=path, query="", fragment="").geturl()


def _checked_info(info: Any, address: str) -> dict[str, Any]:
    """What the server says of itself.

    Raises:
        ServerError: it doesn't speak the schema, or takes no WAV.
    """
    for name, needed in (("schema_versions", SCHEMA), ("audio_payload_types", PAYLOAD)):
        offered = info.get(name) if isinstance(info, dict) else None
        if not isinstance(offered, list) or needed not in offered:
            raise ServerError(f"{_at_root(address, '/info')}: {name} is {offered!r}, without {needed!r}")
    return dict(info)


def _items_at_once(info: dict[str, Any]) -> int:
    if info.get("supports_batching") is False:
        return 1
    most = info.get("max_batch_size")
    return min(most, MOST_ITEMS) if type(most) is int and most > 0 else ITEMS_WITHOUT_LIMIT


def _by_id(responses: Sequence[Any], asked: Sequence[str], address: str) -> dict[str, dict[str, Any]]:
    """Answers by their id, which are exactly those asked for.

    Raises:
        ServerError: one is missing, there twice, or of something that was not asked.
    """
    found: dict[str, dict[str, Any]] = {}
    for response in responses:
        identity = response.get("sample_id") if isinstance(response, dict) else None
        if not isinstance(identity, str) or identity not in asked:
            raise ServerError(f"{address}: answers sample_id {identity!r}, which was not asked in this call")
        if identity in found:
            raise ServerError(f"{address}: answers sample_id {identity!r} twice")
        found[identity] = response
    missing = [identity for identity in asked if identity not in found]
    if missing:
        raise ServerError(
            f"{address}: does not answer {len(missing)} of {len(asked)} items, such as {missing[0]!r}"
        )
    return found


def _outcome(response: dict[str, Any], address: str) -> Outcome:
    """One item's prediction, or its error.

    Raises:
        ServerError: it is neither.
    """
    said = response.get("usage")
    usage: dict[str, Any] = said if isinstance(said, dict) else {}
    extras = {name: usage[name] for name in ("confidence", "warnings") if usage.get(name)}
    error, texts = response.get("error"), response.get("predictions")
    if isinstance(error, str) and error.strip():
        return Outcome(error=f"server_error: {' '.join(error.split())}", extras=extras)
    if not isinstance(texts, list) or not texts or not isinstance(texts[0], str):
        raise ServerError(
            f"{address}: answers {response.get('sample_id')!r} with neither predictions nor an error"
        )
    return Outcome(prediction=texts[0], extras=extras)
