"""Alarms from a run's plan and its models and reviewers, not from its candidates."""

from collections.abc import Iterator
from typing import Any

from arbitrage.models.chat_template import has_chat_template
from arbitrage.report.alarms import ReportAlarm
from arbitrage.report.reply_alarms import committee_alarms
from arbitrage.report.reviews import reviews_of
from arbitrage.runs.run import Run


def run_alarms(run: Run) -> tuple[ReportAlarm, ...]:
    """Return the alarms of a finished run that do not concern its candidates."""
    return (*_without_template(run), *committee_alarms(reviews_of(run)))


def _without_template(run: Run) -> Iterator[ReportAlarm]:
    """Yield each teacher, reviewer and fusing teacher whose model has no chat template."""
    seen: set[str] = set()
    for teacher in (step.config.get("teacher") for step in run.plan.steps):
        if not isinstance(teacher, dict) or not _is_loaded_here(teacher) or teacher["name"] in seen:
            continue
        seen.add(teacher["name"])
        if teacher.get("chat_template") or (teacher.get("template_options") or {}).get("chat_template"):
            continue  # the pool gives one
        if has_chat_template(str(teacher["model"]), teacher.get("revision")) is False:
            detail = (
                "the model has no chat template, so it receives the messages as plain text; it is probably a base "
                "model, which continues a text and does not follow instructions: use the instruction-tuned model, or "
                "give examples in the teacher's `chat_template`"
            )
            yield ReportAlarm("no_chat_template", str(teacher["name"]), detail)


def _is_loaded_here(teacher: dict[str, Any]) -> bool:
    """Tell whether the chat template is applied on our side; an endpoint applies its own."""
    engine = teacher.get("engine")
    return bool(teacher.get("model")) and isinstance(engine, dict) and engine.get("kind") in ("vllm", "transformers")
