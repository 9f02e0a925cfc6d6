#!/usr/bin/env bash
# Install the peers that benchmarks/peers/*.py run, each in a venv of its own: benchmarks/peers/.venv-<peer>.
#   benchmarks/peers/install.sh                  all of them
#   benchmarks/peers/install.sh ray-data         one
# datatrove without its `inference` extra: that pulls vllm and sglang for GPUs, and an endpoint needs neither.
set -euo pipefail
cd "$(dirname "$0")"
PYTHON=${PYTHON:-python3.11}

install() {
    local name=$1
    shift
    [ -f ".venv-$name/.installed" ] && return
    "$PYTHON" -m venv ".venv-$name"
    ".venv-$name/bin/pip" --disable-pip-version-check install --quiet "$@"
    touch ".venv-$name/.installed"
}

for peer in "${@:-all}"; do
    case $peer in ray-data | all) install ray-data 'ray[data]==2.60.0' aiohttp 'pyarrow>=21' ;;&
    datatrove | all) install datatrove 'datatrove[io]' aiofiles aiosqlite httpx huggingface_hub aiohttp ;;&
    data-designer | all) install data-designer data-designer ;;&
    all | ray-data | datatrove | data-designer) ;;
    *) echo "unknown peer '$peer'; known: ray-data, datatrove, data-designer" >&2; exit 2 ;;
    esac
done
