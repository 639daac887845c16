#!/bin/sh
# promote.sh FROM TO: makes environment TO run what FROM runs.
set -eu
cd "$(dirname "$0")/.."
digest=$(sed -n 's/.*digest: \(sha256:[0-9a-f]*\).*/\1/p' "overlays/$1/kustomization.yaml")
case $digest in
"" | *0000000000000000000000000000000000000000000000000000000000000000)
	echo "promote: $1 has no image yet" >&2
	exit 1
	;;
esac
exec sh scripts/set-image.sh "$2" "$digest"
