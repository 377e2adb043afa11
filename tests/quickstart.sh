#!/usr/bin/env bash
# packaging/quickstart in a private folder of its own: the first run, a second one, one after a crash, and stop.
set -uo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
. "$top/tests/tap.sh"
world=$(mktemp -d)
export DPOP_QUICKSTART_FOLDER="$world/a folder"
folder=$DPOP_QUICKSTART_FOLDER
unset DPOP_AGENT_SOCKET
trap '"$top/packaging/quickstart" stop >/dev/null 2>&1; rm -rf "$world"' EXIT

quickstart() { (cd / && timeout 900 "$top/packaging/quickstart" "$@"); }
pids() { cat "$folder/agent.pid" "$folder/servers.pid"; }
state() { sha256sum "$folder/agent.conf" "$folder/ports" "$folder/servers/client-secret" && pids; }

# The commands that the output ends with, one a line.
commands() { sed -n '/^Go on by hand:$/,/^Configuration:/p' "$world/first" | sed '1d;$d'; }

ends_with_200() {
  quickstart >"$world/first" 2>&1 || { cat "$world/first"; return 1; }
  cat "$world/first"
  grep -Eq '^HTTP/[0-9.]+ 200' "$world/first"
  grep -q '"ok":true' "$world/first"
  grep -q "\"jkt\":\"$(sed -n 's/^thumbprint = //p' "$folder/agent.conf")\"" "$world/first"
}

each_step_is_a_line() {
  local step
  for step in dependencies build agent key servers profile request; do
    [ "$(grep -c "^  $step " "$world/first")" -eq 1 ] || { echo "$step"; return 1; }
  done
  if grep -q failed "$world/first"; then return 1; fi
}

key_is_made_inside_the_token() {
  "$top/build/release/client/dpop" --socket "$folder/socket" key show default >"$world/key"
  cat "$world/key"
  grep -q '^attributes .*sensitive.*never-extractable.*local' "$world/key"
  grep -q '^imported  *no' "$world/key"
}

folder_is_private() {
  [ "$(stat -c %a "$folder")" = 700 ]
  [ -z "$(find "$folder" -perm /077 ! -type l ! -type s -path '*state*')" ]
  [ "$(stat -c %a "$folder/servers/client-secret")" = 600 ]
}

no_secret_is_on_a_command_line() {
  local secret file
  for file in "$folder/servers/client-secret" "$folder"/state/dpop-agent/*.pin; do
    secret=$(cat "$file")
    [ ${#secret} -ge 8 ]
    if grep -lF -e "$secret" /proc/[0-9]*/cmdline 2>/dev/null; then return 1; fi
    if grep -rlF -e "$secret" "$folder"/*.log "$world/first"; then return 1; fi
  done
}

printed_commands_work() {
  local line
  commands >"$world/commands"
  [ "$(wc -l <"$world/commands")" -eq 6 ]
  while read -r line; do
    echo "$line"
    bash -euo pipefail -c "$(head -n 1 "$world/commands"); $line" >"$world/output" 2>&1 || { cat "$world/output"; return 1; }
    case $line in *' headers '* | *' request '*) grep -q '"ok":true' "$world/output" ;; esac
  done <"$world/commands"
}

second_run_changes_nothing() {
  local before began=$SECONDS
  before=$(state)
  quickstart
  [ "$before" = "$(state)" ]
  echo "$((SECONDS - began)) s"
  [ $((SECONDS - began)) -le 15 ]
}

# As a reboot does: the processes are gone, their ids are somebody else's, the socket and the servers' listing are left.
goes_on_after_a_crash() {
  local before
  before=$(sha256sum "$folder/agent.conf" "$folder/ports" "$folder/servers/client-secret")
  pids | xargs kill -s KILL
  sleep 60 &
  echo $! >"$folder/agent.pid"
  quickstart
  kill $! # it was left alone
  [ "$before" = "$(sha256sum "$folder/agent.conf" "$folder/ports" "$folder/servers/client-secret")" ]
}

failure_is_told() {
  local status=0 port occupant
  kill -s TERM "$(cat "$folder/servers.pid")"
  read -r port _ <"$folder/ports"
  sleep 1
  "$top/tests/servers/node" -e 'require("node:net").createServer().listen(process.argv[1], "127.0.0.1")' "$port" &
  occupant=$!
  for ((i = 0; i < 100; i++)); do (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break; sleep 0.1; done
  quickstart >"$world/failure" 2>&1 || status=$?
  kill "$occupant"
  cat "$world/failure"
  [ "$status" -ne 0 ]
  grep -q '^quickstart: servers: ' "$world/failure"
  grep -q 'EADDRINUSE' "$world/failure"
}

foreign_folder_is_left_alone() {
  mkdir "$world/foreign"
  : >"$world/foreign/file"
  if DPOP_QUICKSTART_FOLDER=$world/foreign quickstart; then return 1; fi
  if DPOP_QUICKSTART_FOLDER=$world/foreign quickstart stop; then return 1; fi
  [ -e "$world/foreign/file" ]
}

stop_leaves_nothing() {
  quickstart stop
  [ ! -e "$folder" ]
  if grep -lF -e "$folder" /proc/[0-9]*/cmdline 2>/dev/null; then return 1; fi
  [ -x "$top/build/release/agent/dpop-agent" ]
}

check "quickstart ends with the resource server's 200 and body" ends_with_200
check "quickstart shows each step in a line" each_step_is_a_line
check "quickstart's key was generated inside the token" key_is_made_inside_the_token
check "quickstart's folder is private" folder_is_private
check "no secret of quickstart's is on a command line or in a log" no_secret_is_on_a_command_line
check "the commands to go on by hand work" printed_commands_work
check "a second run is fast and changes nothing that exists" second_run_changes_nothing
check "a run after a crash goes on with the same key, configuration and ports" goes_on_after_a_crash
check "a step that fails tells the reason and the end of its log" failure_is_told
check "a folder that is not quickstart's is left alone" foreign_folder_is_left_alone
check "stop ends all processes and removes the folder" stop_leaves_nothing
check "stop with nothing to stop succeeds" quickstart stop
finish
