#!/bin/sh
# set-image.sh ENVIRONMENT DIGEST: makes an environment run the image with that
# digest. It changes the overlay in the working tree; committing it is the
# deployment.
set -eu
cd "$(dirname "$0")/.."
file=overlays/$1/kustomization.yaml
digest=$2

case $digest in
sha256:*) hex=${digest#sha256:} ;;
*) hex= ;;
esac
if [ ${#hex} -ne 64 ] || [ -n "$(printf %s "$hex" | tr -d 0-9a-f)" ]; then
	echo "set-image: $digest is not a sha256 digest" >&2
	exit 2
fi
if [ ! -f "$file" ]; then
	echo "set-image: there is no $file" >&2
	exit 2
fi

sed -e "s/digest: sha256:[0-9a-f]*/digest: $digest/" \
	-e 's/count: 0 # becomes \([0-9]*\) with the first image/count: \1/' \
	"$file" >"$file.new"
mv "$file.new" "$file"
grep -q "digest: $digest" "$file"
