#!/usr/bin/env bash
# Install the CPU build of PyTorch, without the gigabytes of CUDA that the default Linux wheel pulls in.
# Usage: install-torch-cpu.sh PYTHON CONSTRAINTS
set -euo pipefail
python=$1
wanted=$(grep -E '^torch==' "$2")

# Where pip is already configured to find a CPU build (a local wheel, a mirror), take that one.
found=$("$python" -m pip install --quiet --dry-run --no-deps --ignore-installed --report - "$wanted" 2>/dev/null |
  "$python" -c 'import json, sys; print(json.load(sys.stdin)["install"][0]["metadata"]["version"])' || true)
if [[ $found == *+cpu ]]; then
  "$python" -m pip install --quiet "$wanted"
else # uv knows where PyTorch publishes its CPU builds
  "$python" -m pip install --quiet uv
  "$python" -m uv pip install --quiet --python "$python" --torch-backend cpu "$wanted"
fi
"$python" - <<'CHECK'
import torch
assert torch.version.cuda is None, f"expected a CPU build of PyTorch, got {torch.__version__}"
CHECK
