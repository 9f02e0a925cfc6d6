"""Any Hugging Face encoder, fine-tuned with the soft-label loss (METHODS §3); meant for GPUs, works on CPUs.

The papers use mDeBERTa-v3-base, mT5 and Gemma-2-2B. The artifact holds weights, config and
tokenizer: it needs no hub.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import Field

from arbitrage.candidates.matrix import RewardMatrix
from arbitrage.candidates.queries import Queries, Rows
from arbitrage.config import Operational, Raw
from arbitrage.errors import UserError
from arbitrage.models.references import digest_files
from routers.learning.learner import Floats, LearnerConfig, State
from routers.learning.soft_label import log_softmax, reward_scale, smooth_labels

MODEL: Final = "model."
"""Prefix of the encoder's weights among the arrays."""


class EncoderLearner(LearnerConfig):
    """Mean of the last hidden states, one linear layer, softmax over the teachers.

    Attributes:
        model: a hub name or a directory; code that comes with a model is never run.
        revision: commit of a hub name.
        max_tokens: read of a prompt.
        num_epochs: passes over the training prompts.
        batch_size: prompts in a step.
        learning_rate: of AdamW, at its highest; it falls linearly to zero. The head's is ten times that.
        temperature: τ, in standard deviations of rewards within a prompt.
        own_share: β, the weight of a prompt's own label (see `soft_label`).
        group_shrinkage: prompts at which a group's own mean weighs as much as that of all prompts.
        with_tags: whether language and task are written before the text and make groups.
        seed: of the head, dropout and the order of prompts.
        device: where to train and predict; None for a GPU if there is one.
    """

    kind: Literal["encoder"] = "encoder"
    model: str
    revision: str | None = None
    max_tokens: int = Field(default=256, ge=4)
    num_epochs: int = Field(default=3, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=2e-5, gt=0.0)
    temperature: float = Field(default=2.0, gt=0.0)
    own_share: float = Field(default=0.3, ge=0.0, le=1.0)
    group_shrinkage: float = Field(default=20.0, ge=0.0)
    with_tags: bool = True
    seed: int = 0
    device: Annotated[str | None, Operational] = None

    def identity(self) -> Raw:
        """Identify a local model by its content instead of its path."""
        found = super().identity()
        return found | {"model": digest_files(Path(self.model))} if Path(self.model).is_dir() else found

    @property
    def label(self) -> str:
        """Name of the router in reports."""
        return "encoder" if self.with_tags else "encoder_blind"

    def fit(self, matrix: RewardMatrix) -> "Encoder":
        """Fine-tune encoder and head.

        Raises:
            UserError: the model cannot be read, or has no fast tokenizer.
        """
        import torch

        tau = self.temperature * reward_scale(matrix.rewards_PT)
        level = "language_task" if self.with_tags else None
        target_PT = smooth_labels(matrix, tau, self.own_share, self.group_shrinkage, level)
        # whoever draws from torch's own stream draws the same after as before
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            model, tokenizer = _open(self.model, self.revision)
            head = torch.nn.Linear(model.config.hidden_size, len(matrix.teachers))
            torch.nn.init.normal_(head.weight, std=0.02)
            torch.nn.init.zeros_(head.bias)
            reader = _Reader(_prepared(tokenizer, self.max_tokens), self.max_tokens, self.with_tags)
            device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
            encoder = Encoder(model.to(device), head.to(device), reader, tau, self.batch_size)
            self._train(encoder, matrix, target_PT)
        return encoder

    def _train(self, encoder: "Encoder", matrix: RewardMatrix, target_PT: Floats) -> None:
        import torch

        model, head = encoder.model.train(), encoder.head
        groups = [
            {"params": list(model.parameters()), "lr": self.learning_rate},
            {"params": list(head.parameters()), "lr": 10.0 * self.learning_rate},
        ]
        optimiser = torch.optim.AdamW(groups, weight_decay=0.01)
        batches = _deal_batches(len(matrix), self.batch_size, self.num_epochs, self.seed)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: max(0.0, 1.0 - step / len(batches)))
        texts = encoder.reader.texts(matrix.queries)
        banned_PT = torch.tensor(~matrix.admitted_PT)
        target = torch.tensor(target_PT, dtype=torch.float32)
        for rows in batches:
            logits = encoder.logits([texts[row] for row in rows])
            logits = logits.masked_fill(banned_PT[rows].to(logits.device), -1e9)
            loss = torch.nn.functional.kl_div(
                logits.log_softmax(dim=1), target[rows].to(logits.device), reduction="batchmean"
            )
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([*model.parameters(), *head.parameters()], 1.0)
            optimiser.step()
            schedule.step()
        model.eval()


@dataclass(frozen=True, slots=True)
class _Reader:
    """Turns prompts into tokens: a `tokenizers.Tokenizer`, so that artifacts need no tokenizer class."""

    tokenizer: Any
    max_tokens: int
    with_tags: bool

    def texts(self, queries: Queries) -> list[str]:
        """Return what the encoder reads of each prompt."""
        texts = [queries.texts[code] for code in queries.text_P]
        if not self.with_tags:
            return texts
        tags = zip(queries.languages, queries.tasks, texts, strict=True)
        return [f"{language} {task}\n{text}" for language, task, text in tags]


