"""The public surface: complete, sorted, light to import, and what the documentation names."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import naturelm_audio

SRC = Path(naturelm_audio.__file__).resolve().parent


def test_all_is_sorted_and_without_doubles():
    assert naturelm_audio.__all__ == sorted(set(naturelm_audio.__all__))


def test_all_names_exactly_what_is_resolved_lazily():
    assert set(naturelm_audio.__all__) == {*naturelm_audio._HOME_OF, "__version__"}


@pytest.mark.parametrize("name", naturelm_audio.__all__)
def test_each_public_name_resolves(name):
    assert getattr(naturelm_audio, name) is not None
    assert name in dir(naturelm_audio)


def test_type_checkers_see_the_same_names_as_run_time():
    tree = ast.parse((SRC / "__init__.py").read_text(encoding="utf-8"))
    guard = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in guard.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == naturelm_audio._HOME_OF


def test_an_unknown_name_is_an_attribute_error_that_names_it():
    with pytest.raises(AttributeError, match="no attribute 'Pipelin'"):
        _ = naturelm_audio.Pipelin


def declared_all(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return ast.literal_eval(node.value)
    return None


@pytest.mark.parametrize("path", sorted(SRC.glob("[!_]*.py")), ids=lambda path: path.stem)
def test_what_a_module_declares_public_exists(path):
    names = declared_all(path)
    if names is None:
        return
    module = import_module(f"naturelm_audio.{path.stem}")
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(module, name)] == []


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, naturelm_audio; print(sorted(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SRC.parent, timeout=60
    )
    loaded = {name.strip("' ").split(".")[0] for name in run.stdout.strip("[]\n").split(",")}
    assert not loaded & {"torch", "transformers", "numpy", "soundfile", "soxr", "click", "yaml", "tqdm"}
