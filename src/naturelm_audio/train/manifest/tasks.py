"""From one labelled recording to questions with answers: one function for each family of tasks.

Names of tasks follow the grammar that the loader goes by: `detection` at the end may be heard as pure noise,
`caption` gets no noise, `pitch` no time scaling. A family asks nothing where the recording doesn't tell.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from naturelm_audio.train.manifest import wordings
from naturelm_audio.train.manifest.context import context_of
from naturelm_audio.train.manifest.labelled import Labelled
from naturelm_audio.train.manifest.sounds import NONE, Sound, answer_list, caption
from naturelm_audio.train.manifest.taxonomy import Candidates, Taxon, is_scientific, parse_taxon
from naturelm_audio.train.manifest.wordings import WORDINGS

__all__ = ["FAMILIES", "Asked", "Pools", "TaskOptions", "detect_list", "speaks_of_animals"]

MOST_NEGATIVES = 35
_SILENT_KINDS = ("environment", "noise", "music")
_CALLS = ("call", "flight call", "alarm call", "begging call", "contact call", "distress call")
_SONGS = ("song", "subsong", "dawn song", "duet")
Draw = random.Random


@dataclass(frozen=True)
class Asked:
    """A question, its answer and the name of its task; ``labels`` are the names in the answer."""

    task: str
    prompt: str
    text: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """How questions are drawn; the defaults are those of the paper, or ours where it says nothing."""

    wordings: int = 1
    """How many wordings of each question are used; 1 is the usual one alone."""
    random_negative_probability: float = 0.3
    none_probability: float = 0.5
    context_drop_probability: float = 0.3
    most_negatives: int = MOST_NEGATIVES


@dataclass(frozen=True)
class Pools:
    """What all recordings together know: names to draw from, and which taxon has which name."""

    common: Candidates
    scientific: Candidates
    sounds: Candidates
    taxa: Mapping[str, Taxon] = field(default_factory=dict)
    """Name without case, common or scientific -> taxon."""
    common_names: Mapping[str, str] = field(default_factory=dict)
    """Name without case, common or scientific -> common name."""
    options: TaskOptions = field(default_factory=TaskOptions)

    def taxon(self, name: str) -> Taxon:
        """Return the taxon that a name stands for; an empty one if it is unknown."""
        known = self.taxa.get(name.casefold())
        return known or (parse_taxon(name) if is_scientific(name) else Taxon())

    def common_name(self, name: str) -> str:
        """Return the common name of a species by any of its names; nothing if it is unknown."""
        return self.common_names.get(name.casefold(), "" if is_scientific(name) else name)

    def wording(self, family: str, draw: Draw) -> str:
        """Return one of the wordings in use: the usual one in two of three draws."""
        known = WORDINGS[family][: max(1, self.options.wordings)]
        return known[0] if draw.random() < 2 / 3 else draw.choice(known)


Family = Callable[[Labelled, Pools, Draw], Iterator[Asked]]


def speaks_of_animals(recording: Labelled) -> bool:
    """Return whether the recording is of a named animal."""
    return recording.kind == "animal" and not recording.is_none


def _names(recording: Labelled, pools: Pools, draw: Draw) -> Iterator[Asked]:
    """Common, scientific and taxonomic name, or the name of any other sound."""
    if recording.is_none or recording.kind in ("unlabelled",):
        return
    if speaks_of_animals(recording):
        taxon = recording.taxon
        yield from _one("common-classification", "name-common", recording.common_name, pools, draw)
        yield from _one("sci-classification", "name-scientific", taxon.species, pools, draw)
        yield from _one("taxonomic-classification", "name-taxonomic", taxon.taxonomic_name, pools, draw)
    elif recording.kind != "speech":
        yield from _one("sound-classification", "name-sound", recording.common_name, pools, draw)


def _ranks(recording: Labelled, pools: Pools, draw: Draw) -> Iterator[Asked]:
    """Genus, family, order and class."""
    if speaks_of_animals(recording):
        for rank, value in (
            ("genus", recording.taxon.genus),
            ("family", recording.taxon.family),
            ("order", recording.taxon.order),
            ("class", recording.taxon.class_),
        ):
            yield from _one(f"{rank}-classification", f"rank-{rank}", value, pools, draw)


def _candidates(recording: Labelled, pools: Pools, draw: Draw) -> Iterator[Asked]:
    """The species, or the sound, among wrong ones."""
    if recording.is_none or recording.kind in ("unlabelled", "speech"):
        return
    if not speaks_of_animals(recording):
        yield from _chosen("sound", "categories", recording.common_name, pools.sounds, recording, pools, draw)
        return
    yield from _chosen("common", "candidates", recording.common_name, pools.common, recording, pools, draw)
    yield from _chosen("sci", "candidates", recording.taxon.species, pools.scientific, recording, pools, draw)


def _detect_list(recording: Labelled, pools: Pools, draw: Draw) -> Iterator[Asked]:
    """Which of a list are heard; in half of the questions none is."""
    if recording.kind == "unlabelled":
        return
    for prefix, pool in (("common", pools.common), ("sci", pools.scientific)):
        present = _present(recording, pools, scientific=prefix == "sci")
        if present is not None:
            yield from detect_list(present, pool, prefix, pools, draw)


def detect_list(
    present: Sequence[tuple[str, Taxon]],
    pool: Candidates,
    prefix: str,
    pools: Pools,
    draw: Draw,
    *,
    ending: str = "",
    hidden: Sequence[tuple[str, Taxon]] = (),
) -> Iterator[Asked]:
    """Yield a question for those of a list that are heard; names with commas are not asked for.

    What is ``hidden`` is heard too but has no name of its own, so it is not offered as a wrong one.
    """
    if any("," in name for name, _ in present):
        return
    options = pools.options
    count = draw.randint(1, options.most_negatives)
    targets = [*present, *hidden] or [("", Taxon())]
    negatives, kind = pool.negatives(
        targets, draw, count=count, random_probability=options.random_negative_probability
    )
    kept = [] if draw.random() < options.none_probability else [name for name, _ in present]
    if not negatives and not kept:
        return
    offered = [*negatives, *kept]
    draw.shuffle(offered)
    prompt = pools.wording("detect-list", draw).format(", ".join([*offered, NONE]))
    text = ", ".join(name for name in offered if name in kept) or NONE
    yield Asked(f"{prefix}-{ending or f'detection-{kind}'}", prompt, text, tuple(kept))


def _detect_open(recording: Labelled, pools: Pools, draw: Draw) -> Iterator[Asked]:
    """All species that are heard."""
    if recording.kind == "unlabelled":
        return
    for prefix, family in (("common", "detect-common"), ("sci", "detect-scientific")):
        present = _present(recording, pools, scientific=prefix == "sci")
        if present is not None and not (len(present) > 1 and any("," in name for name, _ in present)):
            number = "multiple" if len(present) > 1 else "simple"
            names = [name for name, _ in present]
            yield Asked(
                f"{prefix}-{number}-detection", pools.wording(family, draw), answer_list(names), tuple(names)
            )


def _voice(recording: Labelled, pools: Pools, draw: Draw) -> Iterator[Asked]:
    """Call or song, call types, life stage and sex; with audio alone, and with the species named."""
    if not speaks_of_animals(recording):
        return
    kinds = {"song" for one in recording.call_types if one in _SONGS}
    kinds |= {"call" for one in recording.call_types if one in _CALLS or one.endswith(" call")}
    answers = {
        "call-or-song": next(iter(kinds)) if len(kinds) == 1 else "",
        "call-types": ", ".join(sorted(recording.call_types)),
        "life-stage": recording.life_stage if "," not in recording.life_stage else "",
        "sex": recording.sex if recording.sex in ("male", "female") else "",
    }
    for family, answer in answers.items():
        name = recording.common_name or recording.taxon.species
        yield from _one(f"{family}-classification", family, answer, pools, draw)
        if answer and name:
            prompt = pools.wording(f"{family}-named", draw).replace("{name}", name)
            yield Asked(f"{family}-named-classification", prompt, answer, (answer,))


def _with_context(recording: Labelled, pools: Pools, draw: Draw) -> Iterator[Asked]:
    """The name, with what is known of time and place and the recordist's notes."""
    if not speaks_of_animals(recording):
        return
    context = context_of(recording, draw, drop_probability=pools.options.context_drop_probability)
    if context is None:
        return
    answers = {
        "common": (recording.common_name, "name-common"),
        "sci": (recording.taxon.species, "name-scientific"),
        "taxonomic": (recording.taxon.taxonomic_name, "name-taxonomic"),
    }
    known = {prefix: found for prefix, found in answers.items() if found[0]}
    if known:
        prefix = draw.choice(sorted(known))
        answer, family = known[prefix]
        prompt = f"{pools.wording(family, draw)} {context}".strip()
        yield Asked(f"{prefix}-context-classification", prompt, answer, (answer,))


