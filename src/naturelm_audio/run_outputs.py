"""What a run of ``naturelm infer`` writes besides its rows: which files there will be, and making them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from naturelm_audio.audio import probe
from naturelm_audio.errors import AudioError, MissingExtraError, OptionsError
from naturelm_audio.format_names import single_output
from naturelm_audio.formats import Conversion, FormatOptions, convert
from naturelm_audio.formats.camtrap import check_dataset, read_dataset
from naturelm_audio.formats.converting import planned_paths
from naturelm_audio.options import InferOptions

__all__ = ["RunOutputs", "sound_facts"]

HEADER_TOLERANCE_SECONDS = 0.01


@dataclass(frozen=True)
class RunOutputs:
    """The other formats of a run.

    Args:
        options: of the run.
        names: of all its recordings.
    """

    options: InferOptions
    names: list[str]

    @cached_property
    def single(self) -> Path | None:
        """The one file that is made of the rows, if the output is that."""
        return single_output(self.options.output_path, self.options.output_formats)

    @cached_property
    def formats(self) -> list[str]:
        """Formats that are made of the rows."""
        return [name for name in self.options.output_formats if name != "jsonl"]

    @property
    def folder(self) -> Path | None:
        """Where their files go: beside the rows, in a folder of the same name; None for a single file."""
        return self.options.output_path.with_suffix("") if self.formats and self.single is None else None

    @property
    def _form(self) -> FormatOptions:
        """What decides which files there will be."""
        options = self.options
        per_file = True if options.per_file else False if options.combined else None
        return FormatOptions(per_file=per_file, merge=options.merge)

    def check(self, heard: set[Path]) -> None:
        """Refuse, before any work, what could not be written at the end.

        Args:
            heard: the recordings, which nothing may replace.

        Raises:
            OptionsError: naming the file that is in the way.
            OutputError: a file that is never replaced.
            MissingExtraError: a format needs a package that is not installed.
        """
        lacks = check_dataset(read_dataset(self.options.dataset)) if "camtrap-dp" in self.formats else []
        if lacks:
            raise OptionsError(f"camtrap-dp needs {'; '.join(lacks)}")
        rows = self.options.rows_path
        place = self.folder or rows.parent
        if self.folder == rows:
            raise OptionsError(
                f"--output-path {rows}: give it a suffix such as .jsonl: {rows} is the folder of tables"
            )
        planned = planned_paths(
            self.formats, self.names, self.options.queries, place, self._form, self.single
        )
        for path in {self.options.output_path, rows, *(path for _, path in planned)}:
            if path.resolve() in heard:
                raise OptionsError(f"--output-path {path} is one of the recordings: choose another")
        for writer, path in planned:
            if not path.exists():
                continue
            if path.with_name(f"{path.name}.run.json").exists():
                raise OptionsError(f"--output-path {path} has rows of another --format: choose another file")
            if self.options.output_mode == "new":
                raise OptionsError(
                    f"{path}: exists already: continue it with --resume, begin it again with --overwrite, or "
                    "choose another --output-path"
                )
            writer.check(path)

    def write(self) -> Conversion | None:
        """Make all other formats of the rows on file; None if there are none.

        Raises:
            OutputError: a file can't be written.
        """
        if not self.formats:
            return None
        options = self.options
        nominal = options.window_length_seconds * options.speed_factor if options.nominal_end else None
        more: dict[str, Any] = {"nominal_window_seconds": nominal, "dataset": read_dataset(options.dataset)}
        return convert(
            options.rows_path,
            self.formats,
            self.folder or options.rows_path.parent,
            replace(self._form, **more),
            overwrite=options.output_mode != "new",
            single=self.single,
        )


def sound_facts(path: Path, heard_seconds: float | None) -> dict[str, Any]:
    """Return what other formats need to know of a recording, for the journal.

    Args:
        path: the recording.
        heard_seconds: its length as it was decoded, which is the truth where a header differs; None if it
            was not read to its end.
    """
    facts: dict[str, Any] = {"file": str(path.absolute())}
    try:
        info = probe(path)
    except (AudioError, MissingExtraError):
        return facts
    facts |= {"sample_rate_hz": info.sample_rate_hz, "channels": info.channels}
    frames = info.frames if info.exact else None
    if heard_seconds is not None:
        decoded = round(heard_seconds * info.sample_rate_hz)
        if frames is None or abs(frames - decoded) > HEADER_TOLERANCE_SECONDS * info.sample_rate_hz:
            frames = decoded
    if frames is not None:
        facts |= {"frames": frames, "duration_seconds": round(frames / info.sample_rate_hz, 6)}
    return facts
