import pytest

from naturelm_audio.beans_build.options import BuildOptions, ComponentOptions, component_of
from naturelm_audio.errors import OptionsError
from naturelm_audio.train.yaml_options import stages_from_yaml


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"forms": ("latin",)}, "forms: there is no 'latin'; there are common, scientific, taxonomic"),
        ({"kinds": ("animals",)}, "kinds: there is no 'animals'; did you mean 'animal'"),
        ({"max_seconds": 0.1}, "max_seconds must be from 0.5 to 600, not 0.1"),
        ({"window_seconds": 2.0, "shift_seconds": 3.0}, "shift_seconds must be at most window_seconds"),
        ({"least_share": 1.5}, "least_share must be from 0 to 1"),
        ({"least_per_label": 0}, "least_per_label must be 1 or more"),
        ({"most_per_label": 0}, "most_per_label must be 1 or more"),
        ({"rows": 0}, "rows must be 1 or more"),
        ({"most_animals": 1}, "most_animals is 2 or more"),
        ({"answers": ("One", "One")}, "answers are two"),
        ({"labels": ("a", "a")}, "labels name each label once"),
        ({"rule": "call-type", "labels": ("call",)}, "labels can't be chosen with rule call-type"),
    ],
)
def test_what_a_component_refuses(fields, message):
    with pytest.raises(OptionsError, match=message):
        ComponentOptions(**{"rule": "labels", **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"workers": 0}, "workers and rows_per_shard must be 1 or more"),
        ({"name": "a/b"}, "name must be a word or some, not 'a/b'"),
        ({"hold_out_counts": {"orders": 1}}, "orders: 1 is no whole number for one of families"),
        ({"hold_out_least": {"species": -1}}, "species: -1 is no whole number"),
        (
            {"components": (component_of("labels"), component_of("labels"))},
            "two components are called 'labels'",
        ),
    ],
)
def test_what_a_benchmark_refuses(fields, message):
    with pytest.raises(OptionsError, match=message):
        BuildOptions(**fields)


def test_a_misspelt_rule():
    with pytest.raises(OptionsError, match="there is no rule 'call-types'; did you mean 'call-type'"):
        component_of("call-types")


def test_a_settings_file(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text("name: mine\ncomponents:\n  - rule: species\n    name: birds\n    forms: [common]\n")
    (options,) = stages_from_yaml(BuildOptions, path)
    assert options.components == (ComponentOptions(rule="species", name="birds", forms=("common",)),)
    assert options.components[0].title == "birds"


def test_a_misspelt_key_in_a_settings_file(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text("components:\n  - rule: species\n    max_second: 5\n")
    with pytest.raises(OptionsError, match=r"components\[0\]\.max_second; did you mean max_seconds"):
        stages_from_yaml(BuildOptions, path)
