#!/usr/bin/env bash
# The one command: makes the environment on first use, sets the threads, then starts the page or the command line.
#   ./run.sh [--host H] [--port P] ...   the page           ./run.sh test [pytest words]   the tests
#   ./run.sh recognize FILE...           the command line; so does every other word
set -euo pipefail
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
home=$PWD
venv=$home/.venv

say() { printf '%s\n' "$*" >&2; }

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { printf '%s' "$candidate"; return; }
  done
  say "Python 3.11 or newer is needed. Install it, or name it: PYTHON=/path/to/python3.11 ./run.sh"
  exit 1
}

# Installs a requirements file unless the stamp says that exactly this content is installed already.
install() {
  local file=$1 stamp=$venv/.installed-$1 want
  want=$(cat requirements.txt "$file" | cksum)
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && return
  say "Installing $file (only now, and when it changes) ..."
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$file"
  printf '%s' "$want" >"$stamp"
}

make_environment() {
  # One start at a time makes it; a second waits here and finds it made.
  exec 9>"$home/.venv.lock"
  if command -v flock >/dev/null 2>&1; then flock 9; fi
  if [ ! -x "$venv/bin/python" ]; then
    "$(find_python)" -m venv "$venv" || { say "Python's venv module is missing. On Debian: apt install python3-venv"; exit 1; }
  fi
  install requirements.txt
  [ "${1:-}" != test ] || install requirements-dev.txt
  exec 9>&-
}

# Half the logical cores where a graphics card does the inference, the physical cores where the CPU does.
set_threads() {
  local logical physical threads
  logical=$(env -u OMP_NUM_THREADS nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
  physical=$(lscpu -p=Core,Socket 2>/dev/null | grep -v '^#' | sort -u | wc -l || true)
  [ "${physical:-0}" -ge 1 ] && [ "$physical" -le "$logical" ] || physical=$logical
  if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then
    threads=$((logical / 2 > 0 ? logical / 2 : 1))
  else
    threads=$physical
  fi
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$threads}
  export MKL_NUM_THREADS=${MKL_NUM_THREADS:-$OMP_NUM_THREADS}
  export NUMEXPR_NUM_THREADS=${NUMEXPR_NUM_THREADS:-$OMP_NUM_THREADS}
}

make_environment "${1:-}"
set_threads
case "${1:-}" in
  "" | -*) exec "$venv/bin/python" "$home/app.py" "$@" ;;
  test) shift && exec "$venv/bin/python" -m pytest "$@" ;;
  *)
    # The command line runs where it was called, so that relative paths mean what they say.
    cd "$called_from"
    export PYTHONPATH="$home${PYTHONPATH:+:$PYTHONPATH}"
    exec "$venv/bin/python" -m emotion "$@"
    ;;
esac
