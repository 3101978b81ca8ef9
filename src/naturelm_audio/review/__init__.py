"""Clips to listen to: chosen from results, cut with their spectrograms, and a page to mark right or wrong."""
