"""Training: from labelled recordings to a model. Needs the extra `train`."""