def _captions(recording: Labelled, pools: Pools, draw: Draw) -> Iterator[Asked]:
    """Captions that were given, with common and scientific names, and templated ones."""
    if recording.caption:
        yield from _given_captions(recording, pools, draw)
    if speaks_of_animals(recording) and recording.common_name:
        text = templated_caption(recording)
        yield Asked("caption-templated", pools.wording("caption-templated", draw), text)
    if recording.kind == "unlabelled" or recording.is_none or not recording.common_name:
        return
    sounds = [Sound(label=recording.common_name, kind=recording.kind, taxonomic_name=recording.taxon.species)]
    if not speaks_of_animals(recording):
        yield Asked("caption-plain", pools.wording("caption-plain", draw), caption(sounds))
        return
    yield Asked("caption-common-simple", pools.wording("caption-common", draw), caption(sounds))
    if recording.taxon.species:
        text = caption(sounds, scientific=True)
        yield Asked("caption-scientific-simple", pools.wording("caption-scientific", draw), text)


def _given_captions(recording: Labelled, pools: Pools, draw: Draw) -> Iterator[Asked]:
    given, common, species = recording.caption, recording.common_name, recording.taxon.species
    if not speaks_of_animals(recording):
        yield Asked("caption-plain", pools.wording("caption-plain", draw), given)
        return
    named = {"common": common, "scientific": species}
    found = [kind for kind, name in named.items() if name and _mentions(given, name)]
    for kind, name in named.items():
        if kind in found:
            yield Asked(f"caption-{kind}", pools.wording(f"caption-{kind}", draw), given)
        elif name and found:
            pattern = re.compile(re.escape(named[found[0]]), re.IGNORECASE)
            text = pattern.sub(name.replace("\\", r"\\"), given)
            yield Asked(f"caption-{kind}", pools.wording(f"caption-{kind}", draw), text)
    if not found:
        yield Asked("caption-plain", pools.wording("caption-plain", draw), given)
    if len(given.split()) > 8:
        yield Asked("caption-rich", pools.wording("caption-rich", draw), given)


