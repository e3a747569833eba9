#!/usr/bin/env bash
# Installs what spinring builds and tests with on Debian 12, from Debian's own archive: packages.txt beside this file.
# Backports are taken from the mirror that this machine already uses. Does nothing when all is there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

sudo_cmd=()
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo_cmd=(sudo); fi
fi

missing=()
backports=()
while read -r name suite; do
  case "$name" in '' | '#'*) continue ;; esac
  version=$(dpkg-query -W -f='${db:Status-Status} ${Version}' "$name" 2>/dev/null || true)
  case "$version" in
    installed*bpo*) continue ;;
    installed*) [ -z "$suite" ] && continue ;;
  esac
  if [ -n "$suite" ]; then backports+=("$name"); else missing+=("$name"); fi
done <"$here/packages.txt"

if [ ${#missing[@]} -eq 0 ] && [ ${#backports[@]} -eq 0 ]; then exit 0; fi
if [ "$(id -u)" -ne 0 ] && [ ${#sudo_cmd[@]} -eq 0 ]; then
  echo "install.sh: these packages are missing and this user may not install them: ${missing[*]} ${backports[*]}" >&2
  echo "install.sh: run as root once: $here/install.sh" >&2
  exit 1
fi

export DEBIAN_FRONTEND=noninteractive
apt_get() { "${sudo_cmd[@]}" apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@"; }

"$here/enable_backports.sh"
echo "install.sh: installing ${missing[*]} ${backports[*]}"
if [ ${#missing[@]} -gt 0 ]; then apt_get install -y --no-install-recommends "${missing[@]}" >/dev/null; fi
if [ ${#backports[@]} -gt 0 ]; then
  apt_get install -y --no-install-recommends -t bookworm-backports "${backports[@]}" >/dev/null
fi
