"""What a process leaves to the end leaves nothing on the terminal."""

import subprocess
import sys

import pytest

CODE = """
from arbitrage.execution.environment import collect_seldom
collect_seldom()
{imports}
"""


@pytest.mark.parametrize(
    "imports", ["import torch._dynamo", "from transformers import AutoModelForCausalLM as x; x.register"]
)
@pytest.mark.process
def test_the_end_of_a_process_that_used_models_is_silent(imports):
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(imports=imports)], capture_output=True, text=True, check=True
    )
    assert "leaked" not in done.stderr
    assert done.stdout == ""
