"""What is installed: the wheel's content and commands, the pins, and an import that does nothing.

Ids in test names are those of the project's list of defects in the reference (P3: packaging, P5: network at
import, P6: settings from the environment, P10: heavy help).
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
MAX_WEIGHT_BYTES = 40_000_000
MAX_IMPORT_SECONDS = 0.2
MAX_HELP_SECONDS = 0.3

# Distribution names whose import name differs.
IMPORT_NAME_OF = {"pyyaml": "yaml", "pillow": "PIL", "scikit-learn": "sklearn", "types-pyyaml": "yaml"}


def python(*args, cwd, **env):
    """Run this interpreter in `cwd` with extra environment variables; the finished process."""
    return subprocess.run(
        [sys.executable, *args],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# --- pins ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pins():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def test_constraints_hold_names_and_versions_and_nothing_else():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = text.splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!_-]+", line)] == []
    assert not set("+@:/ \t") & set(text)
    assert lines == sorted(lines, key=lambda line: line.upper()), "make lock sorts them"
    assert len({canonicalize_name(line.split("==")[0]) for line in lines}) == len(lines)


def test_constraints_pin_the_torch_that_was_tested(pins):
    assert pins["torch"] == "2.13.0"


@pytest.mark.parametrize("line", [*PROJECT["dependencies"], *(x for extra in EXTRAS.values() for x in extra)])
def test_every_requirement_is_pinned_inside_its_range(line, pins):
    requirement = Requirement(line)
    name = canonicalize_name(requirement.name)
    if name == PROJECT["name"]:
        assert requirement.extras <= set(EXTRAS)
        return
    assert name in pins, f"{name} is not in constraints.txt: run make lock"
    assert requirement.specifier.contains(pins[name]), f"{name}=={pins[name]} is out of range"


def test_every_requirement_says_who_needs_it():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text[text.index("dependencies = [") : text.index("[project.scripts]")]
    entries = [line for line in section.splitlines() if line.startswith('    "')]
    silent = [line.strip() for line in entries if "#" not in line and PROJECT["name"] not in line]
    assert silent == []


def third_party_imports(folder):
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            for root in {name.split(".")[0] for name in names}:
                if root not in sys.stdlib_module_names:
                    yield root, f"{path.relative_to(ROOT)}:{node.lineno}"


@pytest.mark.parametrize("folder", ["src", "tests", "examples", "benchmarks"])
def test_every_import_is_a_declared_requirement(folder):
    lines = [*PROJECT["dependencies"], *(x for extra in EXTRAS.values() for x in extra)]
    names = [canonicalize_name(Requirement(line).name) for line in lines]
    known = {IMPORT_NAME_OF.get(name, name.replace("-", "_")) for name in names}
    # What transformers and the hub's library bring and pin themselves; and files beside the importer.
    known |= {"naturelm_audio", "NatureLM", "tokenizers", "packaging", "httpx2"}
    # Benchmarks start the web app as its tests do.
    beside = {"src": [], "benchmarks": ["benchmarks", "tests"]}.get(folder, [folder])
    local = {path.stem for name in beside for path in (ROOT / name).rglob("*.py")}
    unknown = [
        f"{where} imports {root}" for root, where in third_party_imports(folder) if root not in known | local
    ]
    assert unknown == []


# --- the wheel ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout, built once, offline."""
    folder = tmp_path_factory.mktemp("wheel")
    built = python("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
    assert built.returncode == 0, built.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with the wheel's files and its commands, without its dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder), str(wheel))
    done = python(*pip, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_P3_wheel_holds_both_packages_and_no_generic_module(wheel):
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"naturelm_audio", "NatureLM"}


def test_P3_wheel_holds_all_sources_types_and_configs(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = {str(p.relative_to(ROOT / "src").as_posix()) for p in (ROOT / "src").rglob("*.py")}
    data = {"naturelm_audio/py.typed", "NatureLM/py.typed", "naturelm_audio/configs/inference.yml"}
    assert (sources | data) - names == set()
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_configs_of_the_package_are_those_of_the_checkout():
    packaged = {p.name: p.read_text() for p in (ROOT / "src" / "naturelm_audio" / "configs").glob("*.yml")}
    assert packaged
    assert packaged == {name: (ROOT / "configs" / name).read_text() for name in packaged}


def test_bundled_weights_are_in_the_wheel_and_small(wheel):
    with zipfile.ZipFile(wheel) as archive:
        weights = {i.filename: i.file_size for i in archive.infolist() if i.filename.endswith(".safetensors")}
    if not list((ROOT / "src").rglob("*.safetensors")):
        pytest.skip("the checkout has no bundled weights yet")
    assert weights
    assert sum(weights.values()) <= MAX_WEIGHT_BYTES


def test_wheel_names_both_commands(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        parser = ConfigParser()
        parser.read_string(archive.read(name).decode())
    assert dict(parser["console_scripts"]) == {
        "naturelm": "naturelm_audio.cli:main",
        "beans": "naturelm_audio.cli:beans_main",
    }


@pytest.mark.parametrize("command", ["naturelm", "beans"])
def test_P3_commands_of_the_installed_wheel_print_their_help(installed, command, tmp_path):
    run = python(str(installed / "bin" / command), "--help", cwd=tmp_path, PYTHONPATH=str(installed))
    assert run.returncode == 0, run.stderr
    assert command in run.stdout.lower()


def test_P3_the_installed_package_is_the_wheel_and_knows_its_version(installed, tmp_path):
    code = "import naturelm_audio as n; print(n.__file__, n.__version__)"
    run = python("-P", "-c", code, cwd=tmp_path, PYTHONPATH=str(installed))
    path, version = run.stdout.split()
    assert Path(path).is_relative_to(installed)
    assert next(installed.glob("naturelm_audio-*.dist-info")).name == f"naturelm_audio-{version}.dist-info"


# --- importing does nothing ---------------------------------------------------------------------------------

# An audit hook sees every socket and every file opened for writing, whichever library does it.
GUARDED_IMPORT = """
import os, sys
def hook(event, args):
    if event.startswith("socket.") and event not in ("socket.gethostname", "socket.__new__"):
        raise RuntimeError(f"network at import: {event} {args}")
    if event == "open" and set("wax+") & set(str(args[1] or "")) and args[0] != os.devnull:
        raise RuntimeError(f"write at import: {args[0]}")
sys.addaudithook(hook)
import naturelm_audio
for name in naturelm_audio.__all__:
    getattr(naturelm_audio, name)
print("quiet")
"""


def test_P5_importing_everything_public_opens_no_socket_and_writes_no_file(tmp_path):
    run = python("-B", "-c", GUARDED_IMPORT, cwd=tmp_path, PYTHONPATH=str(ROOT / "src"), HOME=str(tmp_path))
    assert run.stdout == "quiet\n", run.stderr[-2000:]
    assert run.stderr == ""


READS_ENVIRONMENT = r"(?:os\.)?(?:environ\.get\(|environ\[|getenv\(|environ\.setdefault\()'([^']+)'"


def environment_names(path):
    """Constant names that a source file reads from the environment."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        text = ast.unparse(node) if isinstance(node, ast.Call | ast.Subscript) else ""
        if found := re.match(
            r"(?:os\.)?(?:environ\.get\(|environ\[|getenv\(|environ\.setdefault\()'([^']+)'", text
        ):
            yield found[1]


# Of others: OMP_NUM_THREADS is reported, XDG_CACHE_HOME holds caches, HF_ names steer the hub's library, and
# GRADIO_ names are set, not read.
FOREIGN_NAMES = re.compile(r"OMP_NUM_THREADS|XDG_CACHE_HOME|HF_\w+|GRADIO_(ANALYTICS_ENABLED|TEMP_DIR)")


@pytest.mark.parametrize("path", sorted((ROOT / "src").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_P6_only_prefixed_environment_variables_are_read(path):
    names = set(environment_names(path))
    assert {n for n in names if not n.startswith("NATURELM_") and not FOREIGN_NAMES.fullmatch(n)} == set()


def test_P6_generic_names_in_the_environment_change_nothing(tmp_path):
    code = "from naturelm_audio.options import GenerateOptions; print(GenerateOptions())"
    src = str(ROOT / "src")
    plain = python("-c", code, cwd=tmp_path, PYTHONPATH=src)
    clouded = python(
        "-c", code, cwd=tmp_path, PYTHONPATH=src, MODEL="x", RUN="y", GENERATE="z", NUM_BEAMS="7"
    )
    assert plain.returncode == 0, plain.stderr
    assert clouded.stdout == plain.stdout


# --- time ---------------------------------------------------------------------------------------------------


def fastest(measure, limit_seconds, attempts=5):
    """The least of several measured times: other work on the machine only ever adds to it."""
    times = []
    while len(times) < attempts and min(times, default=limit_seconds) >= limit_seconds:
        times.append(measure())
    return min(times)


def test_importing_the_package_is_fast(tmp_path):
    code = "import time; t = time.process_time(); import naturelm_audio; print(time.process_time() - t)"

    def measure():
        return float(python("-c", code, cwd=tmp_path, PYTHONPATH=str(ROOT / "src")).stdout)

    assert fastest(measure, MAX_IMPORT_SECONDS) < MAX_IMPORT_SECONDS


@pytest.mark.parametrize("command", [(), ("infer",)], ids=["naturelm", "naturelm infer"])
def test_P10_help_of_each_command_is_fast(command, tmp_path):
    def spent():  # by processes that have ended: a machine with other work takes longer, but no more of this
        return sum(os.times()[2:4])

    def measure():
        before = spent()
        run = python("-m", "naturelm_audio", *command, "--help", cwd=tmp_path, PYTHONPATH=str(ROOT / "src"))
        assert run.returncode == 0, run.stderr
        return spent() - before

    assert fastest(measure, MAX_HELP_SECONDS) < MAX_HELP_SECONDS


# --- the one entry ------------------------------------------------------------------------------------------


def test_the_makefile_lists_its_targets():
    run = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    listed = {line.split(" ")[0] for line in run.stdout.splitlines()}
    assert listed >= {"help", "demo", "test", "lint", "format", "types", "bench", "parity", "lock", "clean"}


def test_the_makefile_installs_extras_that_exist():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    extras = re.search(r"^DEV_EXTRAS := (\S+)$", text, re.MULTILINE)[1].split(",")
    assert set(extras) <= set(EXTRAS)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_all_extra_holds_every_extra_for_users():
    assert Requirement(EXTRAS["all"][0]).extras == set(EXTRAS) - {"all", "dev", "oracles", "distill"}


def test_hooks_are_local_so_nothing_is_downloaded():
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"repo: (\S+)", text)) == {"local"}
