#!/bin/sh
# Installs Debian packages that tests use: debian_packages.sh PROGRAM PACKAGE... Nothing to do where PROGRAM is there.
# Only as root on a system with apt; elsewhere it does nothing, and the tests say what did not run. No service is
# started and no cluster or directory is made: tests start their own servers in folders of their own.
set -eu
program=$1
shift
[ ! -x "$program" ] || exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0
echo "installing Debian's $* for the tests ..."
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
echo "slapd slapd/no_configuration boolean true" | debconf-set-selections
# What packages ask before they start a service; 101 forbids it. One that is there already is the administrator's.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	trap 'rm -f $policy' EXIT
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
install() { apt-get install -qq -y --no-install-recommends "$@" >/dev/null; }
install "$@" 2>/dev/null || { apt-get update -qq && install "$@"; } || echo "cannot install $*" >&2
