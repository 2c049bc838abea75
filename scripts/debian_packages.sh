#!/bin/sh
# Installs Debian packages that tests use: debian_packages.sh PROGRAM PACKAGE. Nothing to do where PROGRAM is there.
# Only as root on a system with apt; elsewhere it does nothing, and the tests say what did not run. No service is
# started and no cluster is made: tests start their own servers in folders of their own.
set -eu
program=$1 package=$2
[ ! -x "$program" ] || exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0
echo "installing Debian's $package for the tests ..."
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
install() { apt-get install -qq -y --no-install-recommends "$package" >/dev/null; }
install 2>/dev/null || { apt-get update -qq && install; } || echo "cannot install $package" >&2
