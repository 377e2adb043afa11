#!/usr/bin/env bash
# What is installed, and that its manual pages say what the program does. Installs the release build into a temporary
# folder (DESTDIR).
set -uo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
. "$top/tests/tap.sh"
build=$top/build/release
world=$(mktemp -d)
trap 'rm -rf "$world"' EXIT
root=$world/root
version=$(sed -n 's/^project(.* VERSION \([0-9.]*\).*/\1/p' "$top/CMakeLists.txt")

cache() { sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"; }

builds_and_installs() {
  cd "$top"
  [ -e "$build/build.ninja" ] || cmake --preset release
  cmake --build --preset release
  DESTDIR=$root cmake --install "$build"
}

# Both ways: nothing is missing, and nothing else is there.
expected_files() {
  local name page
  printf '%s\n' bin/dpop bin/dpop-agent include/dpop-agent.h include/dpop-agent-curl.h \
    lib/systemd/{system,user}/dpop-agent.{service,socket} lib/sysusers.d/dpop-agent.conf \
    lib/tmpfiles.d/dpop-agent.conf share/bash-completion/completions/dpop
  for page in "$top"/agent/man/*.[1-8] "$top"/client/man/*.[1-8]; do
    echo "share/man/man${page##*.}/$(basename "$page")"
  done
  for name in libdpop-agent libdpop-agent-curl; do
    printf '%s\n' "$libdir/$name".{a,so,so.1,"so.$version"} "$libdir/pkgconfig/$name.pc"
    sed -n 's/^ *\(dpop_[a-z_]*\);$/\1/p' "$top/client/$name.map" | sed 's/.*/share\/man\/man3\/&.3/'
  done
}

every_file_is_in_its_place() {
  (cd "$root$prefix" && find . ! -type d | sed 's/^\.\///' | sort) >"$world/installed"
  expected_files | sort >"$world/expected"
  diff "$world/expected" "$world/installed"
  [ -z "$(find "$root" ! -type d ! -path "$root$prefix/*")" ]
}

modes_are_right() {
  [ -z "$(find "$root" -type f -perm /022)" ]
  [ -z "$(find "$root" -type f ! -path '*/bin/*' ! -name '*.so.*' -perm /111)" ]
  [ "$(stat -c %a "$root$prefix/bin/dpop-agent" "$root$prefix/bin/dpop" | sort -u)" = 755 ]
}

nothing_points_into_the_build_folder() {
  local file
  for file in "$root$prefix"/bin/* "$root$prefix/$libdir"/*.so; do
    readelf -d "$file" >"$world/dynamic"
    if grep -E 'RPATH|RUNPATH' "$world/dynamic"; then echo "$file"; return 1; fi
  done
  if grep -rl --include='*.pc' --include='*.service' -e "$top" "$root"; then return 1; fi
}

with_pkg_config() { PKG_CONFIG_PATH=$root$prefix/$libdir/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root pkg-config "$@"; }

a_program_builds_with_pkg_config() {
  cat >"$world/program.c" <<'END'
#include <dpop-agent.h>
#include <stdio.h>
int main(void)
{
    struct dpop_agent *agent = NULL;
    struct dpop_error err;
    int status = dpop_agent_connect(&agent, "/nowhere/socket", 1000, &err);
    return puts(dpop_version()) < 0 || status == DPOP_OK || agent != NULL;
}
END
  # shellcheck disable=SC2046  # words
  cc -Wall -Wextra -Werror -std=c11 -pedantic -o "$world/program" "$world/program.c" \
    $(with_pkg_config --cflags --libs libdpop-agent)
  [ "$(LD_LIBRARY_PATH=$root$prefix/$libdir "$world/program")" = "$version" ]
  [ "$(with_pkg_config --modversion libdpop-agent)" = "$version" ]
}

a_program_builds_with_the_curl_helper() {
  cat >"$world/curl.c" <<'END'
#include <dpop-agent-curl.h>
int main(void) { return dpop_curl_perform == NULL; }
END
  # shellcheck disable=SC2046
  cc -Wall -Wextra -std=c11 -o "$world/curl" "$world/curl.c" $(with_pkg_config --cflags --libs libdpop-agent-curl)
  LD_LIBRARY_PATH=$root$prefix/$libdir "$world/curl"
}

a_program_builds_with_the_static_library() {
  # shellcheck disable=SC2046
  cc -o "$world/static" "$world/program.c" $(with_pkg_config --cflags libdpop-agent) \
    "$root$prefix/$libdir/libdpop-agent.a"
  [ "$("$world/static")" = "$version" ]
}

# With the program's path in DESTDIR, since systemd-analyze wants it to be there.
units_are_correct() {
  local manager unit
  for manager in system user; do
    mkdir -p "$world/units/$manager"
    for unit in service socket; do
      sed "s#^ExecStart=$prefix/#ExecStart=$root$prefix/#" "$root$prefix/lib/systemd/$manager/dpop-agent.$unit" \
        >"$world/units/$manager/dpop-agent.$unit"
    done
    grep -q "^ExecStart=$root$prefix/bin/dpop-agent" "$world/units/$manager/dpop-agent.service"
    XDG_RUNTIME_DIR=$world systemd-analyze "--$manager" verify --man=no "$world/units/$manager"/dpop-agent.* \
      2>"$world/verify"
    if grep dpop-agent "$world/verify"; then return 1; fi
  done
}

# 0 is the safest, 100 the least safe; PrivateNetwork= and PrivateUsers= would keep it from its work.
system_service_is_hardened() {
  systemd-analyze security --offline=true --no-pager --threshold=15 "$world/units/system/dpop-agent.service"
}

# The lines that dpop-agent-tokens(7) gives for a TPM, as the unit has them in comments.
units_are_correct_with_a_tpm() {
  local page=$root$prefix/share/man/man7/dpop-agent-tokens.7 units=$world/units/tpm
  mkdir -p "$units/dpop-agent.service.d"
  cp "$world/units/system"/dpop-agent.* "$units"
  sed -n '/^\[Service\]$/,/^\.Ed$/{/^\.Ed/!p}' "$page" >"$units/dpop-agent.service.d/tpm.conf"
  [ "$(wc -l <"$units/dpop-agent.service.d/tpm.conf")" = 4 ]
  grep -v '^\[' "$units/dpop-agent.service.d/tpm.conf" | sed 's/^/#/' >"$world/tpm-lines"
  [ "$(grep -cxFf "$world/tpm-lines" "$units/dpop-agent.service")" = 3 ]
  systemd-analyze verify --man=no "$units/dpop-agent.service" 2>"$world/verify"
  if grep dpop-agent "$world/verify"; then return 1; fi
  systemd-analyze security --offline=true --no-pager --threshold=20 "$units/dpop-agent.service"
}

system_user_and_folder_can_be_made() {
  mkdir -p "$root/etc"
  systemd-sysusers --root="$root" "$root$prefix/lib/sysusers.d/dpop-agent.conf"
  grep -q '^dpop-agent:.*:/var/lib/dpop-agent:' "$root/etc/passwd"
  grep -q '^dpop-agent:' "$root/etc/group"
  systemd-tmpfiles --root="$root" --create "$root$prefix/lib/tmpfiles.d/dpop-agent.conf"
  [ "$(stat -c %a "$root/etc/dpop-agent")" = 750 ]
}

table=$top/agent/common/config_option.c
table_options() { sed -n 's/^    {"\([a-z]*\)", "\([a-z0-9-]*\)", KIND_.*/\1 \2/p' "$table"; }

page_options() {
  awk '/^\.Sh .* OPTIONS$/ { section = tolower($2) } /^\.Sh / && !/ OPTIONS$/ { section = "" }
    section != "" && /^\.It Ic / { print section, $3 }' "$page5"
}

every_option_is_in_the_page() {
  table_options | sort >"$world/table"
  page_options | sort >"$world/page"
  [ "$(wc -l <"$world/table")" -gt 50 ]
  diff "$world/table" "$world/page"
}

# A number's limits, and a choice's names, as the table has them.
limits_are_in_the_page() {
  local section name min max names
  sed -n 's/.*{"\([a-z]*\)", "\([a-z-]*\)", KIND_NUMBER,.*, \([0-9]*\), \([0-9]*\), NULL},/\1 \2 \3 \4/p' \
    "$table" >"$world/numbers"
  [ "$(wc -l <"$world/numbers")" -ge 3 ]
  while read -r section name min max; do
    awk -v section="$section" -v name="$name" \
      '/^\.Sh / { s = tolower($2) } /^\.It Ic / { o = $3 } s == section && o == name' "$page5" |
      tr '\n' ' ' | grep -q "$min to $max" || { echo "[$section] $name: $min to $max"; return 1; }
  done <"$world/numbers"
  tr '\n' ' ' <"$table" | grep -o 'const char \*const [a-z_]*\[\] = *{[^}]*NULL}' |
    sed 's/.*{ *"//; s/",  *NULL}//; s/",  *"/ /g' >"$world/choices"
  [ "$(wc -l <"$world/choices")" -ge 5 ]
  while read -r names; do
    for name in $names; do
      grep '^\.It Ic ' "$page5" | grep -qw -- "$name" || { echo "choice $name"; return 1; }
    done
  done <"$world/choices"
}

# How long a value may be: the table's MAX_..., of which some are the wire's LIMIT_....
lengths_are_in_the_page() {
  local name value
  sed -n 's/^#define \(MAX_[A-Z]*\) \([A-Z0-9_]*\).*/\1 \2/p' "$table" >"$world/lengths"
  [ "$(wc -l <"$world/lengths")" -ge 5 ]
  while read -r name value; do
    case $value in LIMIT_*) value=$(sed -n "s/^#define $value \([0-9]*\).*/\1/p" "$top/proto/messages.h") ;; esac
    sed -n '/^\.Ss Syntax$/,/^\.Sh /p' "$page5" | grep -qw -- "$value" || { echo "$name $value"; return 1; }
  done <"$world/lengths"
}

every_option_has_an_example() {
  awk '/^\.It Ic / { if (option != "") print option; option = $3 } /^\.Dl / && $2 == option { option = "" }
    END { if (option != "") print option }' "$page5" >"$world/without"
  cat "$world/without"
  [ ! -s "$world/without" ]
}

# The agent starts with it, and its exit status is the page's.
example_is_accepted() {
  local pid i
  sed -n '/^\.Bd -literal$/,/^\.Ed$/p' "$page5" | grep -v '^\.[BE]d' >"$world/agent.conf"
  mkdir -m 700 "$world/run"
  XDG_STATE_HOME=$world/state "$root$prefix/bin/dpop-agent" --config "$world/agent.conf" \
    --socket "$world/run/socket" 2>"$world/log" &
  pid=$!
  for ((i = 0; i < 100; i++)); do [ -S "$world/run/socket" ] && break; sleep 0.1; done
  cat "$world/log"
  [ -S "$world/run/socket" ]
  kill -s TERM "$pid"
  wait "$pid"
  [ ! -e "$world/run/socket" ]
}

wrong_options_end_with_2() {
  local status=0
  "$root$prefix/bin/dpop-agent" --no-such-option 2>/dev/null || status=$?
  [ "$status" -eq 2 ]
}

program_options_are_in_the_page() {
  local name
  "$root$prefix/bin/dpop-agent" --help >"$world/help"
  sed -n 's/^  --\([a-z]*\).*/\1/p' "$world/help" >"$world/names"
  [ "$(wc -l <"$world/names")" -ge 4 ]
  while read -r name; do
    grep -q "^\\.It Fl -$name" "$root$prefix/share/man/man8/dpop-agent.8" || { echo "--$name"; return 1; }
  done <"$world/names"
}

everything_has_a_page() {
  local page
  for page in man1/dpop.1 man5/dpop-agent.conf.5 man7/dpop-agent-tokens.7 man8/dpop-agent.8; do
    [ -s "$root$prefix/share/man/$page" ]
  done
  sed -n 's/^ *\(dpop_[a-z_]*\);.*/\1/p' "$top"/client/*.map >"$world/functions"
  [ "$(wc -l <"$world/functions")" -gt 5 ]
  while read -r page; do
    [ -s "$root$prefix/share/man/man3/$page.3" ] || { echo "$page"; return 1; }
  done <"$world/functions"
}

pages_are_correct() {
  local page
  find "$root$prefix/share/man" -type f ! -size 0 >"$world/pages"
  while read -r page; do
    grep -q '^\.so ' "$page" || mandoc -T lint -W warning "$page"
  done <"$world/pages"
  [ -z "$(find "$root$prefix/share/man" -type f -size 0)" ]
}

check "the release build is made and installed" builds_and_installs
prefix=$(cache CMAKE_INSTALL_PREFIX)
libdir=$(cache CMAKE_INSTALL_LIBDIR)
page5=$root$prefix/share/man/man5/dpop-agent.conf.5
check "every file is where it belongs, and there is no other" every_file_is_in_its_place
check "only programs and libraries can be executed, and nothing can be written by others" modes_are_right
check "nothing that is installed points into the build folder" nothing_points_into_the_build_folder
check "a program builds with pkg-config's libdpop-agent, and runs" a_program_builds_with_pkg_config
check "a program builds with pkg-config's libdpop-agent-curl, and runs" a_program_builds_with_the_curl_helper
check "a program builds with the static library" a_program_builds_with_the_static_library
check "systemd finds no mistake in the units" units_are_correct
check "the system's service is hardened as far as its work allows" system_service_is_hardened
check "systemd finds no mistake in the lines for a TPM, and the service stays hardened with them" \
  units_are_correct_with_a_tpm
check "the system's user, group and configuration folder can be made" system_user_and_folder_can_be_made
check "dpop-agent.conf(5) has every option of the table and no other" every_option_is_in_the_page
check "dpop-agent.conf(5) has the limits and choices of the table" limits_are_in_the_page
check "dpop-agent.conf(5) has the lengths of the table" lengths_are_in_the_page
check "dpop-agent.conf(5) has an example of every option" every_option_has_an_example
check "the agent starts with the examples in dpop-agent.conf(5), and ends with 0 on SIGTERM" example_is_accepted
check "the agent ends with 2 on wrong options" wrong_options_end_with_2
check "dpop-agent(8) has every option of the program" program_options_are_in_the_page
check "programs, formats, libraries and every public function have a manual page" everything_has_a_page
check "mandoc has nothing to say about the manual pages" pages_are_correct
finish
