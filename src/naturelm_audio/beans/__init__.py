"""Running a benchmark: rows -> answers of a model -> predictions, scores, a report and a plot."""
