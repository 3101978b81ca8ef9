"""The documentation's commands and snippets, run as a reader would (P1: every command of the README works).

A fenced block of `sh` or `python` runs unless the line above says `<!-- not run: needs ... -->`. Option names
and imports are checked in every block. Blocks run in a copy of what they name, so nothing is left behind.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<needs>[^\n]*?) -->\n+)?```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
# Commands of a shell block that are checked without being run: they would install an environment first.
NOT_RUN = {"make", "pip", "git", "pre-commit"}


@dataclass(frozen=True)
class Block:
    """One fenced block; `needs` says why it is not run, if it isn't."""

    page: str
    line: int
    language: str
    code: str
    needs: str | None

    def __str__(self):
        return f"{self.page}:{self.line}"


def blocks(languages):
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if match["language"] in languages:
                line = text[: match.start("code")].count("\n") + 1
                found.append(Block(page.name, line, match["language"], match["code"], match["needs"]))
    return found


def commands(block):
    """The block's command lines as lists of words; continuation lines are joined, comments dropped."""
    lines = block.code.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


SHELL = [(block, words) for block in blocks({"sh", "bash", "console"}) for words in commands(block)]
PYTHON = blocks({"python", "py"})


def environment(folder):
    """`naturelm`, `beans` and `python` of this checkout come first on the path."""
    scripts = folder / "bin"
    scripts.mkdir(exist_ok=True)
    beans = "-c 'from naturelm_audio.cli import beans_main; beans_main()'"
    for name, arguments in {"naturelm": "-m naturelm_audio", "beans": beans, "python": ""}.items():
        script = scripts / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        script.chmod(0o755)
    path = os.pathsep.join([str(scripts), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}


def run(words, folder):
    return subprocess.run(
        words, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=240, check=False
    )


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder that looks like the checkout, shared by all blocks like a reader's shell."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("assets", "configs", "examples"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


@functools.cache
def help_text(*words):
    main = "main" if words[0] == "naturelm" else "beans_main"
    code = f"from naturelm_audio.cli import {main} as main; main()"
    shown = subprocess.run(
        [sys.executable, "-c", code, *words[1:], "--help"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return shown.stdout


def unknown_options(words):
    """Options of a `naturelm` or `beans` command line that its help doesn't have."""
    known = set(
        re.findall(r"(?<![\w-])--?[a-z][\w-]*", help_text(*words[: 2 if words[0] == "naturelm" else 1]))
    )
    return [word for word in words[1:] if word.startswith("--") and word.split("=")[0] not in known]


@pytest.mark.parametrize(("block", "words"), SHELL, ids=[f"{b}:{shlex.join(w)[:60]}" for b, w in SHELL])
def test_options_of_each_command_exist(block, words):
    if words[0] in ("naturelm", "beans"):
        assert unknown_options(words) == []
    elif words[0] == "make":
        for target in [word for word in words[1:] if "=" not in word]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), (
                f"{block}: {target}"
            )


RUN = [(block, words) for block, words in SHELL if block.needs is None and Path(words[0]).name not in NOT_RUN]
RUN = [(block, words) for block, words in RUN if not words[0].startswith(".venv/")]


@pytest.mark.slow
@pytest.mark.parametrize(("block", "words"), RUN, ids=[f"{b}:{shlex.join(w)[:60]}" for b, w in RUN])
def test_P1_each_command_runs_as_written(block, words, workplace):
    done = run(words, workplace)
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    if "--output-path" in words:
        assert (
            (workplace / words[words.index("--output-path") + 1]).read_text(encoding="utf-8").endswith("\n")
        )


@pytest.mark.slow
@pytest.mark.parametrize("block", [block for block in PYTHON if block.needs is None], ids=str)
def test_P1_each_snippet_runs_as_written(block, workplace):
    done = run(["python", "-c", block.code], workplace)
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    assert done.stdout.strip() or "print(" not in block.code


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_each_import_of_a_snippet_exists(block):
    for node in ast.walk(ast.parse(block.code)):
        if isinstance(node, ast.ImportFrom):
            module = import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_the_pages_have_blocks_of_both_kinds():
    assert any(words[0] == "naturelm" for _, words in RUN)
    assert any(block.needs is None for block in PYTHON)


def links(page):
    """Targets of relative links and files named in the README's map."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [target for target in re.findall(r"\]\(([^)#]+)", text) if "://" not in target]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    assert [target for target in links(page) if not (page.parent / target).exists()] == []


def test_the_map_names_files_that_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text[text.index("## Map") :].split("```")[1]
    folder, missing = ROOT, []
    for line in section.strip().splitlines():
        name = line.split()[0]
        folder = ROOT / name if not line.startswith(" ") else folder
        path = folder / name if line.startswith(" ") else folder
        missing += [] if path.exists() else [str(path.relative_to(ROOT))]
    assert missing == []


def test_the_map_names_every_module():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text[text.index("## Map") :].split("```")[1]
    modules = {path.name for path in (ROOT / "src" / "naturelm_audio").glob("[!_]*.py")}
    assert sorted(name for name in modules if f" {name} " not in section) == []


# --- the checks themselves ----------------------------------------------------------------------------------


def test_continuation_lines_are_one_command():
    block = Block(
        "x", 1, "sh", "naturelm infer --query 'a b' \\\n  --audio-path x  # why\n\nmake test\n", None
    )
    assert commands(block) == [["naturelm", "infer", "--query", "a b", "--audio-path", "x"], ["make", "test"]]


def test_a_block_that_is_not_run_says_what_it_needs():
    match = FENCE.search("text\n<!-- not run: needs the moon -->\n```sh\nnaturelm fly\n```\n")
    assert match["needs"] == "needs the moon"
    assert match["code"] == "naturelm fly\n"


def test_a_misspelt_option_is_found():
    assert unknown_options(["naturelm", "infer", "--audio-path", "x", "--quary", "y"]) == ["--quary"]
