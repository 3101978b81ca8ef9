"""``from NatureLM.models import NatureLM``."""

# Imported eagerly: the submodule of the same name would otherwise hide the class.
from NatureLM.models.NatureLM import NatureLM

__all__ = ["NatureLM"]
