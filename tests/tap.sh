# For tests that are shell scripts: each `check` is a test, and its output is TAP, as that of the other test programs.
# shellcheck shell=bash
#
#   check "a sentence about behaviour" COMMAND...     COMMAND holds it; what it prints is shown when it fails
#   finish                                            the plan; the script's status
#
# A command is a function most of the time. It runs in a subshell with -e, where any failing line fails the test.

tap_count=0
tap_failed=0

# The command must not stand in a condition: bash would ignore -e in all that it calls.
check() {
  local sentence=$1 output status
  shift
  tap_count=$((tap_count + 1))
  output=$(set -e; "$@" 2>&1)
  status=$?
  if [ "$status" -eq 0 ]; then
    echo "ok $tap_count - $sentence"
  else
    tap_failed=$((tap_failed + 1))
    echo "not ok $tap_count - $sentence"
    echo "# status $status"
    # shellcheck disable=SC2001  # each line
    sed 's/^/# /' <<<"$output"
  fi
}

finish() {
  echo "1..$tap_count"
  [ "$tap_failed" -eq 0 ]
}
