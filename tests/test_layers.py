"""The import rule: a module imports only modules listed above it in ORDER, so the tree has no cycles."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src"

# Top to bottom: sound in, the model, words out, training, surfaces. A new module gets its place here. The
# modules of a package named with a star share one place and may import each other, without a cycle.
LAYERS = [
    "errors files format_names recorder_names options.* recordings decoders resampling audio windows",
    "listening prompts",
    "model.config model.fbank model.beats model.bridge model.lora model.naturelm model.processor model",
    "checkpoint.unpickle checkpoint.tensors checkpoint.placement checkpoint.sources checkpoint.layouts",
    "checkpoint.adapters checkpoint.tokens checkpoint.saving checkpoint.official checkpoint.loading",
    "checkpoint.tower checkpoint sequence",
    "records marks metadata.* run_files journal labels label_lists calibration formats.* progress generate",
    "batching score pipeline",
    "metrics components matching detections predictions spice scored scoring ranking scoring_plot",
    "scoring_report scoring_files scoring_command run_outputs runs beans.* beans_command",
    "metadata_command survey.* report_command",
    "train train.manifest.* train.augment train.questions train.scene_options train.data train.teacher",
    "train.heads train.synthetic train.tokenizer train.build train.evaluate",
    "train.yaml_options train.recipe train.stored train.rows train.augmentation train.draws train.collate",
    "train.initial train.schedule train.scoring train.validation train.checkpoints train.sharding",
    "train.arguments train.averaging train.callbacks train.resuming train.trainer train.streamed",
    "train.stream_trainer train.learner train.scenes train.scene_validation train.scene_trainer",
    "train.scene_runs",
    "train.running train.compare train.judging train.finetune train.commands_train train.commands",
    "calibrating calibration_report calibrate_command",
    "beans_build.* beans_build_command spectrograms embeddings.* review.* embed_command clips_command",
    "convert_command web.* web_command cluster serve cli __main__",
]
ORDER = [name for layer in LAYERS for name in layer.split()]
# They import in functions, so that help is quick.
COMMANDS = {
    "calibrate_command",
    "convert_command",
    "cli",
    "scoring_command",
    "train.commands",
    "train.commands_train",
    "beans_build_command",
    "beans_command",
    "clips_command",
    "embed_command",
    "metadata_command",
    "report_command",
    "web_command",
}
SURFACES = {"cluster", "serve", "cli"}
# Importable in milliseconds; "" is the package itself.
LIGHT = {
    "",
    "errors",
    "format_names",
    "options",
    "convert_command",
    "scoring_command",
    "train",
    "cli",
    "__main__",
}
LIGHT |= {"calibrate_command"}
LIGHT |= {f"options.{name}" for name in ("checks", "names", "generation", "infer", "run_config")}
LIGHT |= {"recorder_names", "metadata_command", "report_command", "web_command"}
LIGHT |= {"beans_build_command", "beans_command", "clips_command", "embed_command"}
LIGHT |= {"train.commands", "train.commands_train"}
# numpy comes with transformers and is what its feature extractors take and return.
MODEL_MAY_IMPORT = {"torch", "transformers", "numpy"}
LIGHT_MAY_IMPORT = {"click", "yaml"}
# Tensors are part of the official signatures, so the compatibility package may name torch.
COMPAT_MAY_IMPORT = {"naturelm_audio", "NatureLM", "torch"}


@dataclass(frozen=True)
class Import:
    """One imported module of one line; `target` is absolute, `deferred` means inside a function."""

    where: str
    target: str
    relative: bool
    deferred: bool
    typing_only: bool


def modules(package: str) -> dict[str, Path]:
    """Dotted name below the package -> file; the package's own `__init__` is ""."""
    return modules_below(SRC / package)


@cache
def modules_below(root: Path) -> dict[str, Path]:
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def absolute_target(node: ast.ImportFrom, module: str, package: str, is_package: bool) -> str:
    if node.level == 0:
        return node.module or ""
    base = [package, *([p for p in module.split(".") if p])]
    keep = len(base) - node.level + (1 if is_package else 0)
    return ".".join([*base[:keep], *((node.module or "").split(".") if node.module else [])])


