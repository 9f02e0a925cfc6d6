"""All errors survive pickling (they cross process borders), and say how the command line should exit."""

import pickle

import pytest

from arbitrage import errors
from arbitrage.errors import ArbitrageError

ALL = sorted(
    (e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, ArbitrageError)),
    key=lambda e: e.__name__,
)


@pytest.mark.parametrize("kind", ALL)
def test_errors_survive_pickling(kind: type[ArbitrageError]) -> None:
    copy = pickle.loads(pickle.dumps(kind("what, where, found, wanted")))
    assert type(copy) is kind
    assert str(copy) == "what, where, found, wanted"


def test_exit_codes() -> None:
    codes = {e.__name__: e.exit_code for e in ALL}
    assert codes["ConfigError"] == 2
    assert codes["RejectBudgetError"] == 3
    assert codes["PlacementError"] == codes["TeacherAccessError"] == 4
    assert codes["ConservationError"] == 1
