"""A real, random, tiny Llama with a byte-level BPE tokenizer and a chat template, in Hugging Face format."""

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from arbitrage.demo.models import MODELS_FOLDER

SPECIALS = ("<|pad|>", "<|begin|>", "<|turn|>", "<|end|>")

TEMPLATE = (
    "<|begin|>{% for m in messages %}"
    "<|turn|>{{ m.role }}\n{% if m.role == 'tool' %}<tool>{% endif %}{{ m.content | trim }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)

THINK_TEMPLATE = TEMPLATE.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
"""Opens the reasoning, as the templates of DeepSeek and of Qwen's thinking models do."""

CORPUS = (
    "How many apples are there? There are seven apples on the table, and two more in the basket.",
    "Welche Farbe hat der Himmel? Der Himmel ist heute blau, morgen vielleicht grau.",
    "¿Qué día viene después del lunes? Después del lunes viene el martes.",
    "今日は何曜日ですか。今日は水曜日です。",
    "ما لون العشب؟ العشب أخضر. السماء زرقاء.",
)


def build_tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Train the tokenizer: 4 special tokens, and `<tool>`, a control token that is not flagged special."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([AddedToken("<tool>", special=False), AddedToken("\n\n\n", special=False)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|begin|>", eos_token="<|end|>", pad_token="<|pad|>"
    )
    fast.chat_template = template
    return fast


def shipped_or_tiny(directory: Path, name: str = "iberia") -> Path:
    """Return a trained teacher of the demo world; where none has been built yet, a random tiny model."""
    shipped = MODELS_FOLDER / name
    return shipped if (shipped / "model.safetensors").is_file() else save_model(directory)


def save_model(directory: Path, *, context_length: int = 128, seed: int = 0, reasons: bool = False) -> Path:
    """Write the model and its tokenizer; weights are scaled so that its choices are clear, its answers varied.

    With `reasons`, its vocabulary has `<think>` and `</think>`, and its template opens the reasoning.
    """
    tokenizer = build_tokenizer(THINK_TEMPLATE if reasons else TEMPLATE)
    if reasons:
        tokenizer.add_tokens([AddedToken(mark, special=False) for mark in ("<think>", "</think>")])
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
        initializer_range=0.15,
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():  # an end now and then
        model.lm_head.weight[tokenizer.eos_token_id] *= 2.5
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
