"""Ask the tiny models and score their answers with transformers, in batches, greedily, in float32."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arbitrage.text.reasoning_formats import split_text
from tools.demo_models.tokenizer import REASONING_MARKS
from tools.demo_models.training import encode_example, encode_question, score_batch

MAX_NEW_TOKENS = 40
MAX_REASONING_TOKENS = 96
BATCH_SIZE = 64


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer lying beside a model."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def load_teacher(folder: Path) -> Any:
    """Load a teacher, or the student, in float32 for inference."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def load_reward_model(folder: Path) -> Any:
    """Load the reward model in float32 for inference."""
    import torch
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()


def answer_questions(model: Any, tokenizer: Any, questions: Sequence[str]) -> list[str]:
    """Answer each question greedily, in the order given, and leave out the reasoning before the answers."""
    import torch

    can_reason = REASONING_MARKS.start in tokenizer.get_vocab()
    num_tokens = MAX_NEW_TOKENS + (MAX_REASONING_TOKENS if can_reason else 0)
    prompts = [encode_question(tokenizer, question) for question in questions]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers = [""] * len(prompts)
    for start in range(0, len(order), BATCH_SIZE):
        chosen = order[start : start + BATCH_SIZE]
        ids_BS, mask_BS = _pad_left([prompts[index] for index in chosen], tokenizer.pad_token_id)
        with torch.inference_mode():
            said_BS = model.generate(
                input_ids=ids_BS, attention_mask=mask_BS, do_sample=False, max_new_tokens=num_tokens
            )
        texts = tokenizer.batch_decode(said_BS[:, ids_BS.shape[1] :], skip_special_tokens=True)
        for index, text in zip(chosen, texts, strict=True):
            answers[index] = split_text(text, REASONING_MARKS, begins_inside=False).text
    return answers


def score_answers(
    model: Any,
    tokenizer: Any,
    questions: Sequence[str],
    answers: Sequence[str],
) -> list[float]:
    """Return the raw reward of each (question, answer), in the order given."""
    import torch

    examples = [encode_example(tokenizer, *pair) for pair in zip(questions, answers, strict=True)]
    order = sorted(range(len(examples)), key=lambda index: len(examples[index].ids))
    rewards = [0.0] * len(examples)
    for start in range(0, len(order), BATCH_SIZE):
        chosen = order[start : start + BATCH_SIZE]
        with torch.inference_mode():
            scored = score_batch(model, [examples[index] for index in chosen]).tolist()
        for index, reward in zip(chosen, scored, strict=True):
            rewards[index] = reward
    return rewards


def _pad_left(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Any, Any]:
    """Return ids and attention mask, both (B, S): generation continues at the right edge."""
    import torch

    longest = max(len(prompt) for prompt in prompts)
    ids_BS = torch.tensor([[*[pad_id] * (longest - len(prompt)), *prompt] for prompt in prompts])
    mask_BS = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids_BS, mask_BS
