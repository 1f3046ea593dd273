#!/bin/busybox sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# How each init of ours begins.
export PATH=/bin HOME=/tmp
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
busybox --install -s /bin

# The kernel's own messages no longer break into our line.
dmesg -n 1

# The drivers of the VM's devices, where they are no part of the kernel.
if [ -e /modules/order ]; then
    while read -r module; do insmod "/modules/$module.ko"; done < /modules/order
fi

stop() {
    echo "vambrace-init: $1" > /dev/console
    poweroff -f
}

# As the kernel would read it (Documentation/admin-guide/nfs/nfsroot.rst), had it the driver.
set_address() {
    IFS=: read -r address server gateway netmask host device how names more <<WORD
$1
WORD
    device=${device:-eth0}
    [ -e "/sys/class/net/$device" ] || stop "there is no network card $device for ip=$1"
    if [ "$address" = dhcp ] || [ "$how" = dhcp ]; then
        ask_for_address "$device"
        return
    fi
    ifconfig "$device" "$address" ${netmask:+netmask "$netmask"} up || stop "ip=$1 is no address"
    [ -z "$names" ] || echo "nameserver $names" >> /run/resolv.conf
    [ -z "$gateway" ] || route add default gw "$gateway" "$device" || stop "$gateway is no gateway for ip=$1"
}

# What a lease says is set as if it had been in ip=.
ask_for_address() {
    cat > /run/lease.sh <<'SCRIPT'
#!/bin/sh
[ "$1" != bound ] || echo "$ip::${router%% *}:$subnet::$interface:off:${dns%% *}" > /run/lease
SCRIPT
    chmod +x /run/lease.sh
    ifconfig "$1" up
    udhcpc -q -n -i "$1" -s /run/lease.sh > /dev/null 2>&1 || stop "nobody on the network of $1 gives addresses: ip=dhcp"
    set_address "$(cat /run/lease)"
}

mkdir -p /run
mount -t tmpfs -o mode=755 tmpfs /run
ifconfig lo 127.0.0.1 up
name=linux
for word in $(cat /proc/cmdline); do
    case $word in
        vambrace.name=*) name=${word#*=} ;;
        ip=*) set_address "${word#*=}" ;;
    esac
done
hostname "$name"
