"""One check: measure a model on the probe set without changing the model or its trainer's random numbers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from arbitrage.text.language_confusion import language_share
from arbitrage.training.monitor.curves import Check, overall
from arbitrage.training.monitor.distributions import concentration
from arbitrage.training.monitor.probe import Answered, Probe, ProbeRow
from arbitrage.training.monitor.settings import MonitorConfig


@dataclass(frozen=True, slots=True)
class AnswerLikelihood:
    """Log-likelihood of a response in nats, and the mean concentration of its tokens' distributions."""

    nats: float
    entropy: float
    mass: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """Share of sampled responses in another language, and the number that could be judged."""

    share: float | None
    num_judged: int


def check_model(model: Any, tokenizer: Any, probe: Probe, config: MonitorConfig, step: int) -> list[Check]:
    """Measure a causal language model.

    Args:
        model: a transformers model; its mode and this process's random numbers are restored afterwards.
        tokenizer: its own.
        probe: the rows.
        config: sampling parameters and batch size.
        step: training step.

    Returns:
        A check for each language, then `all`.
    """
    with _at_rest(model, config.seed):
        checks = [_check(model, tokenizer, language, rows, config, step) for language, rows in probe.items()]
    return [*checks, overall(checks)]


def answer_likelihoods(model: Any, answers: Sequence[Answered], batch_size: int) -> list[AnswerLikelihood]:
    """Return the likelihood of each response after its prompt, in the order given."""
    import torch

    found: list[AnswerLikelihood | None] = [None] * len(answers)
    for places in _batches([len(answer.ids) for answer in answers], batch_size):
        longest = max(len(answers[i].ids) for i in places)
        ids_BS = torch.zeros((len(places), longest), dtype=torch.long, device=model.device)
        mask_BS = torch.zeros_like(ids_BS)
        for row, i in enumerate(places):
            ids_BS[row, : len(answers[i].ids)] = torch.tensor(answers[i].ids)
            mask_BS[row, : len(answers[i].ids)] = 1
        logits_BSV = model(input_ids=ids_BS, attention_mask=mask_BS, use_cache=False).logits
        for row, i in enumerate(places):
            span = slice(answers[i].start, len(answers[i].ids))
            found[i] = _likelihood(logits_BSV[row, span.start - 1 : span.stop - 1], ids_BS[row, span])
    return [one for one in found if one is not None]


def sample_answers(model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], config: MonitorConfig) -> list[str]:
    """Return one sampled response to each prompt, in the order given."""
    import torch

    answers = [""] * len(prompts)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    for places in _batches([len(prompt) for prompt in prompts], config.batch_size):
        longest = max(len(prompts[i]) for i in places)
        ids = [[pad] * (longest - len(prompts[i])) + list(prompts[i]) for i in places]
        mask = [[0] * (longest - len(prompts[i])) + [1] * len(prompts[i]) for i in places]
        said_BS = model.generate(
            input_ids=torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            max_new_tokens=config.max_new_tokens,
            pad_token_id=pad,
            **_sampling(config.temperature),
        )
        texts = tokenizer.batch_decode(said_BS[:, longest:], skip_special_tokens=True)
        for i, text in zip(places, texts, strict=True):
            answers[i] = text
    return answers


def confusion_of(answers: Sequence[str], language: str, minimum: float) -> Confusion:
    """Return the share of responses with less than `minimum` in a language; short ones may be left out."""
    shares = [language_share(answer, language).value for answer in answers]
    judged = [share < minimum for share in shares if share is not None]
    return Confusion(fmean(judged) if judged else None, len(judged))


def _check(
    model: Any, tokenizer: Any, language: str, rows: Sequence[ProbeRow], config: MonitorConfig, step: int
) -> Check:
    chosen = answer_likelihoods(model, [row.chosen for row in rows], config.batch_size)
    rejected = answer_likelihoods(model, [row.rejected for row in rows], config.batch_size)
    answers = sample_answers(model, tokenizer, [row.prompt for row in rows], config)
    confusion = confusion_of(answers, language, config.language_minimum)
    liked, disliked = (fmean(one.nats for one in some) for some in (chosen, rejected))
    return Check(
        step=step,
        language=language,
        num_rows=len(rows),
        chosen=liked,
        rejected=disliked,
        margin=liked - disliked,
        entropy=fmean(one.entropy for one in chosen),
        mass=fmean(one.mass for one in chosen),
        confusion=confusion.share,
        num_judged=confusion.num_judged,
    )


def _likelihood(logits_AV: Any, ids_A: Any) -> AnswerLikelihood:
    found = concentration(logits_AV)
    nats_A = logits_AV.float().log_softmax(-1).gather(-1, ids_A[:, None])
    return AnswerLikelihood(float(nats_A.sum()), float(found.entropy_A.mean()), float(found.mass_A.mean()))


def _sampling(temperature: float) -> dict[str, Any]:
    """Return the arguments of `generate`; the model's own top-k and top-p must not truncate the distribution."""
    if not temperature:
        return {"do_sample": False}
    return {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}


def _batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Yield positions in batches of similar length."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


@contextmanager
def _at_rest(model: Any, seed: int) -> Iterator[None]:
    """Set a model to inference mode with its own random numbers, and restore everything afterwards."""
    import torch

    was_training = model.training
    devices = [model.device] if model.device.type == "cuda" else []
    model.eval()
    try:
        with torch.random.fork_rng(devices), torch.no_grad():
            torch.manual_seed(seed)
            yield
    finally:
        model.train(was_training)
