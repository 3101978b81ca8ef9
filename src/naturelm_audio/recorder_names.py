"""What ``--recorder`` takes: whose times and places are believed. Imports nothing, for quick help."""

from __future__ import annotations

__all__ = ["RECORDERS"]

RECORDERS = ("auto", "audiomoth", "song-meter", "guano", "soundtrap", "batlogger", "filename", "none")