def templated_caption(recording: Labelled) -> str:
    """Return a strict caption: ``Eurasian Wren; song; adult; male; background: European Robin``."""
    parts = [
        recording.common_name,
        ", ".join(sorted(recording.call_types)) or "vocalization",
        recording.life_stage,
        recording.sex,
        f"background: {', '.join(sorted(recording.background))}" if recording.background else "",
    ]
    return "; ".join(part for part in parts if part)


def _music(recording: Labelled, pools: Pools, draw: Draw) -> Iterator[Asked]:
    """Instrument, pitch, velocity and timbre of a note."""
    if recording.kind != "music":
        return
    instrument = recording.instrument or recording.common_name
    yield from _one("music-instrument-classification", "music-instrument", instrument, pools, draw)
    if recording.pitch_midi is not None:
        hertz = 440.0 * 2.0 ** ((recording.pitch_midi - 69.0) / 12.0)
        yield from _one("music-pitch", "music-pitch", f"{hertz:.1f}", pools, draw)
    if recording.velocity_midi is not None and 0 <= recording.velocity_midi <= 127:
        velocity = f"{recording.velocity_midi / 127:.2f}"
        yield from _one("music-velocity", "music-velocity", velocity, pools, draw)
    known = [one for one in sorted(recording.qualities) if one in wordings.QUALITIES]
    text = " ".join(draw.choice(wordings.QUALITIES[one]) for one in known)
    yield from _one("music-quality-caption", "music-quality", text, pools, draw)


