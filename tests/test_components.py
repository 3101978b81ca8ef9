from __future__ import annotations

import json

import pytest

from naturelm_audio.components import COMPONENTS_FILE, beans_zero, benchmark_of, read_benchmark
from naturelm_audio.errors import LabelError, OptionsError
from naturelm_audio.labels import LabelSet


def test_beans_zero_has_all_its_rows():
    benchmark = beans_zero()
    assert len(benchmark.components) == 22
    assert sum(component.rows or 0 for component in benchmark) == 91_965
    assert [component.name for component in benchmark][:3] == ["esc50", "watkins", "cbi"]


@pytest.mark.parametrize(
    ("name", "labels"),
    [("esc50", 50), ("watkins", 31), ("cbi", 264), ("enabirds", 34), ("rfcx", 25), ("unseen-family-cmn", 40)],
)
def test_numbers_of_labels(name, labels):
    assert len(LabelSet(beans_zero().components[name].labels)) == labels


def test_scientific_and_taxonomic_lists_are_in_the_same_order():
    for level in ("species", "genus", "family"):
        scientific = beans_zero().components[f"unseen-{level}-sci"].labels
        taxonomic = beans_zero().components[f"unseen-{level}-tax"].labels
        assert [label.split(" ", 4)[4] for label in taxonomic] == list(scientific)


def test_b6_clip_lengths():
    shortened = {item.name: item.max_seconds for item in beans_zero() if item.max_seconds != 10}
    assert shortened == {"esc50": 5, "watkins": 3, "humbugdb": 3}


def test_the_prompt_of_esc50_lists_its_labels():
    component = beans_zero().components["esc50"]
    assert component.prompt is not None
    assert component.prompt.endswith(", ".join(component.labels))


# Tables 3 to 6 of the paper (arXiv 2411.07186 v2): other models in the order of MODELS, then NatureLM-audio.
MODELS = ("LLM without audio", "SALMONN", "Qwen2-audio", "CLAP-LAION", "BioLingual", "BirdNET", "Perch")
PUBLISHED = """
esc50               .020 .320 .307 -    .600 -    -    .820
watkins             .041 .041 .041 -    .257 -    -    .788
cbi                 .005 .004 .004 -    .705 .609 .744 .778
humbugdb            .073 .090 .070 -    .085 -    -    .114
dcase               .000 .005 .005 -    .036 -    -    .058
enabirds            .001 .004 .004 -    .109 .490 .164 .314
hiceas              .210 .097 .097 -    .429 -    -    .336
rfcx                .000 .002 .002 -    .004 -    -    .025
gibbons             .013 .005 .005 -    .018 -    -    .005
unseen-species-cmn  -    -    -    .014 .687 -    -    .181
unseen-species-sci  -    -    -    .014 .687 -    -    .238
unseen-species-tax  -    -    -    .014 .687 -    -    .343
unseen-genus-cmn    -    -    -    .026 .688 -    -    .116
unseen-genus-sci    -    -    -    .026 .688 -    -    .041
unseen-genus-tax    -    -    -    .026 .688 -    -    .148
unseen-family-cmn   -    -    -    .082 .545 -    -    .035
unseen-family-sci   -    -    -    .082 .545 -    -    .035
unseen-family-tax   -    -    -    .082 .545 -    -    .308
lifestage           -    -    -    -    .502 -    -    .794
call-type           -    -    -    -    .658 -    -    .871
captioning          -    .009 -    -    -    -    -    .532
zf-indiv            -    -    -    -    .604 -    -    .655
"""


def test_published_scores_are_those_of_the_paper():
    found = {
        component.name: {name: value for name, value in component.published.items() if name != "chance"}
        for component in beans_zero()
    }
    lines = [line.split() for line in PUBLISHED.strip().splitlines()]
    assert found == {
        name: {
            model: float(value)
            for model, value in zip((*MODELS, "NatureLM-audio"), values, strict=True)
            if value != "-"
        }
        for name, *values in lines
    }
    assert "arXiv 2411.07186 v2, Tables 3 to 6" in (beans_zero().published_source or "")


def test_headlines():
    names = ("cbi", "rfcx", "captioning")
    assert [beans_zero().components[name].headline for name in names] == ["Accuracy", "F1", "SPIDEr"]


@pytest.mark.parametrize("alias", ["zf-indv", "zf-indiv"])
def test_other_names_are_known(alias):
    component = beans_zero().find(alias)
    assert component is not None
    assert component.name == "zf-indiv"


def test_an_unknown_name_gets_a_hint():
    assert beans_zero().find("ecs50") is None
    assert beans_zero().closest("ecs50").startswith("did you mean 'esc50'? BEANS-Zero has esc50, watkins")
    assert beans_zero().closest("?").startswith("BEANS-Zero has")


WHALES = {
    "name": "whales",
    "task": "detection",
    "labels": ["Right Whale", "None"],
    "number": 9,
    "licence": "CC0",
}


@pytest.mark.parametrize("content", [[WHALES], {"components": [WHALES], "aliases": {"w": "whales"}}])
def test_own_benchmarks(tmp_path, content):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content))
    benchmark = read_benchmark(path)
    assert benchmark.name == "mine"
    assert benchmark.components["whales"].labels == ("Right Whale", "None")
    assert benchmark.components["whales"].rows == 9


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("{", OptionsError, "is not JSON"),
        ("3", OptionsError, "must be a list of components"),
        ("[]", OptionsError, "has no components"),
        ("[3]", OptionsError, "component 1: must be an object with a 'name'"),
        ('[{"name": "a", "task": "guess"}]', OptionsError, "task must be one of classification"),
        ('[{"name": "a", "task": "detection"}]', LabelError, "has no labels"),
        ('[{"name": "a", "task": "detection", "labels": "x"}]', LabelError, "must be a list of texts"),
        ('[{"name": "a", "task": "detection", "labels": ["x", "x"]}]', LabelError, "'x' is there twice"),
        ('[{"name": "a", "task": "captioning", "rows": 0}]', OptionsError, "whole number from 1"),
        (
            '[{"name": "a", "task": "captioning"}, {"name": "a", "task": "captioning"}]',
            OptionsError,
            "'a' is there twice",
        ),
    ],
)
def test_bad_benchmark_files(tmp_path, content, error, message):
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(error, match=message) as found:
        read_benchmark(path)
    assert str(path) in str(found.value)


def test_a_missing_benchmark_file(tmp_path):
    with pytest.raises(OptionsError, match="can't be read"):
        read_benchmark(tmp_path / "none.json")


def test_a_folder_of_rows_brings_its_components(tmp_path):
    assert benchmark_of(tmp_path) is beans_zero()
    folder = tmp_path / "my-birds"
    folder.mkdir()
    table = {
        "schema_version": 1,
        "components": [{"name": "b", "task": "detection", "labels": ["x"], "licence": "CC0"}],
    }
    (folder / COMPONENTS_FILE).write_text(json.dumps(table))
    for data in (folder, folder / "shard-0.parquet"):
        found = benchmark_of(data)
        assert (found.name, list(found.components)) == ("my-birds", ["b"])


def test_components_of_another_schema(tmp_path):
    (tmp_path / COMPONENTS_FILE).write_text(json.dumps({"schema_version": 2, "components": []}))
    with pytest.raises(OptionsError, match="has schema_version 2, this version reads 1: build"):
        benchmark_of(tmp_path)