def imports_of(module: str, path: Path, package: str = "naturelm_audio") -> list[Import]:
    def visit(node: ast.AST, deferred: bool, typing_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            where = f"{path.relative_to(SRC.parent)}:{getattr(child, 'lineno', 0)}"
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(where, alias.name, False, deferred, typing_only)
            elif isinstance(child, ast.ImportFrom):
                target = absolute_target(child, module, package, path.name == "__init__.py")
                for full in resolved(target, [alias.name for alias in child.names], package):
                    yield Import(where, full, child.level > 0, deferred, typing_only)
            else:
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                guard = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
                yield from visit(child, deferred or inside, typing_only or guard)

    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return list(visit(tree, deferred=False, typing_only=False))


def resolved(target: str, names: list[str], package: str) -> list[str]:
    """`from package import module` names modules, `from package.module import name` one module."""
    known = {f"{package}.{name}" if name else package for name in modules(package)}
    return sorted({f"{target}.{name}" if f"{target}.{name}" in known else target for name in names})


def position(module: str) -> int | None:
    """The module's place from the top; None if it has none."""
    parents = [f"{module.rsplit('.', 1)[0]}.*", f"{module}.*"]
    return next((ORDER.index(name) for name in [module, *parents] if name in ORDER), None)


def is_above(target: str, module: str) -> bool:
    there, here = position(target), position(module)
    if there is None or here is None:
        return False
    return there < here or (there == here and ORDER[here].endswith("*"))


OURS = modules("naturelm_audio")
COMPAT = modules("NatureLM")


def below(target: str) -> str | None:
    """The name in ORDER of a first-party target, or None for anything else."""
    if target == "naturelm_audio":
        return ""
    prefix = "naturelm_audio."
    return target.removeprefix(prefix) if target.startswith(prefix) else None


def test_every_module_has_its_place_in_the_order():
    missing = [name for name in OURS if name and position(name) is None]
    assert not missing, f"place these modules in ORDER of {Path(__file__).name}: {missing}"


@pytest.mark.parametrize("module", [name for name in OURS if name])
def test_a_module_imports_only_modules_above_it(module):
    wrong = []
    for found in imports_of(module, OURS[module]):
        target = below(found.target)
        if target is None:
            continue
        # The bare package is light and holds only the version and lazy names.
        if target and not is_above(target, module):
            wrong.append(f"{found.where} imports {found.target}")
        elif found.deferred and module not in COMMANDS:
            wrong.append(f"{found.where} imports {found.target} inside a function")
    assert not wrong, "\n".join(wrong)


def test_there_is_no_cycle():
    graph = {
        module: {
            target
            for found in imports_of(module, path)
            if (target := below(found.target)) not in {None, module}
        }
        for module, path in OURS.items()
    }
    del graph[""]  # the package itself names what it resolves on first use
    try:
        TopologicalSorter({module: targets - {""} for module, targets in graph.items()}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("module", [name for name in OURS if name.split(".")[0] == "model"])
def test_the_model_is_a_leaf_that_can_travel_with_a_checkpoint(module):
    wrong = []
    for found in imports_of(module, OURS[module]):
        root = found.target.split(".")[0]
        sibling = found.relative and found.target.startswith("naturelm_audio.model")
        if not (sibling or root in MODEL_MAY_IMPORT or root in sys.stdlib_module_names):
            wrong.append(
                f"{found.where} imports {found.target}; only torch, transformers and .siblings may be"
            )
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", sorted(LIGHT & set(OURS)))
def test_light_modules_import_nothing_heavy_at_module_level(module):
    wrong = []
    for found in imports_of(module, OURS[module]):
        root, ours = found.target.split(".")[0], below(found.target)
        light = (
            root in sys.stdlib_module_names
            or root in LIGHT_MAY_IMPORT
            or (ours is not None and ours in LIGHT)
        )
        if not (light or found.deferred or found.typing_only):
            wrong.append(f"{found.where} imports {found.target} at module level")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", list(OURS))
def test_surfaces_and_the_compatibility_package_are_imported_by_nobody(module):
    wrong = []
    for found in imports_of(module, OURS[module]):
        target = below(found.target)
        # The command line starts each of the others, inside the command that needs it.
        started = (module, target) == ("__main__", "cli") or (module == "cli" and found.deferred)
        if (target in SURFACES and not started) or found.target.split(".")[0] == "NatureLM":
            wrong.append(f"{found.where} imports {found.target}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", list(COMPAT))
def test_the_compatibility_package_imports_only_ours(module):
    wrong = []
    for found in imports_of(module, COMPAT[module], package="NatureLM"):
        root = found.target.split(".")[0]
        if root not in COMPAT_MAY_IMPORT and root not in sys.stdlib_module_names:
            wrong.append(f"{found.where} imports {found.target}")
        if below(found.target) in SURFACES:
            wrong.append(f"{found.where} imports {found.target}, a surface")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", [*OURS.values(), *COMPAT.values()], ids=lambda p: str(p.relative_to(SRC)))
def test_library_code_has_no_assert_and_no_print(path):
    wrong = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        printed = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
        if isinstance(node, ast.Assert) or printed:
            wrong.append(f"{path.relative_to(SRC.parent)}:{node.lineno}")
    assert not wrong, "assert or print in library code: " + ", ".join(wrong)


def test_the_rule_sees_a_relative_import_of_the_parent(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "SRC", tmp_path / "src")
    path = tmp_path / "src" / "naturelm_audio" / "model" / "beats.py"
    path.parent.mkdir(parents=True)
    path.write_text("from ..errors import Lost\nfrom .fbank import frames\ndef f():\n    import numba\n")
    found = imports_of("model.beats", path)
    assert [(i.target, i.relative, i.deferred) for i in found] == [
        ("naturelm_audio.errors", True, False),
        ("naturelm_audio.model.fbank", True, False),
        ("numba", False, True),
    ]