def _kind(recording: Labelled, pools: Pools, draw: Draw) -> Iterator[Asked]:
    """Whether it is speech, music, an animal or something else."""
    names = {"animal": "animal", "unlabelled": "animal", "speech": "speech", "music": "music"}
    if recording.kind == "animal" and not (recording.common_name or recording.taxon.genus):
        return  # a soundscape holds more than animals
    yield from _one("kind-classification", "kind", names.get(recording.kind, "something else"), pools, draw)


def _free(recording: Labelled, pools: Pools, draw: Draw) -> Iterator[Asked]:
    """A question that came with the recording."""
    if recording.question and recording.answer:
        yield Asked("free-qa", recording.question, recording.answer)


FAMILIES: dict[str, Family] = {
    "names": _names,
    "ranks": _ranks,
    "candidates": _candidates,
    "detection-list": _detect_list,
    "detection-open": _detect_open,
    "voice": _voice,
    "context": _with_context,
    "captions": _captions,
    "music": _music,
    "kind": _kind,
    "free": _free,
}
"""Families that ask about one recording; soundscapes and counting are made from events and from several."""


# --- shared -----------------------------------------------------------------------------------------------


def _one(task: str, family: str, answer: str, pools: Pools, draw: Draw) -> Iterator[Asked]:
    """Yield a question for one name, if it is known."""
    wording = pools.wording(family, draw)
    if answer:
        yield Asked(task, wording, answer, (answer,))


def _chosen(
    prefix: str, family: str, name: str, pool: Candidates, recording: Labelled, pools: Pools, draw: Draw
) -> Iterator[Asked]:
    """Yield a question for one name in a shuffled list."""
    if not name or "," in name:
        return
    targets = [(name, recording.taxon), *(_present(recording, pools, scientific=prefix == "sci") or [])]
    negatives, kind = pool.negatives(
        targets,
        draw,
        count=draw.randint(1, pools.options.most_negatives),
        random_probability=pools.options.random_negative_probability if prefix != "sound" else 1.0,
    )
    if negatives:
        offered = [*negatives, name]
        draw.shuffle(offered)
        prompt = pools.wording(family, draw).format(", ".join(offered))
        yield Asked(f"{prefix}-classification-{kind}", prompt, name, (name,))


def _present(recording: Labelled, pools: Pools, *, scientific: bool) -> list[tuple[str, Taxon]] | None:
    """Return the species that are heard, the focal one first; None where a name is not known."""
    if recording.is_none or recording.kind in _SILENT_KINDS:
        return []
    if recording.kind != "animal":
        return None
    focal = recording.taxon.species if scientific else recording.common_name
    found = [(focal, recording.taxon)]
    for name in recording.background:
        taxon = pools.taxon(name)
        other = taxon.species if scientific else pools.common_name(name)
        found.append((other, taxon))
    if not all(name for name, _ in found):
        return None
    return list({Candidates.key(name, taxon): (name, taxon) for name, taxon in found}.values())


def _mentions(text: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}", text, re.IGNORECASE) is not None
