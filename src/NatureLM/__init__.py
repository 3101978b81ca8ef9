"""The official package's names, for code that was written for it. New code imports ``naturelm_audio``.

Thin on purpose: each module adapts a signature and calls ``naturelm_audio``.
"""
