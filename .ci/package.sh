#!/usr/bin/env bash
# Builds the Debian package, installs it into a fresh root, and runs what it brought from there. The package is left in
# target/package.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v cargo-deb >/dev/null || cargo install --quiet --locked cargo-deb
cargo build --quiet --release --locked -p hezong

# What the binary says of itself is packed with it.
out=target/package
hezong=target/release/hezong
rm -rf "$out"
mkdir -p "$out"
"$hezong" man "$out/man"
"$hezong" completions bash >"$out/hezong.bash"
"$hezong" completions zsh >"$out/_hezong"
"$hezong" completions fish >"$out/hezong.fish"
"$hezong" example-config >"$out/hezong.toml"
bash -n "$out/hezong.bash"
cargo deb --quiet -p hezong --no-build --output "$out/"
deb=("$out"/hezong_*.deb)
dpkg-deb --info "${deb[0]}"

# A root with nothing in it has none of the libraries the package depends on; they are the host's.
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates"
touch "$root/var/lib/dpkg/status"
dpkg=(dpkg --root="$root" --force-depends --force-script-chrootless --log=/dev/null)
"${dpkg[@]}" --install "${deb[0]}" 2>&1 | grep -v "depends on\|dependency problems\|is not installed" || true
[ "$(dpkg-query --root="$root" --show --showformat='${Status}' hezong)" = "install ok installed" ]

installed=$root/usr/bin/hezong
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
[ "$("$installed" --version)" = "hezong $version" ]
"$installed" check-config "$root/etc/hezong/hezong.toml"
# It is not only there but used: a mistake in the installed file is found.
sed 's/^#election_timeout = .*/election_timout = "1s"/' "$root/etc/hezong/hezong.toml" >"$root/wrong.toml"
if said=$("$installed" check-config "$root/wrong.toml" 2>&1); then
  echo "package: a mistake in the file was not found" >&2
  exit 1
fi
grep -q "did you mean raft.election_timeout" <<<"$said"
for page in hezong hezong-node hezong-check-config; do
  zcat -f "$root/usr/share/man/man1/$page.1"* | grep -q "^.TH"
done
for file in usr/lib/systemd/system/hezong.service usr/share/bash-completion/completions/hezong \
  usr/share/zsh/vendor-completions/_hezong usr/share/fish/vendor_completions.d/hezong.fish \
  usr/share/hezong/alerts.yml usr/share/hezong/grafana.json usr/share/doc/hezong/copyright; do
  [ -s "$root/$file" ] || { echo "package: $file is missing" >&2; exit 1; }
done
if command -v systemd-analyze >/dev/null; then
  # As on a machine where the package is installed, except that the binary is in the fresh root.
  mkdir "$root/unit"
  sed "s|^ExecStart=|&$root|" "$root/usr/lib/systemd/system/hezong.service" >"$root/unit/hezong.service"
  systemd-analyze verify --man=no "$root/unit/hezong.service"
fi

# One node of the installed binary, with the installed file, as the unit starts it.
port=$((20000 + $$ % 10000))
taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
while taken "$port" || taken $((port + 1)); do port=$((port + 2)); done
HEZONG_DATA_DIR=$root/var/lib/hezong "$installed" node --config "$root/etc/hezong/hezong.toml" --bootstrap \
  --id node01 --http "127.0.0.1:$port" --peer "127.0.0.1:$((port + 1))" --disk-reserve 0 2>"$root/log" &
node=$!
"$installed" put --endpoints "127.0.0.1:$port" --timeout 60 greeting hello >/dev/null
[ "$("$installed" get --endpoints "127.0.0.1:$port" greeting)" = hello ]
kill "$node"
wait "$node"

# Removing keeps what a person wrote and the data; purging takes the settings too.
"${dpkg[@]}" --remove hezong >/dev/null
[ ! -e "$installed" ] && [ -e "$root/etc/hezong/hezong.toml" ] && [ -e "$root/var/lib/hezong/identity" ]
"${dpkg[@]}" --purge hezong >/dev/null
[ ! -e "$root/etc/hezong/hezong.toml" ] && [ -e "$root/var/lib/hezong/identity" ]
echo "package: ${deb[0]} installs, runs and goes"
