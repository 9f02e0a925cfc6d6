"""LoRA adapters as teachers: adapters of one base share its weights, and each answers as if merged into it."""

import asyncio
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import LlamaConfig, LlamaForCausalLM

from arbitrage.config import parse
from arbitrage.contracts.engines import Completion
from arbitrage.errors import ConfigError, DataError, EngineStartError
from arbitrage.models.adapters import read_adapter, require_base
from arbitrage.records import Candidate
from arbitrage.runs.run import open_run
from arbitrage.tables import from_table
from arbitrage.teachers.check import check_teacher
from arbitrage.teachers.engines import transformers as engine_module
from arbitrage.teachers.engines.shared import borrow
from arbitrage.teachers.pool import TeacherConfig
from tests.support.asking import a_request, collect
from tests.support.pipelines import run_file, write_prompts
from tests.support.tiny_adapter import rewrite_config, save_adapter, save_merged
from tests.support.tiny_model import CORPUS, build_tokenizer, save_model

pytestmark = pytest.mark.model

QUESTIONS = [a_request(text, candidate_id=f"q{i}", max_tokens=8) for i, text in enumerate(CORPUS)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return save_adapter(folder / "one", base, seed=1), save_adapter(folder / "two", base, rank=8, seed=2)


@pytest.fixture
def copied(adapters: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(adapters[0], tmp_path / "copied"))


def teacher(model: Path, adapter: Path | str | None = None, **more: Any) -> TeacherConfig:
    raw = {
        "name": "t",
        "model": str(model),
        "engine": {"kind": "transformers"},
        "languages": ["en"],
        "precision": "fp32",
        "context_length": 128,
    }
    return parse(raw | ({"adapter": str(adapter)} if adapter else {}) | more, TeacherConfig, "teachers.yaml")


async def answers(*teachers: TeacherConfig) -> list[dict[str, str]]:
    """Return each teacher's texts; all are asked at once."""
    engines = [each.engine.build(each.spec()) for each in teachers]
    found = await asyncio.gather(*(collect(engine, QUESTIONS) for engine in engines))
    for engine in engines:
        await engine.close()
    return [{key: result.text for key, result in each.items() if isinstance(result, Completion)} for each in found]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    loaded: list[str] = []
    load = engine_module._load

    def counting(config: Any, spec: Any) -> Any:
        loaded.append(spec.model)
        return load(config, spec)

    monkeypatch.setattr(engine_module, "_load", counting)
    return loaded


def test_each_answers_as_if_merged_and_the_base_is_loaded_once(
    base: Path, adapters: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged = [save_merged(tmp_path / each.name, base, each) for each in adapters]
    wanted = asyncio.run(answers(teacher(base), *map(teacher, merged)))
    loaded = counted(monkeypatch)
    found = asyncio.run(answers(teacher(base), *(teacher(base, each) for each in adapters), teacher(base)))
    assert found == [*wanted, wanted[0]]
    assert len({str(each) for each in wanted}) == 3
    assert loaded == [str(base)]


def test_a_run_loads_the_base_once_for_all_its_adapters(
    base: Path, adapters: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_prompts(tmp_path / "prompts.jsonl", per_language=1)
    common = {"engine": {"kind": "transformers"}, "model": str(base), "languages": ["en", "de"], "precision": "fp32"}
    pool = [common | {"name": f"t{i}", "adapter": str(each)} for i, each in enumerate(adapters)]
    (tmp_path / "teachers.yaml").write_text(yaml.safe_dump({"teachers": pool}))
    config = {
        "kind": "sft",
        "name": "adapters",
        "prompts": {"kind": "jsonl", "paths": "prompts.jsonl"},
        "teachers": "teachers.yaml",
        "router": {"kind": "all"},
        "sampling": {"n": 1, "max_tokens": 4},
        "rewards": [{"kind": "fake"}],
        "max_rejected": 1.0,
        "num_shards": 2,
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    loaded = counted(monkeypatch)
    run_file(tmp_path / "run.yaml", tmp_path / "run")
    assert loaded == [str(base)]
    run = open_run(tmp_path / "run")
    revisions = {
        name: {row.revision for table in run.tables(f"generate-{name}") for row in from_table(table, Candidate)}
        for name in ("t0", "t1")
    }
    assert revisions["t0"] != revisions["t1"]
    assert all("+" in revision for found in revisions.values() for revision in found)


@pytest.mark.alone
@pytest.mark.vllm
@pytest.mark.timeout(240)
@pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")
def test_vllm_serves_adapters_of_one_base_by_one_engine(base: Path, adapters: tuple[Path, Path]) -> None:
    wanted = asyncio.run(answers(*(teacher(base, each) for each in adapters)))
    engine = {"kind": "vllm", "device": "cpu", "enforce_eager": True, "kv_cache_gb": 0.1}
    teachers = [teacher(base, each, engine=engine) for each in adapters]
    assert len({each.load_key() for each in teachers}) == 1
    assert asyncio.run(answers(*teachers)) == wanted


def test_the_adapter_is_part_of_who_the_teacher_is(base: Path, copied: Path, adapters: tuple[Path, Path]) -> None:
    plain, one = teacher(base).identity(), teacher(base, adapters[0]).identity()
    assert "adapter" not in plain
    assert one == teacher(base, copied).identity()  # a copy elsewhere is the same
    assert one not in (plain, teacher(base, adapters[1]).identity())
    rewrite_config(copied, lora_alpha=1)
    assert one != teacher(base, copied).identity()
    on_hub = teacher(base, "owner/adapter", adapter_revision="0" * 40)
    assert on_hub.identity()["adapter"] == "owner/adapter"
    assert on_hub.is_pinned
    assert not teacher(base, "owner/adapter").is_pinned


def test_its_own_template_and_tokenizer_are_used(base: Path, copied: Path) -> None:
    before = teacher(base, copied).spec()
    plain = before.chat(before.tokenizer()).encode(QUESTIONS[0].messages)
    (copied / "chat_template.jinja").write_text("{% for m in messages %}Q: {{ m.content }}{% endfor %}")
    alone = before.chat(before.tokenizer()).encode(QUESTIONS[0].messages)
    assert alone != plain
    build_tokenizer(None).save_pretrained(copied)  # now it brings a tokenizer, too
    assert before.chat(before.tokenizer()).encode(QUESTIONS[0].messages) == alone
    (copied / "chat_template.jinja").unlink()
    assert before.chat(before.tokenizer()).encode(QUESTIONS[0].messages) == plain  # the model's template
    larger = build_tokenizer()
    larger.add_tokens([f"<extra {i}>" for i in range(200)])
    larger.save_pretrained(copied)
    with pytest.raises(EngineStartError, match=r"its tokenizer has \d+ tokens and .*merge it into the model"):
        before.tokenizer()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'; only 'LORA' adapters can be teachers"),
        (None, "no adapter_model.safetensors"),
    ],
)
def test_what_is_no_lora_adapter_is_named(base: Path, copied: Path, changes: Any, said: str) -> None:
    if changes is None:
        (copied / "adapter_model.safetensors").unlink()
    else:
        rewrite_config(copied, **changes)
    with pytest.raises(EngineStartError, match=f"teacher 't': cannot load adapter .*{said}"):
        teacher(base, copied).spec().read_adapter()
    findings = check_teacher(teacher(base, copied)).findings
    assert any(finding.level == "error" and said in finding.detail for finding in findings)


def test_an_adapter_of_another_base_is_refused(base: Path, copied: Path, tmp_path: Path) -> None:
    wide = tmp_path / "wide"
    sizes = {"vocab_size": 8, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    LlamaForCausalLM(LlamaConfig(**sizes, **heads)).save_pretrained(wide)
    build_tokenizer().save_pretrained(wide)
    with pytest.raises(
        EngineStartError, match=r"gate_proj is for 128 × 64 weights, .*wide has 64 × 32: another base"
    ):
        teacher(wide, copied).spec().read_adapter()
    found = read_adapter(rewrite_config(copied, base_model_name_or_path="Qwen/Qwen3-8B"))
    with pytest.raises(DataError, match=r"it was trained on Qwen/Qwen3-8B, not on Qwen/Qwen3-4B: give `model: Qwen"):
        require_base(found, "Qwen/Qwen3-4B")
    require_base(found, "Qwen/Qwen3-8B")
    require_base(
        read_adapter(rewrite_config(copied, base_model_name_or_path="unsloth/qwen3-8b-bnb-4bit")), "Qwen/Qwen3-8B"
    )
    require_base(read_adapter(rewrite_config(copied, base_model_name_or_path="/home/me/q")), "Qwen/Qwen3-4B")


def test_what_vllm_cannot_apply_is_an_error_before_it_starts(base: Path, copied: Path, tmp_path: Path) -> None:
    engine = {"kind": "vllm", "device": "cpu"}
    large = save_adapter(tmp_path / "large", base, rank=80)
    assert teacher(base, large, engine=engine).engine.load_identity(teacher(base, large, engine=engine).spec())[
        "adapters"
    ] == {"enable_lora": True, "max_lora_rank": 128, "max_loras": 2}
    narrow = teacher(base, large, engine=engine | {"args": {"max_lora_rank": 16}})
    with pytest.raises(
        EngineStartError, match=r"its rank is 80, and engine.args says .*max_lora_rank: 16.; leave both"
    ):
        narrow.load_key()
    mixed = teacher(base, engine=engine | {"args": {"enable_lora": True}})
    with pytest.raises(EngineStartError, match="the CPU build would apply adapters to requests without one"):
        mixed.load_key()
    on_gpu = {"kind": "vllm", "args": {"enable_lora": True}}
    assert teacher(base, engine=on_gpu).load_key() == teacher(base, copied, engine=on_gpu).load_key()
    rewrite_config(copied, use_dora=True)
    if find_spec("vllm") is not None:
        with pytest.raises(EngineStartError, match="vLLM cannot apply DoRA; use the engine transformers, or merge"):
            teacher(base, copied, engine=engine).engine.build(teacher(base, copied, engine=engine).spec())


def test_a_config_that_cannot_be_is_named(base: Path, adapters: tuple[Path, Path]) -> None:
    remote = {"kind": "openai", "base_url": "http://localhost:1/v1"}
    with pytest.raises(ConfigError, match="engine 'openai' cannot apply an adapter; give it to the server"):
        teacher(base, adapters[0], engine=remote, precision="bf16")
    with pytest.raises(ConfigError, match="adapter_revision needs an adapter"):
        teacher(base, adapter_revision="0" * 40)
    with pytest.raises(ConfigError, match=r"adapter: '\./nowhere' is neither a directory here"):
        teacher(base, "./nowhere")


def test_a_model_is_shared_until_its_last_user_gives_it_back() -> None:
    loads: list[int] = []

    def load() -> int:
        loads.append(len(loads))
        return loads[-1]

    one, two = borrow("k", load), borrow("k", load)
    assert (one.value, two.value, loads) == (0, 0, [0])
    assert (one.give_back(), one.give_back(), two.give_back()) == (False, False, True)
    broken = borrow("k", load)
    broken.spoil()  # such as an engine that died
    fresh = borrow("k", load)
    assert (broken.value, fresh.value) == (1, 2)
    assert broken.give_back()
    assert fresh.give_back()
    with pytest.raises(ZeroDivisionError):
        borrow("k", lambda: 1 // 0)
    assert borrow("k", load).value == 3
