"""The summary of a survey: detections by label, hour, day and site, as one page and tables."""

from naturelm_audio.survey.writing import Report, write_report

__all__ = ["Report", "write_report"]
