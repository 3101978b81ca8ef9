"""From anyone's labelled recordings to a benchmark in the form of BEANS-Zero."""
