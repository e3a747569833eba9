#!/usr/bin/env bash
# Adds bookworm-backports to apt's sources, on the mirror that this machine's bookworm sources name.
set -euo pipefail
sudo_cmd=()
if [ "$(id -u)" -ne 0 ]; then sudo_cmd=(sudo); fi
"${sudo_cmd[@]}" apt-get -qq update
if apt-get indextargets --format '$(CODENAME)' | grep -qx bookworm-backports; then exit 0; fi
mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' | awk '$1 == "bookworm" { print $2; exit }')
if [ -z "$mirror" ]; then
  echo "enable_backports.sh: apt's sources name no bookworm mirror; spinring's scripts support Debian 12" >&2
  exit 1
fi
printf 'Types: deb\nURIs: %s\nSuites: bookworm-backports\nComponents: main\nSigned-By: %s\n' \
  "$mirror" /usr/share/keyrings/debian-archive-keyring.gpg |
  "${sudo_cmd[@]}" tee /etc/apt/sources.list.d/bookworm-backports.sources >/dev/null
"${sudo_cmd[@]}" apt-get -qq update
