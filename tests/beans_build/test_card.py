import pytest
import yaml

from naturelm_audio.beans_build.build import build_benchmark
from naturelm_audio.beans_build.options import ComponentOptions


@pytest.fixture
def card(zoo, options, tmp_path):
    table = zoo(lambda row: row.update(label="Owl | barn") if row["label"] == "Barn Owl" else None)
    counting = ComponentOptions(rule="counting", rows=6)
    build_benchmark(options(table, "labels", "captioning", counting, name="my-birds", seed=3))
    return (tmp_path / "built" / "README.md").read_text()


def test_it_opens_with_what_datasets_reads(card):
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["pretty_name"] == "my-birds"
    assert front["configs"] == [
        {"config_name": "default", "data_files": [{"split": "test", "path": "data/test-*.parquet"}]}
    ]
    assert front["size_categories"] == ["n<1K"]


def test_it_says_what_is_in_it(card):
    assert "34 questions about animal sounds in 3 components" in card
    assert "seed 3" in card
    assert "| labels | classification | 16 | 4 | 10 s | The objective" in card
    assert "| captioning | captioning | 12 |  | 10 s |" in card
    assert "- **labels**: Eurasian Wren 4, European Robin 4, Owl \\| barn 4, Zebra Finch 4" in card
    assert "| zoo | CC0 | " in card
    assert "- `counting`: mixtures of different animals" in card
    assert "Not compared: no training table was given" in card


def test_a_card_is_one_table_of_whole_lines(card):
    rows = [line for line in card.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {7, 4}
