"""Tiny LoRA adapters of the tiny model, made by peft."""

import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

MODULES = ("q_proj", "v_proj", "o_proj", "gate_proj")


def save_adapter(directory: Path, model: Path, *, rank: int = 4, seed: int = 0, **more: Any) -> Path:
    """Write an adapter with random weights, large enough to change what the model writes."""
    base = AutoModelForCausalLM.from_pretrained(model)
    torch.manual_seed(seed)
    config = LoraConfig(
        r=rank, lora_alpha=16 * rank, target_modules=list(MODULES), init_lora_weights=False, task_type="CAUSAL_LM"
    )
    for name, value in more.items():
        setattr(config, name, value)
    get_peft_model(base, config).save_pretrained(directory)
    return directory


def rewrite_config(adapter: Path, **changes: Any) -> Path:
    """Change keys of `adapter_config.json`."""
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return adapter


def save_merged(directory: Path, model: Path, adapter: Path) -> Path:
    """Write the model with the adapter merged into it, and the model's tokenizer."""
    from peft import PeftModel
    from transformers import AutoTokenizer

    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), str(adapter)).merge_and_unload()
    merged.save_pretrained(directory)
    AutoTokenizer.from_pretrained(model).save_pretrained(directory)
    return directory
