#!/usr/bin/env bash
# Fetches the guest kernels from Debian's archive and unpacks them, installing nothing:
#   fetch_kernels.sh [--update] [SERIES...]        (default: 6.1 6.12 6.12-full)
# A series is what the package's version begins with: bookworm carries 6.1, bookworm-backports 6.12. SERIES-full is the
# flavour with every driver: a NIC's virtual functions need the one of their physical function. Each goes to
#   $CACHE/kernels/SERIES/{vmlinuz,modules/,release}
# where CACHE is $SPINRING_CACHE, else $XDG_CACHE_HOME/spinring, else ~/.cache/spinring. What is there already is left
# alone unless --update is given. Needs no root when apt's lists know the packages.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${SPINRING_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/spinring}/kernels

say() { echo "fetch_kernels.sh: $*" >&2; }

# "PACKAGE VERSION" of the newest kernel of a series. The meta package's newest record of that series names it, so no
# ABI number is written down here. The -cloud- flavour is a third of the size, and has VFIO and the virtual IOMMUs' drivers.
meta_package() {
  case "$1" in
    *-full) echo linux-image-amd64 ;;
    *) echo linux-image-cloud-amd64 ;;
  esac
}
kernel_package() {
  apt-cache show "$(meta_package "$1")" 2>/dev/null | awk -v series="${1%-full}" '
    /^Version: / { version = $2 }
    /^Depends: / { if (index(version, series ".") == 1) { sub(/,$/, "", $2); print $2, version; exit } }'
}

fetch() {
  local series=$1 package version release
  read -r package version < <(kernel_package "$series") || true
  if [ -z "${package:-}" ]; then
    if [ -n "${refreshed:-}" ]; then
      say "apt knows no $(meta_package "$series") of series ${series%-full}: add the suite that has it, or run apt-get update"
      return 1
    fi
    refreshed=yes
    "$here/enable_backports.sh" || { say "run as root once: $here/enable_backports.sh"; return 1; }
    fetch "$series"
    return
  fi

  work=$(mktemp -d "$cache/.fetch.XXXXXX")
  say "downloading $package $version"
  # The sandbox user of apt cannot write to a private folder; as root that only prints a warning.
  (cd "$work" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download "$package=$version")
  dpkg -x "$work"/*.deb "$work/root"
  release=$(basename "$(echo "$work"/root/boot/vmlinuz-*)")
  release=${release#vmlinuz-}
  mkdir "$work/kernel"
  mv "$work/root/boot/vmlinuz-$release" "$work/kernel/vmlinuz"
  # Debian 12 has modules in /lib, later releases in /usr/lib.
  mv "$work"/root/lib/modules/"$release" "$work/kernel/modules" 2>/dev/null ||
    mv "$work"/root/usr/lib/modules/"$release" "$work/kernel/modules"
  echo "$release" >"$work/kernel/release"
  rm -rf "${cache:?}/$series"
  mv "$work/kernel" "$cache/$series"
  rm -rf "$work"
  say "$series: $release in $cache/$series"
}

update=
series=()
for argument; do
  case "$argument" in
    --update) update=yes ;;
    -*) say "usage: fetch_kernels.sh [--update] [SERIES...]"; exit 2 ;;
    *) series+=("$argument") ;;
  esac
done
[ ${#series[@]} -gt 0 ] || series=(6.1 6.12 6.12-full)

mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9 # two tests that start at once fetch once
work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT
for one in "${series[@]}"; do
  if [ -n "$update" ] || [ ! -e "$cache/$one/release" ]; then fetch "$one"; fi
done
