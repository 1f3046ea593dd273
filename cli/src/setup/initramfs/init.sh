#!/bin/busybox sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Introduces the VM in one line, then gives a shell or powers off.
export PATH=/bin HOME=/tmp
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
busybox --install -s /bin

# The kernel's own messages no longer break into our line.
dmesg -n 1

name=linux
after=off
for word in $(cat /proc/cmdline); do
    case $word in
        vambrace.name=*) name=${word#*=} ;;
        vambrace.interactive) after=shell ;;
    esac
done
hostname "$name"
memory=$(awk '/^MemTotal:/ { print $2 }' /proc/meminfo)
echo "vambrace-demo: $name up: $(uname -r) cpus=$(nproc) memory=$memory"

if [ "$after" = shell ]; then
    echo "A shell on $name; poweroff ends it."
    # busybox poweroff without -f would ask an init of its own.
    alias poweroff='poweroff -f' reboot='reboot -f'
    export ENV=/tmp/aliases
    alias > "$ENV.raw"
    sed 's/^/alias /' "$ENV.raw" > "$ENV"
    cd /tmp
    setsid cttyhack sh
fi
poweroff -f
