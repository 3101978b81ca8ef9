"""Vectors of windows from the audio encoder alone: made, kept in tables, searched."""
