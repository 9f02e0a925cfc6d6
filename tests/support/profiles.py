"""Data to profile, and the command that does it."""

from typing import Any

from typer.testing import CliRunner

from arbitrage.cli.main import app
from arbitrage.profile.settings import ProfileSettings
from tests.support.prose import LATIN, PROSE

THREE_LANGUAGES = {"en": PROSE["en"], "de": LATIN["de"], "zh": PROSE["zh"]}

LENGTHS = ProfileSettings.model_validate_json(
    '{"defaults": false, "metrics": [{"kind": "length", "unit": "characters"}, {"kind": "readability"}]}'
)
"""Two metrics that take no time."""


def arbitrage_profile(*arguments: Any) -> Any:
    """Call `arbitrage profile`; a bug is raised."""
    result = CliRunner().invoke(app, ["profile", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
