"""One self-contained page: no network, nothing in it that an answer's text could set in motion.

Texts pass through Jinja's autoescape; behind it a content security policy allows our own script alone, by its hash.
"""

import base64
import hashlib
from importlib.resources import files
from typing import Any

from jinja2 import BaseLoader, ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from arbitrage.languages import is_rtl, name_of
from arbitrage.report import formatting, wording


def render_page(template: str, *, loader: BaseLoader | None = None, **values: Any) -> str:
    """Render a template that takes `title`, `style`, `script` and `policy` besides its own values.

    Args:
        template: its name.
        loader: where it is looked for before the templates of reports.
        values: what it shows.
    """
    style, script = _asset("report.css"), _asset("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"
    page = _environment(loader).get_template(template)
    return page.render(style=Markup(style), script=Markup(script), policy=policy, **values)


def _environment(loader: BaseLoader | None) -> Environment:
    own = PackageLoader("arbitrage.report")
    environment = Environment(
        loader=own if loader is None else ChoiceLoader([loader, own]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("percent", "decimal", "signed", "compact", "money", "duration", "moment"):
        environment.filters[name] = getattr(formatting, name)
    environment.filters["why_not"] = wording.why_not
    environment.globals.update(name_of=name_of, is_rtl=is_rtl)
    return environment


def _asset(name: str) -> str:
    return (files("arbitrage.report") / "templates" / name).read_text(encoding="utf-8")
