"""Exports: what is written, where, how it loads again, and what is refused."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from datasets import Features, load_dataset

from arbitrage.errors import ArbitrageError, DataError, RunDirectoryError, StorageError, UserError
from arbitrage.export import FORMATS
from arbitrage.export.export import export_datasets, export_run, is_held_out
from arbitrage.printable import markdown_block, markdown_code
from arbitrage.records import content_id
from arbitrage.runs.layout import shard_path
from arbitrage.runs.run import open_run
from arbitrage.selection.pairs import PairSelection
from arbitrage.tables import arrow_schema
from tests.support.export_runs import SPECIAL_TEXTS, ExportCase, make_run, plain_case

TRAINERS = tuple(FORMATS)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run. Tests that change it copy it first; exports go elsewhere."""
    return make_run(tmp_path_factory.mktemp("runs") / "run", plain_case())


@pytest.fixture(scope="module", params=TRAINERS)
def exported(request: pytest.FixtureRequest, run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A trainer, and the directory of its exports."""
    out = tmp_path_factory.mktemp("out")
    export_run(run, request.param, out=out, test_fraction=0.2)
    return request.param, out


def directory(out: Path, dataset: str, trainer: str) -> Path:
    return out / (dataset if trainer == "trl" else f"{dataset}-{trainer}")


def test_default_place_and_results(run: Path, tmp_path: Path) -> None:
    here = shutil.copytree(run, tmp_path / "run")
    results = export_run(here)
    assert [r.path.relative_to(here).as_posix() for r in results] == ["export/preference", "export/sft"]
    for result in results:
        assert result.num_rows == 24
        assert result.rows_by_language == {"ar": 6, "en": 6, "no": 6, "sw": 6}
        assert result.rows_by_split == {"train": 24}
        assert result.skipped == {}
        assert sorted(p.name for p in result.path.iterdir()) == ["README.md", "data", "provenance.json"]
    assert open_run(here).manifest.status == "complete"  # an export changes nothing of the run


@pytest.mark.parametrize("dataset", ["sft", "preference"])
def test_directory_loads_with_typed_features(exported: tuple[str, Path], dataset: str) -> None:
    trainer, out = exported
    path = directory(out, dataset, trainer)
    record = FORMATS[trainer].rows["SftExample" if dataset == "sft" else "PreferencePair"].record
    features = Features.from_arrow_schema(arrow_schema(record))
    everything = load_dataset(str(path))
    assert {split: len(rows) for split, rows in everything.items()} == {"train": 22, "test": 2}
    assert everything["train"].features == features
    per_language = {tag: load_dataset(str(path), tag) for tag in SPECIAL_TEXTS}
    assert sum(len(rows) for found in per_language.values() for rows in found.values()) == 24
    for tag, found in per_language.items():
        for rows in found.values():
            assert rows.features == features
            assert set(rows["language"]) == {tag}


def test_parquet_files_load_typed_without_the_card(exported: tuple[str, Path], tmp_path: Path) -> None:
    trainer, out = exported
    if FORMATS[trainer].file_type != "parquet":
        pytest.skip("JSON lines carry no types; their card does")
    path = directory(out, "preference", trainer)
    features = Features.from_arrow_schema(arrow_schema(FORMATS[trainer].rows["PreferencePair"].record))
    rows = load_dataset("parquet", data_files=f"{path}/data/train/*.parquet", split="train")
    assert rows.features == features
    (bare := tmp_path / "bare").mkdir()
    shutil.copytree(path / "data", bare / "data")
    assert {split: len(found) for split, found in load_dataset(str(bare)).items()} == {"train": 22, "test": 2}


def test_special_texts_come_back_unchanged(exported: tuple[str, Path]) -> None:
    trainer, out = exported
    for dataset in ("sft", "preference"):
        rows = load_dataset(str(directory(out, dataset, trainer)))
        written = json.dumps([row for split in rows.values() for row in split], ensure_ascii=False)
        for text in SPECIAL_TEXTS.values():
            assert json.dumps(text, ensure_ascii=False)[1:-1] in written


def test_held_out_prompts_are_the_same_in_every_data_set(run: Path, tmp_path: Path) -> None:
    export_run(run, "trl", ["sft", "preference", "candidates"], tmp_path, test_fraction=0.3)
    held_out = [
        set(load_dataset(str(tmp_path / name), split="test")["prompt_id"])
        for name in ("sft", "preference", "candidates")
    ]
    assert held_out[0] == held_out[1] == held_out[2] != set()
    assert not held_out[0] & set(load_dataset(str(tmp_path / "sft"), split="train")["prompt_id"])


def test_held_out_share_is_near_the_fraction_and_grows_with_it() -> None:
    ids = [content_id("prompt", number) for number in range(4000)]
    few, many = ([i for i in ids if is_held_out(i, fraction)] for fraction in (0.02, 0.1))
    assert 50 < len(few) < 115
    assert 330 < len(many) < 470
    assert set(few) < set(many)
    assert not any(is_held_out(i, 0.0) for i in ids)


def test_same_run_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    def contents(root: Path) -> dict[str, bytes]:
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    for name in ("one", "two"):
        export_run(run, "trl", out=tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two") != {}
    export_run(run, "trl", out=tmp_path / "one")  # once more over the first
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_files_are_as_the_design_says(run: Path, tmp_path: Path) -> None:
    [result] = export_run(run, "trl", ["sft"], tmp_path)
    for file in result.files:
        meta = pq.read_metadata(result.path / file.path)
        column = meta.row_group(0).column(0)
        assert column.compression == "ZSTD"
        assert column.has_offset_index
        assert column.has_column_index
        assert b"huggingface" in pq.read_schema(result.path / file.path).metadata
    assert [f.path for f in result.files] == [f"data/train/{tag}.00000.parquet" for tag in ("ar", "en", "no", "sw")]


def test_candidates_hold_every_answer_and_every_score(run: Path, tmp_path: Path) -> None:
    [result] = export_run(run, "trl", ["candidates"], tmp_path)
    rows = load_dataset(str(tmp_path / "candidates"), split="train")
    assert result.num_rows == len(rows) == 48
    for row in rows:
        assert row["rewards"] == [{"name": "rm@1", "value": row["score"]}]
        assert row["score_error"] is None
        assert row["revision"] == f"revision-of-{row['teacher']}"
        assert row["prompt"] == [{"role": "user", "content": row["source_id"]}]
        assert row["text"].split(" ")[0] == row["language"] or row["text"] in SPECIAL_TEXTS.values()
    assert rows.features["cost_usd"].dtype == "float64"  # typed though all null


def test_gated_candidates_say_why(tmp_path: Path) -> None:
    case = ExportCase({"q": [("aya", "yes", 1.0), ("qwen", "no", None)]}, num_shards=1)
    export_run(make_run(tmp_path / "run", case), "trl", ["candidates"], tmp_path)
    rows = load_dataset(str(tmp_path / "candidates"), split="train")
    assert [(r["teacher"], r["score"], r["score_error"], len(r["rewards"])) for r in rows] == [
        ("aya", 1.0, None, 1),
        ("qwen", None, "filter:language-confusion", 0),
    ]


def test_region_tags_do_not_swallow_each_other(tmp_path: Path) -> None:
    tags = ["es", "es-419", "zh", "zh-TW", "all"]
    case = ExportCase({f"q {t}": [("aya", t, 1.0)] for t in tags}, languages={f"q {t}": t for t in tags})
    [result] = export_run(make_run(tmp_path / "run", case), "trl", ["sft"], tmp_path)
    for tag in tags[:-1]:
        assert load_dataset(str(result.path), tag, split="train")["language"] == [tag]
    assert load_dataset(str(result.path), "language-all", split="train")["language"] == ["all"]
    assert len(load_dataset(str(result.path), "all", split="train")) == 5


# --- licences ----------------------------------------------------------------------------------------------


def test_licence_filter_keeps_rows_bound_by_nothing_else(run: Path, tmp_path: Path) -> None:
    [result] = export_run(run, "trl", ["sft"], tmp_path, licences=["apache-2.0", "cc-by-4.0"])
    rows = load_dataset(str(result.path), split="train")
    assert set(rows["teacher"]) == {"qwen"}
    assert {tuple(found) for found in rows["licences"]} == {("Apache-2.0", "CC-BY-4.0")}
    assert (result.num_rows, result.skipped) == (12, {"licence_not_allowed": 12})
    assert "licence_not_allowed" in (result.path / "README.md").read_text()
    with pytest.raises(DataError, match=r"'preference' has no rows left to export \(licence_not_allowed 24\)"):
        export_run(run, "trl", ["preference"], tmp_path, licences=["apache-2.0", "cc-by-4.0"])


def test_an_unstated_licence_is_not_allowed_by_accident(tmp_path: Path) -> None:
    case = ExportCase({"q": [("qwen", "yes", 1.0)]}, licence=None, num_shards=1)
    run = make_run(tmp_path / "run", case)
    with pytest.raises(DataError, match="licence_not_allowed"):
        export_run(run, "trl", ["sft"], tmp_path, licences=["Apache-2.0"])
    [result] = export_run(run, "trl", ["sft"], tmp_path, licences=["Apache-2.0", "unknown"])
    assert result.num_rows == 1


# --- failures ----------------------------------------------------------------------------------------------


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="not a run directory"):
        export_run(tmp_path)


def test_unfinished_run(run: Path, tmp_path: Path) -> None:
    here = shutil.copytree(run, tmp_path / "run")
    (here / "manifest.json").unlink()
    with pytest.raises(RunDirectoryError, match="has not finished"):
        export_run(here)
    assert not (here / "export").exists()


def test_unknown_data_set_names_those_there_are(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no data set 'stf'; data sets: preference, sft, candidates"):
        export_run(run, "trl", ["sft", "stf"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_unknown_trainer(run: Path) -> None:
    with pytest.raises(UserError, match="'trlx'; trainers: trl, axolotl"):
        export_run(run, "trlx")  # type: ignore[arg-type]


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_senseless_fraction(run: Path, fraction: float) -> None:
    with pytest.raises(UserError, match="test_fraction"):
        export_run(run, test_fraction=fraction)


def test_a_data_set_without_rows_is_an_error_that_says_why(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", plain_case(), PairSelection(min_gap=99.0))
    with pytest.raises(DataError, match=r"'preference' has no rows: select-preference rejected all \(below_gap 24\)"):
        export_run(run)
    assert sorted(p.name for p in (run / "export").iterdir()) == ["sft"]  # the other one is there


def test_a_foreign_directory_is_not_replaced(run: Path, tmp_path: Path) -> None:
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not an export"):
        export_run(run, "trl", ["sft"], tmp_path)
    assert (tmp_path / "sft" / "thesis.txt").read_text() == "years of work"


def test_unwritable_place(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        export_run(run, "trl", ["sft"], tmp_path / "file")


def test_a_failed_export_leaves_the_earlier_one_alone(run: Path, tmp_path: Path) -> None:
    here = shutil.copytree(run, tmp_path / "run")
    [before] = export_run(here, "trl", ["sft"])
    digests = [hashlib.sha256((before.path / f.path).read_bytes()).hexdigest() for f in before.files]
    shard_path(open_run(here).directory("select-sft"), 2).write_bytes(b"not Parquet")
    with pytest.raises(
        DataError, match=r"shard-00002\.parquet: is damaged: expected \d+ bytes, found 11; run `arbitrage verify"
    ):
        export_run(here, "trl", ["sft"])
    assert [f.sha256 for f in before.files] == digests
    assert all((before.path / f.path).exists() for f in before.files)
    assert [p.name for p in (here / "export").iterdir()] == ["sft"]


def test_a_missing_shard_is_not_passed_over(run: Path, tmp_path: Path) -> None:
    here = shutil.copytree(run, tmp_path / "run")
    shard_path(open_run(here).directory("select-sft"), 1).unlink()
    with pytest.raises(DataError, match="shard-00001"):
        export_run(here, "trl", ["sft"])


# --- words -------------------------------------------------------------------------------------------------


def front_matter(path: Path) -> dict:
    return yaml.safe_load((path / "README.md").read_text(encoding="utf-8").split("---\n")[1])


def test_card(run: Path, tmp_path: Path) -> None:
    [result] = export_run(run, "trl", ["preference"], tmp_path, test_fraction=0.2)
    head = front_matter(result.path)
    assert head["language"] == ["ar", "en", "no", "sw"]
    assert head["language_details"] == "ar, en, no, sw"
    assert (head["license"], head["license_name"]) == ("other", "mixed-see-card")
    assert (head["multilinguality"], head["annotations_creators"]) == (["multilingual"], ["machine-generated"])
    assert (head["size_categories"], head["task_categories"]) == (["n<1K"], ["text-generation"])
    assert [c["config_name"] for c in head["configs"]] == ["all", "ar", "en", "no", "sw"]
    assert [c.get("default") for c in head["configs"]] == [True, None, None, None, None]
    [everything, *_] = head["dataset_info"]
    assert [(s["name"], s["num_examples"]) for s in everything["splits"]] == [("train", 22), ("test", 2)]
    text = (result.path / "README.md").read_text(encoding="utf-8")
    assert "| aya |  | `revision-of-aya` | bf16 | CC-BY-NC-4.0 | 12 | 12 |" in text
    assert "| Apache-2.0 + CC-BY-4.0 + CC-BY-NC-4.0 | 24 |" in text
    assert "| `no` | Norwegian | 5 | 1 |" in text
    assert "| generations per prompt | 2.00 |" in text
    assert "kind: best_vs_worst" in text


def test_card_counts_rejects_by_reason(tmp_path: Path) -> None:
    answers = {"a": [("aya", "x", 1.0), ("qwen", "y", 0.0)], "b": [("aya", "x", 1.0)], "c": [("aya", "x", None)]}
    [result] = export_run(make_run(tmp_path / "run", ExportCase(answers)), "trl", ["preference"])
    text = (result.path / "README.md").read_text(encoding="utf-8")
    assert "Of 3 prompts, 2 gave no row." in text
    assert "| all_filtered | 1 |\n| one_candidate | 1 |" in text


def test_provenance(run: Path, tmp_path: Path) -> None:
    [result] = export_run(run, "trl", ["preference"], tmp_path, test_fraction=0.2)
    text = (result.path / "provenance.json").read_text(encoding="utf-8")
    found, manifest = json.loads(text), open_run(run).manifest
    assert found["run"]["fingerprint"] == manifest.plan.fingerprint
    assert found["run"]["packages"] == manifest.packages
    assert found["run"]["config"] == {"note": "a run made by tests"}
    assert found["steps"]["select-preference"] == manifest.plan.steps[-1].fingerprint
    assert {name: (t["revision"], t["licence"], t["rows"]) for name, t in found["teachers"].items()} == {
        "aya": ("revision-of-aya", "CC-BY-NC-4.0", 12),
        "qwen": ("revision-of-qwen", "Apache-2.0", 12),
    }
    assert found["licences"] == [{"licences": ["Apache-2.0", "CC-BY-4.0", "CC-BY-NC-4.0"], "rows": 24}]
    assert (found["rows"]["in_run"], found["rows"]["exported"], found["rows"]["by_split"]["test"]) == (24, 24, 2)
    files = {p.relative_to(result.path).as_posix() for p in (result.path / "data").rglob("*.parquet")}
    assert {f["path"] for f in found["files"]} == files
    for file in found["files"]:
        content = (result.path / file["path"]).read_bytes()
        assert (file["sha256"], file["size_bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
        assert file["num_rows"] == pq.read_metadata(result.path / file["path"]).num_rows
    assert str(run) not in text


# --- runs from an untrusted source --------------------------------------------------------------------------

OUTSIDE = (
    "../evil",
    "/tmp/evil",
    "..",
    ".",
    "a/b",
    "a\\b",
    "",
    "-rf",
    "x" * 101,
    "new\nline",
    "a\x1b[2J",
    "_new-1-sft",
)


def _tree(place: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(place).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(place.rglob("*"))
    }


@pytest.mark.parametrize("name", OUTSIDE)
def test_the_name_of_a_data_set_never_leads_out_of_the_export(run: Path, tmp_path: Path, name: str) -> None:
    here = shutil.copytree(run, tmp_path / "run")
    for file in ("run.json", "manifest.json"):
        document = json.loads((here / file).read_text())
        plan = document if file == "run.json" else document["plan"]
        plan["datasets"] = {name: plan["datasets"]["sft"]}
        (here / file).write_text(json.dumps(document))
    before = _tree(tmp_path)
    with pytest.raises(ArbitrageError) as failure:
        export_run(here)
    assert failure.value.exit_code in (2, 3)
    assert "\n" not in str(failure.value).replace("\n  ", "")
    assert _tree(tmp_path) == before


@pytest.mark.parametrize("language", ["../../evil", "/tmp/evil", "en/../../x", "*", "", "e" * 200, "en\n"])
def test_the_language_of_a_row_never_leads_out_of_the_export(run: Path, tmp_path: Path, language: str) -> None:
    here = shutil.copytree(run, tmp_path / "run")
    plan = open_run(here)
    directory = plan.directory(plan.plan.datasets["sft"])
    shard = next(k for k in plan.plan.shards if pq.read_table(shard_path(directory, k)).num_rows)
    table = pq.read_table(shard_path(directory, shard))
    place = table.schema.get_field_index("language")
    changed = table.set_column(place, table.schema.field(place), [[language] * table.num_rows])
    pq.write_table(changed, shard_path(directory, shard))
    before = _tree(tmp_path)
    with pytest.raises(DataError):  # by its digest, or as no language tag
        export_run(here, "trl", ["sft"])
    assert {name: data for name, data in _tree(tmp_path).items() if name != "run/export"} == before


@pytest.mark.parametrize("link", ["export", "export/sft"])
def test_a_link_in_the_way_is_refused_and_what_it_leads_to_stays(run: Path, tmp_path: Path, link: str) -> None:
    here = shutil.copytree(run, tmp_path / "run")
    elsewhere = tmp_path / "elsewhere"
    export_run(run, "trl", ["sft"], elsewhere)
    (here / link).parent.mkdir(exist_ok=True)
    (here / link).symlink_to(elsewhere if link == "export" else elsewhere / "sft")
    before = _tree(elsewhere)
    with pytest.raises(UserError, match="is a link"):
        export_run(here, "trl", ["sft"])
    assert _tree(elsewhere) == before


EVIL_LICENCES = (
    "mit\n---\nconfigs: []\n---\n<script>alert(1)</script>",
    "<img src=x onerror=alert(1)> | [click](javascript:alert(1)) | `x` ![p](http://evil/p.png)",
    "a\x1b[2J\u202eb",
    "```\n# owned",
)


@pytest.mark.parametrize("licence", EVIL_LICENCES)
def test_what_a_licence_says_is_a_text_in_the_card(tmp_path: Path, licence: str) -> None:
    case = ExportCase({"q": [("qwen", "yes", 1.0)]}, licence=licence, num_shards=1)
    [result] = export_run(make_run(tmp_path / "run", case), "trl", ["sft"], tmp_path / "out")
    card = (result.path / "README.md").read_text()
    _, head, body = card.split("---\n", 2)
    front = yaml.safe_load(head)
    assert front["configs"][0]["data_files"] == [{"split": "train", "path": "data/train/*.parquet"}]
    assert front["license"] == "other"
    assert set(front["license_name"]) <= set("abcdefghijklmnopqrstuvwxyz0123456789.+-")
    assert not re.search(r"<(script|img)", body)
    assert "](" not in re.sub(r"\\.", "", body)
    assert [sign for sign in card if sign in "\x1b\u202e"] == []
    assert len(load_dataset(str(result.path), split="train")) == 1


def test_no_backticks_in_a_config_end_its_block() -> None:
    block = markdown_block("a: ```\nb: ````x\n", "yaml")
    assert block.splitlines()[0] == "`````yaml"
    assert block.splitlines()[-1] == "`````"
    assert markdown_code("a`b|c") == "`aʼb\\|c`"


# --- empty data sets ---------------------------------------------------------------------------------------


def test_an_empty_data_set_does_not_hide_the_others(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", plain_case(), PairSelection(min_gap=99.0))
    done = export_datasets(run)
    assert [result.dataset for result in done.results] == ["sft"]
    [empty] = done.empty
    assert (empty.dataset, empty.earlier) == ("preference", None)
    assert empty.sentence == "data set 'preference' has no rows: select-preference rejected all (below_gap 24)"


def test_an_earlier_export_of_a_data_set_that_is_empty_now_is_named(run: Path, tmp_path: Path) -> None:
    export_run(run, "trl", ["preference"], tmp_path)
    [empty] = export_datasets(run, "trl", ["preference"], tmp_path, licences=["none"]).empty
    assert empty.earlier == tmp_path / "preference"
    assert empty.sentence.endswith(f"the export in {tmp_path / 'preference'} is an earlier one")
    assert (tmp_path / "preference" / "provenance.json").is_file()
