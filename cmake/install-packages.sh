# Sourced by examples/quickstart.sh and tests/run.sh.

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" </dev/null
}

# missing_packages PURPOSE: what debian-packages.txt lists for the purpose and this machine lacks.
missing_packages() {
  local package
  sed -n "s/^$1 //p" "$(dirname "${BASH_SOURCE[0]}")/debian-packages.txt" | while read -r package; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
  done
}

# install_packages PURPOSE...: installs what is missing for the purposes. Of `extra` it takes what there is, and goes on
# without the rest. Where there is no apt it only says what is needed: the same things may be there under other names.
install_packages() {
  local purpose package needed=() wanted=()
  for purpose in "$@"; do
    for package in $(missing_packages "$purpose"); do
      if [ "$purpose" = extra ]; then wanted+=("$package"); else needed+=("$package"); fi
    done
  done
  [ ${#needed[@]} -gt 0 ] || [ ${#wanted[@]} -gt 0 ] || return 0

  if ! command -v apt-get >/dev/null; then
    [ ${#needed[@]} -eq 0 ] || echo "Needed here, by their names in Debian: ${needed[*]}" >&2
    [ ${#wanted[@]} -eq 0 ] || echo "Of use too: ${wanted[*]}" >&2
    return 0
  fi
  if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
    echo "Neither root nor sudo here. As root: apt-get install ${needed[*]} ${wanted[*]}" >&2
    [ ${#needed[@]} -eq 0 ]
    return
  fi

  [ -n "$(find /var/lib/apt/lists -name '*_Packages*' -print -quit)" ] || as_root apt-get update
  if [ ${#needed[@]} -gt 0 ]; then
    echo "Installing ${needed[*]}"
    apt_install "${needed[@]}" || { as_root apt-get update && apt_install "${needed[@]}"; } || {
      echo "apt-get could not install: ${needed[*]}" >&2
      return 1
    }
  fi
  for package in "${wanted[@]}"; do
    if apt-cache show "$package" >/dev/null 2>&1; then
      echo "Installing $package"
      apt_install "$package" || echo "Going on without $package" >&2
    fi
  done
}