@dataclass(frozen=True, slots=True)
class Encoder:
    """Encoder (`transformers.PreTrainedModel`) and head (`torch.nn.Linear`)."""

    model: Any
    head: Any
    reader: _Reader
    tau: float
    batch_size: int

    def predict(self, queries: Queries) -> Floats:
        """Return log-probabilities × τ, which is on the scale of rewards; shape (P, T)."""
        import torch

        found_PT = np.zeros((len(queries), self.head.out_features))
        texts = self.reader.texts(queries)
        # prompts of like length share a batch: little padding
        order_P = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        with torch.inference_mode():
            for start in range(0, len(texts), self.batch_size):
                rows = order_P[start : start + self.batch_size]
                found_PT[rows] = self.logits([texts[row] for row in rows]).double().cpu().numpy()
        return self.tau * log_softmax(found_PT)

    def logits(self, texts: Sequence[str]) -> Any:
        """Return a tensor, (texts, T)."""
        import torch

        pad = self.model.config.pad_token_id or 0
        # an empty text gives no tokens where the tokenizer adds none of its own
        rows = [found.ids or [pad] for found in self.reader.tokenizer.encode_batch(list(texts))]
        device, longest = self.head.weight.device, max(len(row) for row in rows)
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        return self.head((hidden * weight).sum(dim=1) / weight.sum(dim=1))

    def state(self) -> State:
        """Return weights, config and tokenizer."""
        arrays = {f"{MODEL}{name}": _array(tensor) for name, tensor in self.model.state_dict().items()}
        arrays |= {"head.weight": _array(self.head.weight), "head.bias": _array(self.head.bias)}
        values = {
            "config": _plain(json.loads(self.model.config.to_json_string(use_diff=False))),
            "tokenizer": self.reader.tokenizer.to_str(),
            "max_tokens": self.reader.max_tokens,
            "with_tags": self.reader.with_tags,
            "tau": self.tau,
            "batch_size": self.batch_size,
        }
        return State(arrays, values)


def restore_encoder(state: State) -> Encoder:
    """Make the predictor of its state, on a GPU if there is one."""
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoConfig

    values = state.values
    options = {key: value for key, value in values["config"].items() if key != "model_type"}
    config = AutoConfig.for_model(values["config"]["model_type"], **options)
    model = _class_for(config).from_config(config, trust_remote_code=False).float()
    weights = {
        name.removeprefix(MODEL): torch.tensor(array)
        for name, array in state.arrays.items()
        if name.startswith(MODEL)
    }
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit the config: {error}") from error
    num_T, num_hidden = state.arrays["head.weight"].shape
    head = torch.nn.Linear(num_hidden, num_T)
    head.load_state_dict({name: torch.tensor(state.arrays[f"head.{name}"]) for name in ("weight", "bias")})
    tokenizer = _prepared(Tokenizer.from_str(values["tokenizer"]), values["max_tokens"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    reader = _Reader(tokenizer, values["max_tokens"], values["with_tags"])
    return Encoder(model.eval().to(device), head.to(device), reader, values["tau"], values["batch_size"])


def _open(name: str, revision: str | None) -> tuple[Any, Any]:
    """Return an encoder in single precision and its `tokenizers.Tokenizer`."""
    from tokenizers import Tokenizer
    from transformers import AutoConfig, AutoTokenizer

    where: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(name, **where)
        loaded = _class_for(config).from_pretrained(name, dtype="float32", use_safetensors=True, **where)
        tokenizer = AutoTokenizer.from_pretrained(name, **where)
    except (OSError, ValueError) as error:
        raise UserError(f"router.model: '{name}' cannot be read: {error}") from error
    if not tokenizer.is_fast:
        raise UserError(f"router.model: '{name}' has no fast tokenizer (tokenizer.json)")
    return loaded, Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())


def _class_for(config: Any) -> Any:
    """Return the auto class: of models that encode and decode (mT5), the encoder alone."""
    from transformers import AutoModel, AutoModelForTextEncoding
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES

    # by type: an encoder taken out of such a model no longer says that it had a decoder
    return AutoModelForTextEncoding if config.model_type in MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES else AutoModel


def _prepared(tokenizer: Any, max_tokens: int) -> Any:
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """Drop what says where the config came from, not what it is: the same model gives the same artifact."""
    return {key: value for key, value in config.items() if key[0] != "_" and key != "transformers_version"}


def _deal_batches(num: int, batch_size: int, num_epochs: int, seed: int) -> list[Rows]:
    random = np.random.default_rng(seed)
    orders = [random.permutation(num) for _ in range(num_epochs)]
    return [order[start : start + batch_size] for order in orders for start in range(0, num, batch_size)]


def _array(tensor: Any) -> Any:
    return tensor.detach().cpu().numpy()
