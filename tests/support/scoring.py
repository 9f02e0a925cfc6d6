"""Prompts, candidates, shards and workers for tests of rewards and checks."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arbitrage.contracts.rewards import Scorable
from arbitrage.contracts.steps import Step, StepConfig
from arbitrage.contracts.workers import Inputs, Output, RequestWorker
from arbitrage.records import Calibration, Candidate, FinishReason, Message, Prompt, Record, Score, content_id
from arbitrage.tables import from_table, to_table
from tests.support.settling import settle_shard
from tests.support.step_facts import facts_of


def a_prompt(text: str = "What colour is blood?", language: str = "en", **fields: Any) -> Prompt:
    return Prompt(
        prompt_id=content_id("prompt", language, text),
        language=language,
        messages=(Message(role="user", content=text),),
        source="test",
        source_id=text,
        **fields,
    )


def a_candidate(
    prompt: Prompt, text: str, finish_reason: FinishReason = FinishReason.STOP, teacher: str = "aya", **fields: Any
) -> Candidate:
    return Candidate(
        candidate_id=content_id("candidate", prompt.prompt_id, teacher, text),
        prompt_id=prompt.prompt_id,
        teacher=teacher,
        revision="r1",
        sample_index=0,
        seed=0,
        text=text,
        finish_reason=finish_reason,
        **fields,
    )


def a_pair(text: str, language: str = "en", question: str = "What colour is blood?", **fields: Any) -> Scorable:
    prompt = a_prompt(question, language, **fields)
    return Scorable(prompt=prompt, candidate=a_candidate(prompt, text))


def a_score(candidate: Candidate, reward: str, value: float | None, error: str | None = None) -> Score:
    return Score(
        candidate_id=candidate.candidate_id, prompt_id=candidate.prompt_id, reward=reward, value=value, error=error
    )


def a_shard(
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidate],
    scores: Sequence[Score] = (),
    calibration: Sequence[Calibration] = (),
) -> Inputs:
    return Inputs(
        {
            "prompts": (to_table(prompts, Prompt),),
            "candidates": (to_table(candidates, Candidate),),
            "scores": (to_table(scores, Score),),
            "calibration": (to_table(calibration, Calibration),),
        }
    )


def run_shard(worker: Any, shard: Inputs) -> list[Score]:
    """Do one shard; hold the conservation law."""
    if isinstance(worker, RequestWorker):
        items, output = worker.begin(shard).items, settle_shard(worker, shard, Score)
    else:
        items, output = worker.items(shard), asyncio.run(_run(worker, shard))
    scores = from_table(output.table, Score)
    assert {s.candidate_id for s in scores} == {item.item_id for item in items}
    return scores


async def _run(worker: Any, shard: Inputs) -> Output:
    output: Output = await worker.run(shard)
    await worker.close()
    return output


def score_all(reward: Any, items: Sequence[Scorable]) -> list[Score]:
    """Score, and close the reward."""

    async def run() -> list[Score]:
        scores: list[Score] = await reward.score(items)
        await reward.close()
        return scores

    return asyncio.run(run())


def a_step(name: str, produces: type[Record]) -> Step:
    return Step(facts_of(name), StepConfig(), produces)


def save_reward_model(directory: Path, *, context_length: int = 128, num_labels: int = 1) -> Path:
    """Write a real, random, tiny sequence-classification Llama whose logits spread over tens of units."""
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification

    from tests.support.tiny_model import build_tokenizer

    tokenizer = build_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=context_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        num_labels=num_labels,
        initializer_range=0.15,
    )
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(config).eval()
    with torch.no_grad():
        model.score.weight *= 20
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def save_bert(directory: Path) -> Path:
    """Write a real, random, tiny BERT reward model: its tokenizer puts [CLS] and [SEP] around a text."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz.?[]<>/"]
    words += [*(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"), "what", "colour", "is", "blood", "red"]
    inner = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=inner, mask_token="[MASK]", **named).save_pretrained(directory)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        num_labels=1,
        initializer_range=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertForSequenceClassification(config).save_pretrained(directory)
    return directory


def save_roberta(directory: Path, *, num_labels: int, positions: int) -> Path:
    """Write a real, random, tiny XLM-RoBERTa classifier: its positions begin at pad_token_id + 1."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaForSequenceClassification

    words = [
        "<s>",
        "<pad>",
        "</s>",
        "<unk>",
        *["What", "colour", "is", "blood", "?", "red", ".", "A", "B"],
        *map(str, range(50)),
    ]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(directory)
    config = XLMRobertaConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
        pad_token_id=1,
        num_labels=num_labels,
        initializer_range=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        XLMRobertaForSequenceClassification(config).save_pretrained(directory)
    return directory
