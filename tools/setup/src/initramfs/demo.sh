# SPDX-License-Identifier: MIT OR Apache-2.0
# Introduces the VM in one line, then gives a shell or powers off.
after=off
for word in $(cat /proc/cmdline); do
    [ "$word" != vambrace.interactive ] || after=shell
done
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
