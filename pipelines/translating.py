"""What a translation run tells at its end: how many prompts of each language came, by whom, and why not the rest."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from arbitrage.records import Prompt
from arbitrage.runs.manifest import Notes
from arbitrage.runs.paths import AnyPath
from arbitrage.runs.run import Run, open_run
from arbitrage.tables import from_table


@dataclass(slots=True)
class TargetTally:
    """Of one target language.

    Attributes:
        by_translator: translator → prompts whose translation was kept.
        missing: reason → prompts without a translation.
        faults: reason → translations that were rejected.
    """

    by_translator: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def line(self, language: str) -> str:
        """Return it in words."""
        got = self.by_translator.total()
        parts = [f"{language}: {got} of {got + self.missing.total()} prompts"]
        if got:
            parts.append("by " + _counted(self.by_translator))
        if self.missing:
            parts.append("without one: " + _counted(self.missing))
        if self.faults:
            parts.append("rejected translations: " + _counted(self.faults))
        return "; ".join(parts)


def translation_notes(run_dir: AnyPath) -> Notes:
    """Return what a finished translation run did, language by language."""
    run = open_run(run_dir)
    found = tallies(run)
    lines = [found[language].line(language) for language in sorted(found)]
    figures = {
        language: {"prompts": dict(t.by_translator), "missing": dict(t.missing), "faults": dict(t.faults)}
        for language, t in sorted(found.items())
    }
    read = "next: prompts: {kind: run, path: " + str(run_dir) + "}"
    return Notes(lines=(*lines, read), figures={"translations": figures})


def tallies(run: Run) -> dict[str, TargetTally]:
    """Count a run's translations, by target language."""
    found: dict[str, TargetTally] = defaultdict(TargetTally)
    chosen = run.plan.datasets["prompts"]
    for table in run.tables(chosen):
        for prompt in from_table(table, Prompt):
            if prompt.translation is not None and prompt.translation.translator is not None:
                found[prompt.language].by_translator[prompt.translation.translator] += 1
    for step in run.manifest.steps:
        for account in step.accounts:
            if step.name in run.plan.table["candidates"]:
                found[account.language].faults.update(account.rejected)
            elif step.name in (chosen, run.plan.table["prompts"][0]):
                found[account.language].missing.update(account.rejected)
    return dict(found)


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())
