# Makes the repository's .venv on first use. Sourced by scripts/simstudy, scripts/test and .ci/run.
#
#   venv_ensure run|test    after it, "$venv/bin/python" exists and has what that level needs
#
# Needs bash 3.2 (macOS) and a Python of 3.11 or later; nothing else.
#
# - A stamp (.venv/.simstudy-LEVEL) holds the repository's place and a checksum of pyproject.toml and the pins. While it is
#   current, a start costs one `cksum`. When it is not, the packages are brought up to date.
# - A mark (.venv/.simstudy-incomplete) stands from the first write to the last. If a start finds it, an earlier set-up was cut
#   off, a half-written package may be lying about, and .venv is made again from nothing.
# - Set-ups take turns: an flock on the pins file, taken through Python, because macOS has no `flock` command. The system drops
#   it when its holder dies, so it cannot go stale.
#
# SIMSTUDY_PYTHON=...     the interpreter to make .venv with
# SIMSTUDY_UNPINNED=1     install the newest allowed versions, not the pinned ones

venv_root=$(CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
venv=$venv_root/.venv
venv_pins=$venv_root/requirements/constraints.txt

venv_say() { printf 'simstudy: %s\n' "$*" >&2; }

venv_die() {
  venv_say "$@"
  exit 2
}

# The checksum is of contents, not of dates, so that a checkout that changes nothing reinstalls nothing.
venv_stamp() { cksum "$venv_root/pyproject.toml" "$venv_pins"; } # names the files, and so the repository's place

venv_is_current() { # LEVEL STAMP
  [ -x "$venv/bin/python" ] && [ ! -e "$venv/.simstudy-incomplete" ] && [ -r "$venv/.simstudy-$1" ] || return 1
  [ "$(<"$venv/.simstudy-$1")" = "$2" ]
}

# Asks each candidate, because a command of that name may be a shim that leads nowhere, or a Python without `venv` (Debian). The
# answer is the base interpreter's path: the first found may be that of an activated .venv, which is about to be removed.
venv_find_python() {
  local candidate answer without_venv='' named=${SIMSTUDY_PYTHON:-}
  local candidates=(python3.13 python3.12 python3.11 python3)
  [ -z "$named" ] || candidates=("$named")
  for candidate in "${candidates[@]}"; do
    answer=$("$candidate" -c '
import sys
assert sys.version_info >= (3, 11)
try:
    import ensurepip, fcntl, venv
    print(getattr(sys, "_base_executable", sys.executable))
except ImportError:
    print("no venv")
' 2>/dev/null </dev/null) || continue
    if [ "$answer" != "no venv" ]; then
      venv_python=$answer
      return
    fi
    without_venv=${without_venv:-$candidate}
  done
  if [ -n "$without_venv" ]; then
    venv_die "$without_venv lacks the venv module; install it (Debian, Ubuntu: apt install python3-venv) and start again"
  elif [ -n "$named" ]; then
    venv_die "SIMSTUDY_PYTHON=$named is not a Python of version 3.11 or later"
  fi
  venv_die "no Python of version 3.11 or later on the PATH (tried python3.13, python3.12, python3.11, python3); install one, or name it in SIMSTUDY_PYTHON"
}

venv_lock() { # the lock belongs to file descriptor 9 of this shell, and is given up when that is closed
  exec 9<>"$venv_pins"
  "$venv_python" -c '
import fcntl, sys
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("simstudy: another start is setting up .venv; waiting for it ...", file=sys.stderr, flush=True)
    fcntl.flock(9, fcntl.LOCK_EX)
except OSError as error:
    print(f"simstudy: cannot lock here ({error}); do not start two first runs at once", file=sys.stderr)
'
}

venv_logged() { # COMMAND...: output goes to the log; on failure its end is shown
  "$@" >>"$venv/install.log" 2>&1 </dev/null && return
  tail -n 15 "$venv/install.log" | sed 's/^/  | /' >&2
  return 1
}

venv_pip() { venv_logged "$venv/bin/python" -m pip "$@"; }

venv_install() { # LEVEL
  local target=. pins=(-c "$venv_pins" --only-binary :all:) kind=pinned
  [ "$1" = run ] || target=".[test]"
  if [ "${SIMSTUDY_UNPINNED:-}" = 1 ]; then
    pins=(--prefer-binary)
    kind=unpinned
  fi
  # Settings that would make pip look past .venv, or install outside it. Which index it asks is the user's affair.
  unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX
  export PIP_USER=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1
  cd "$venv_root"

  if [ -e "$venv/.simstudy-incomplete" ] || ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
    [ ! -e "$venv" ] || venv_say "an earlier set-up did not finish, or its Python is gone: making .venv again"
    venv_say "setting up .venv (first use, about a minute) ..."
    rm -rf "$venv"
    mkdir "$venv"
    : >"$venv/.simstudy-incomplete"
    venv_logged "$venv_python" -m venv "$venv" || venv_die "$venv_python -m venv failed (last lines above)"
  else
    venv_say "bringing .venv up to date ..."
    : >"$venv/.simstudy-incomplete"
  fi
  rm -f "$venv/.simstudy-run" "$venv/.simstudy-test"
  venv_say "installing the $kind packages ..."
  # setuptools first and no build isolation: the build tool is pinned too, with any version of pip.
  if ! venv_pip install "${pins[@]}" 'setuptools>=77' ||
    ! venv_pip install "${pins[@]}" --no-build-isolation -e "$target"; then
    [ "$kind" = unpinned ] ||
      venv_say "if a pinned version does not exist for this Python or platform, SIMSTUDY_UNPINNED=1 installs without the pins"
    venv_die "installing the $kind packages failed (last lines above, all of it in .venv/install.log)"
  fi
}

venv_ensure() { # LEVEL. To be called under `set -e`, and not in a condition, which would switch that off inside.
  local stamp
  stamp=$(venv_stamp) || venv_die "pyproject.toml or requirements/constraints.txt is missing in $venv_root"
  venv_is_current "$1" "$stamp" && return
  (
    trap 'venv_say "set-up interrupted; the next start makes .venv again"; exit 130' INT TERM HUP
    venv_find_python
    venv_lock
    venv_is_current "$1" "$stamp" && exit 0 # another start did it while this one waited
    venv_install "$1"
    [ "$1" = run ] || printf '%s\n' "$stamp" >"$venv/.simstudy-run"
    printf '%s\n' "$stamp" >"$venv/.simstudy-$1"
    rm -f "$venv/.simstudy-incomplete"
    venv_say ".venv is ready"
  )
}
