#!/usr/bin/env bash
# Shows what spinring does: installs what is missing, builds, boots a guest with a virtual IOMMU, and lets two network
# namespaces of this machine reach each other only through spinring-testpmd in the guest:
#   ./demo.sh [--nic virtio|e1000|e1000e|igb|igbvf] [--kernel 6.12|6.1] [--iommu intel|virtio] [--no-install]
# Without root the frames come from this script over unix sockets instead of from namespaces.
set -euo pipefail
cd "$(dirname "$0")"

install=yes
kernel=
nic=virtio
arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    --no-install) install= ;;
    --nic | --kernel | --iommu)
      [ $# -ge 2 ] || { echo "demo.sh: $1 needs a value" >&2 && exit 2; }
      case $1 in
        --kernel) kernel=$2 ;;
        *) arguments+=("$1" "$2") ;;
      esac
      if [ "$1" = --nic ]; then nic=$2; fi
      shift
      ;;
    -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0" && exit 0 ;;
    *) echo "demo.sh: unknown argument $1; see ./demo.sh --help" >&2 && exit 2 ;;
  esac
  shift
done

# A virtual function needs its owner's driver in the guest's kernel.
if [ -z "$kernel" ]; then
  kernel=6.12
  if [ "$nic" = igbvf ]; then kernel=6.12-full; fi
fi

SECONDS=0
say() { printf '[%5d s] %s\n' "$SECONDS" "$*"; }

say "packages"
if [ -n "$install" ]; then config/install.sh; fi
say "building spinring-testpmd (g++, release) in build/demo"
[ -e build/demo/build.ninja ] || meson setup build/demo -Dbench=disabled -Dunity=on -Dunity_size=8 >build-demo.log 2>&1 ||
  { tail -n 20 build-demo.log >&2 && exit 1; }
rm -f build-demo.log
ninja -C build/demo apps/testpmd/spinring-testpmd | tail -n 1
say "the guest's kernel"
config/fetch_kernels.sh "$kernel"
exec python3 tests/guest/demo.py --program build/demo/apps/testpmd/spinring-testpmd --logs build/demo/guest \
  --kernel "$kernel" --elapsed "$SECONDS" ${arguments[@]+"${arguments[@]}"}
