#!/usr/bin/env bash
# Makes what is handed out: scripts/package.sh [--binary FILE] [--out DIR] [--fast] deb|tar|sbom|all
#
#   deb   a Debian package, by dpkg-deb
#   tar   a tarball with the binary, the unit, completions, manual pages, an example of the configuration
#   sbom  a CycloneDX list of what is in the binary
#
# Without --binary the release build is made first. --fast packs badly and quickly, for tests.
# SOURCE_DATE_EPOCH dates what is packed; without it the last commit does. The same source makes the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."

binary='' out=target/package fast=''
while [ $# -gt 0 ]; do
  case $1 in
    --binary) binary=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --fast) fast=1; shift ;;
    -*) echo "$0: there is no $1" >&2; exit 2 ;;
    *) break ;;
  esac
done
what=${1:-all}

need() { # need COMMAND PACKAGE
  command -v "$1" >/dev/null 2>&1 || { echo "$1 is needed (Debian package $2)" >&2; exit 1; }
}

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
[ -n "$version" ] || { echo "Cargo.toml has no version" >&2; exit 1; }
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022

# The binary runs wherever there is a C library: it may need nothing else of a system.
check_libraries() {
  local foreign
  foreign=$(ldd "$1" | awk '{print $1}' | grep -vE '^(linux-vdso|libc|libm|libgcc_s|libpthread|libdl|librt)\.so|^/lib.*/ld-linux|^statically$|^not$' || true)
  [ -z "$foreign" ] || { echo "$1 needs libraries that a system may lack: $(echo "$foreign" | tr '\n' ' ')" >&2; exit 1; }
}

prepare() {
  if [ -z "$binary" ]; then
    cargo build --release --locked --bin crosspoint
    binary=${CARGO_TARGET_DIR:-target}/release/crosspoint
  fi
  check_libraries "$binary"
}

# tree ROOT: what both packages have, as it lies in a system.
tree() {
  local root=$1 doc=$1/usr/share/doc/crosspoint
  install -d "$root/usr/bin" "$doc/examples" "$root/usr/share/man/man1" "$root/usr/share/bash-completion/completions" \
    "$root/usr/share/zsh/vendor-completions" "$root/usr/share/fish/vendor_completions.d"
  install -m 755 "$binary" "$root/usr/bin/crosspoint"
  local run=$root/usr/bin/crosspoint
  need strip binutils
  # What BOLT has laid out is stripped already (scripts/tuned.sh), and would crash after this.
  local sections
  sections=$(readelf --sections --wide "$run")
  case $sections in
    *.note.bolt_info*) ;;
    *) strip --strip-unneeded --remove-section=.comment --remove-section=.note "$run" ;;
  esac
  "$run" completions bash >"$root/usr/share/bash-completion/completions/crosspoint"
  "$run" completions zsh >"$root/usr/share/zsh/vendor-completions/_crosspoint"
  "$run" completions fish >"$root/usr/share/fish/vendor_completions.d/crosspoint.fish"
  "$run" man --out "$root/usr/share/man/man1"
  # As init writes it, but for the data folder, which is the service's.
  "$run" init --no-users --config "$work/crosspoint.toml" --data "$work/data" >/dev/null
  sed 's|^# data = "crosspoint-data"|data = "/var/lib/crosspoint"|' "$work/crosspoint.toml" >"$work/conffile"
  grep -q '^data = "/var/lib/crosspoint"' "$work/conffile" || { echo "init's file has no line for the data folder" >&2; exit 1; }
  rm -rf "$work/crosspoint.toml" "$work/data"
  install -m 644 README.md SECURITY.md "$doc"
  sbom "$doc/crosspoint.cdx.json"
}

# dated ROOT: nothing in it is younger than its source.
dated() {
  find "$1" -print0 | xargs -0 touch --no-dereference --date="@$SOURCE_DATE_EPOCH"
}

deb() {
  need dpkg-deb dpkg
  local root=$work/deb architecture
  architecture=$(dpkg --print-architecture)
  tree "$root"
  local doc=$root/usr/share/doc/crosspoint
  install -d "$root/DEBIAN" "$root/etc/crosspoint" "$root/lib/systemd/system"
  install -m 644 "$work/conffile" "$root/etc/crosspoint/crosspoint.toml"
  install -m 644 packaging/crosspoint.service "$root/lib/systemd/system"
  install -m 644 packaging/debian/README.Debian "$doc"
  echo /etc/crosspoint/crosspoint.toml >"$root/DEBIAN/conffiles"
  install -m 755 packaging/debian/{postinst,prerm,postrm} "$root/DEBIAN"
  # The licence in the form that Debian reads: indented, with a dot for each empty line, and without its title.
  sed '1,4d; s/^$/./; s/^/ /' LICENSE-MIT >"$work/mit"
  sed -e "/^@MIT@$/{r $work/mit" -e 'd}' packaging/debian/copyright >"$doc/copyright"
  printf 'crosspoint (%s) stable; urgency=medium\n\n  * CHANGELOG.md of the source tells what is new.\n\n -- %s  %s\n' \
    "$version" "Crosspoint developers <packages@crosspoint.example>" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" >"$doc/changelog"
  rmdir "$doc/examples"
  gzip -9n "$doc/changelog" "$doc/crosspoint.cdx.json" "$root"/usr/share/man/man1/*.1
  # The newest version of the C library's symbols that the binary asks for.
  local libc
  libc=$(grep -aoE 'GLIBC_[0-9]+\.[0-9.]*[0-9]' "$root/usr/bin/crosspoint" | sed 's/GLIBC_//' | sort -uV | tail -n 1)
  sed -e "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@LIBC@/${libc:-2.36}/" \
    -e "s/@SIZE@/$(du -sk --apparent-size --exclude=DEBIAN "$root" | cut -f1)/" packaging/debian/control.in >"$root/DEBIAN/control"
  (cd "$root" && find usr lib -type f -print0 | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
  dated "$root"
  local file=$out/crosspoint_${version}_$architecture.deb
  dpkg-deb --root-owner-group ${fast:+-Zgzip -z1} --build "$root" "$file" >/dev/null
  echo "$file"
}

tarball() {
  local name
  name=crosspoint-$version-linux-$(uname -m)
  local root=$work/tar/$name
  tree "$root"
  install -d "$root/usr/lib/systemd/system"
  install -m 644 packaging/crosspoint.service "$root/usr/lib/systemd/system"
  install -m 644 "$work/conffile" "$root/usr/share/doc/crosspoint/examples/crosspoint.toml"
  install -m 644 LICENSE-MIT LICENSE-APACHE CHANGELOG.md "$root/usr/share/doc/crosspoint"
  dated "$root"
  local file=$out/$name.tar.gz
  tar --sort=name --owner=0 --group=0 --numeric-owner --format=gnu -C "$work/tar" -cf - "$name" | gzip -n "$([ -n "$fast" ] && echo -1 || echo -9)" >"$file"
  echo "$file"
}

sbom() { # sbom FILE
  need python3 python3
  python3 scripts/sbom.py --version "$version" --output "$1"
}

case $what in
  deb) prepare; deb ;;
  tar) prepare; tarball ;;
  sbom) sbom "$out/crosspoint-$version.cdx.json"; echo "$out/crosspoint-$version.cdx.json" ;;
  all) prepare; deb; tarball; sbom "$out/crosspoint-$version.cdx.json"; echo "$out/crosspoint-$version.cdx.json" ;;
  *) echo "$0: deb, tar, sbom or all" >&2; exit 2 ;;
esac
