"""Common names in other languages: a table with a column for each, found by scientific or English name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from naturelm_audio.errors import OptionsError
from naturelm_audio.train.manifest.labelled import Labelled
from naturelm_audio.train.manifest.problems import ManifestError, did_you_mean
from naturelm_audio.train.manifest.tables import folded, is_blank, read_table
from naturelm_audio.train.manifest.taxonomy import accepted

__all__ = ["NameTable", "is_english", "read_names"]


@dataclass(frozen=True)
class NameTable:
    """Common names by language; keys are accepted scientific names and English names without case."""

    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def require(self, languages: Iterable[str]) -> None:
        """Check that the table has these languages.

        Raises:
            OptionsError: it lacks one.
        """
        for language in languages:
            if not is_english(language) and language not in self.names:
                hint = (
                    did_you_mean(language, self.names)
                    or f"; it has {', '.join(sorted(self.names)) or 'none'}"
                )
                raise OptionsError(f"no names in {language!r}: give a name table with this column{hint}")

    def localised(self, recording: Labelled, language: str) -> Labelled:
        """Return the recording with all common names in a language; one that isn't known is empty."""
        if is_english(language) or recording.is_none:
            return recording
        table = self.names[language]

        def translated(name: str, species: str = "") -> str:
            return table.get(accepted(species), table.get(accepted(name), table.get(name.casefold(), "")))

        return dataclasses.replace(
            recording,
            common_name=translated(recording.common_name, recording.taxon.species),
            background=tuple(map(translated, recording.background)),
            events=tuple(
                dataclasses.replace(span, label=translated(span.label, span.scientific_name))
                for span in recording.events
            ),
        )


def is_english(language: str) -> bool:
    """Return whether a language is the one of the tables themselves."""
    return language.casefold() in ("", "en", "english")


def read_names(path: str | Path) -> NameTable:
    """Return a name table with the columns ``scientific_name`` or ``en``, and one for each language.

    Raises:
        ManifestError: it has no column of scientific or English names.
    """
    table = read_table(path)
    keys: Sequence[str | None] = (
        table.column("scientific_name", "species", "scientific"),
        table.column("en", "english", "common_name", "english_name"),
    )
    if not any(keys):
        raise ManifestError(f"{path}: no column 'scientific_name' or 'en' to look names up by")
    names: dict[str, dict[str, str]] = {}
    for row in table.rows:
        species, english = (row.cells.get(key, "") if key else "" for key in keys)
        for column in table.columns:
            name = row.cells.get(column, "")
            if column in keys or is_blank(name):
                continue
            known = names.setdefault(column, {})
            for key in (accepted(" ".join(species.split()[:2])), english.casefold()):
                if key:
                    known.setdefault(key, " ".join(name.split()))
    return NameTable({column: known for column, known in names.items() if folded(column) not in _OTHER})


_OTHER = {"family", "order", "class", "genus", "phylum", "seq", "id", "code", "ebirdcode"}
