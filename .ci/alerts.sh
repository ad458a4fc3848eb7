#!/usr/bin/env bash
# The alert rules parse, and each is seen to fire. promtool comes in Debian's package prometheus, of which nothing else is
# wanted, so it is unpacked rather than installed.
set -euo pipefail
cd "$(dirname "$0")/.."

promtool=$(command -v promtool || true)
if [ -z "$promtool" ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  # The download runs as a user of its own, which must be let in.
  chmod 755 "$folder"
  (cd "$folder" && apt-get update -qq && apt-get download -qq prometheus && dpkg-deb --extract prometheus_*.deb .)
  promtool=$folder/usr/bin/promtool
fi
"$promtool" check rules ops/alerts.yml
"$promtool" test rules ops/alerts_test.yml
