# shellcheck shell=bash
# What the scripts share.

root=github.com/authsec-go/authsec

# module_path DIR: the path of the module in a folder.
module_path() { if [ "$1" = . ]; then echo "$root"; else echo "$root/$1"; fi; }

# tag_of DIR VERSION: the tag of a version of the module in a folder.
tag_of() { if [ "$1" = . ]; then echo "$2"; else echo "$1/$2"; fi; }

# requires DIR: which of our other modules the module in a folder requires.
requires() { sed -nE "s#^(require)?[[:space:]]*(${root}[^ ]*) v.*#\2#p" "$1/go.mod"; }

# apart WORK GOPROXY COMMAND...: runs a command that sees versions of ours that are not
# public. They must never get into this machine's own cache of modules, so the command
# uses another cache. With -trimpath, what is built does not depend on that folder's name.
# $others is where modules of others come from: what this machine has, then its usual proxies.
apart() {
	local work=$1 proxy=$2
	shift 2
	env GOWORK=off GOFLAGS="-modcacherw -trimpath" GOMODCACHE="$work/mod" GONOSUMDB="$root,$root/*" GOPROXY="$proxy" "$@"
}
others="file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY)"
export others

# fail TEXT...: ends the script with a text that says why.
fail() {
	printf '%s: %s\n' "scripts/$(basename "$0")" "$*" >&2
	exit 1
}
