"""What all recordings know between them: names for wrong candidates, and which taxon has which name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from naturelm_audio.train.manifest.labelled import Labelled
from naturelm_audio.train.manifest.tasks import Pools, TaskOptions, speaks_of_animals
from naturelm_audio.train.manifest.taxonomy import Candidates, Taxon, is_scientific, parse_taxon

__all__ = ["pools_of"]

Named = tuple[str, Taxon]


def pools_of(original: Sequence[Labelled], localised: Sequence[Labelled], options: TaskOptions) -> Pools:
    """Return the pools of recordings whose common names are in some language.

    Args:
        original: the recordings as the table has them.
        localised: the same with common names in the language of answers; a name that isn't known is empty.
        options: how questions are drawn.
    """
    taxa = _taxa(original)
    common_names = _common_names(original, localised)
    animals = [*_animals(original), *(named for one in original for named in _events(one))]
    known = [(name, taxon if taxon.species else taxa.get(name.casefold(), taxon)) for name, taxon in animals]
    sounds = [one for one in localised if one.kind not in ("unlabelled", "speech") and not one.is_none]
    return Pools(
        common=Candidates(
            (common_names.get((name or taxon.species).casefold(), "" if is_scientific(name) else name), taxon)
            for name, taxon in known
        ),
        scientific=Candidates((taxon.species, taxon) for _, taxon in known),
        sounds=Candidates((one.common_name, one.taxon) for one in sounds),
        taxa=taxa,
        common_names=common_names,
        options=options,
    )


def _taxa(recordings: Iterable[Labelled]) -> dict[str, Taxon]:
    """Return name without case, common or scientific -> taxon; the fullest one where tables differ."""
    found: dict[str, Taxon] = {}
    for one in sorted(recordings, key=lambda one: one.key):
        for name, taxon in (*_events(one), (one.common_name, one.taxon)):
            for known in (name.casefold(), taxon.species.casefold()):
                # Ranks come with recordings of one species; events have a name at most.
                if known and taxon.species and not (known in found and found[known].family):
                    found[known] = taxon
    return found


def _common_names(original: Sequence[Labelled], localised: Sequence[Labelled]) -> dict[str, str]:
    """Return name without case, common or scientific -> common name in the language of answers."""
    found: dict[str, str] = {}
    for before, after in sorted(zip(original, localised, strict=True), key=lambda pair: pair[0].key):
        pairs = [(before.common_name, before.taxon, after.common_name)]
        for (name, taxon), (translated, _) in zip(_events(before), _events(after), strict=True):
            pairs.append((name, taxon, translated))
        for name, translated in zip(before.background, after.background, strict=True):
            pairs.append((name, parse_taxon(name) if is_scientific(name) else Taxon(), translated))
        for name, taxon, translated in pairs:
            common_name = "" if is_scientific(translated) else translated
            for known in (name.casefold(), taxon.species.casefold()):
                if known and not found.get(known):
                    found[known] = common_name
    return found


def _animals(recordings: Iterable[Labelled]) -> list[Named]:
    return [(one.common_name, one.taxon) for one in recordings if speaks_of_animals(one)]


def _events(recording: Labelled) -> list[Named]:
    """Return the label of each event with its taxon, in the order of the events."""
    return [
        (span.label, parse_taxon(span.scientific_name or (span.label if is_scientific(span.label) else "")))
        for span in recording.events
    ]
