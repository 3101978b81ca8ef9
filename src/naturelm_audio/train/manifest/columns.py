"""What the columns of archives' tables are called."""

from __future__ import annotations

__all__ = ["COLUMNS", "PASSED_OVER"]

# Ours -> what archives call it; compared without case, blanks and units.
COLUMNS: dict[str, tuple[str, ...]] = {
    "path": ("path", "file", "filename", "file_name", "audio_path", "audiofilename", "filepath", "audio"),
    "common_name": ("common_name", "label", "english_name", "en", "common", "vernacular_name"),
    "scientific_name": ("scientific_name", "species", "taxonomic_name", "binomial", "sci_name"),
    "phylum": ("phylum",),
    "class_": ("class", "class_", "taxonomic_class"),
    "order": ("order", "taxonomic_order"),
    "family": ("family",),
    "genus": ("genus", "gen"),
    "epithet": ("sp", "specific_epithet", "specificEpithet"),
    "kind": ("kind", "category", "data_category"),
    "call_types": ("call_type", "call_types", "type", "vocalization_type", "sound_type"),
    "life_stage": ("life_stage", "stage", "age", "lifeStage"),
    "sex": ("sex",),
    "notes": ("notes", "remarks", "rmk", "comment", "comments"),
    "caption": ("caption", "description", "text"),
    "question": ("question",),
    "answer": ("answer",),
    "recorded_at": ("recorded_at", "datetime", "date_time", "eventDate"),
    "date": ("date", "recording_date"),
    "time": ("time", "recording_time", "eventTime"),
    "place": ("place", "location", "loc", "locality", "region"),
    "country": ("country", "cnt"),
    "latitude": ("latitude", "lat", "decimalLatitude"),
    "longitude": ("longitude", "lon", "lng", "long", "decimalLongitude"),
    "altitude": ("altitude", "alt", "elevation", "elevation_m", "altitude_m"),
    "background": ("background", "also", "other_species", "background_species"),
    "individual": ("individual", "individual_id", "speaker", "speaker_id"),
    "instrument": ("instrument", "instrument_name"),
    "pitch_midi": ("pitch_midi", "midi", "pitch"),
    "velocity_midi": ("velocity_midi", "velocity"),
    "qualities": ("qualities", "qualities_str", "quality_tags"),
    "seconds": ("seconds", "duration", "duration_seconds", "length_seconds", "duration_s"),
    "recording_id": ("recording_id", "recording", "id", "source_recording"),
    "split": ("split", "fold_split", "partition"),
    "events": ("events", "annotations"),
    "source": ("source", "source_dataset", "dataset"),
    "licence": ("licence", "license", "lic"),
    "channel": ("channel",),
    "start_seconds": ("start_seconds",),
    "end_seconds": ("end_seconds",),
    "mark": ("mark",),
    "correct_label": ("correct_label",),
}  # fmt: skip
PASSED_OVER = frozenset(
    {
        "original_sample_rate",
        "sample_rate",
        "score",
        "recordist",
        "rec",
        "url",
        "quality",
        "q",
        "subspecies",
        "ssp",
    }
)
"""Columns of archives that no question is about."""
