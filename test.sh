#!/usr/bin/env bash
# Builds spinring in every configuration and runs every test that this machine can run:
#   ./test.sh [--quick] [--no-install] [--only unit|style|device|vhost|install|fuzz|guest]
#   --quick        g++ without optimisation: unit, short device tests, quick style checks; 3 to 6 minutes, 1 or 2 once compiled
#   --no-install   do not install missing packages
#   --only SUITE   that suite alone, in each configuration that has it
# The last line is "N passed, N failed, N skipped". Exit status 1 if a test failed, or if one was skipped that this
# machine could run. docs/testing.md tells more.
set -euo pipefail
cd "$(dirname "$0")"

install=yes
only=
quick=
arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=yes && arguments+=("$1") ;;
    --no-install) install= ;;
    --only) only=${2:-} && arguments+=("$1" "$only") && shift ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0" && exit 0 ;;
    *) echo "test.sh: unknown argument $1; see ./test.sh --help" >&2 && exit 2 ;;
  esac
  shift
done

if [ -n "$install" ] && ! config/install.sh; then
  echo "FAILED: packages are missing (./test.sh --no-install goes on without)"
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
fi

# Packet memory lies in hugepages. Root reserves what the tests want and puts the number back afterwards.
pages=/proc/sys/vm/nr_hugepages
wanted=512
if [ "$(id -u)" -eq 0 ] && [ -w $pages ] && [ "$(cat $pages)" -lt $wanted ]; then
  before=$(cat $pages)
  trap 'echo "$before" >$pages' EXIT
  echo $wanted >$pages
  echo "hugepages: $before -> $(cat $pages) of 2 MiB, put back at the end"
fi

# The guest's kernels come from Debian's packages; nothing is installed.
if [ -z "$quick" ] && { [ -z "$only" ] || [ "$only" = guest ]; }; then
  config/fetch_kernels.sh || arguments+=(--no-kernels)
fi

status=0
python3 tests/runner/main.py ${arguments[@]+"${arguments[@]}"} || status=$?
exit $status
