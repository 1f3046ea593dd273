# SPDX-License-Identifier: MIT OR Apache-2.0
# Moves as many MiB as the kernel's command line says, and powers off.
mib=0
for word in $(cat /proc/cmdline); do
    case $word in
        traffic=*) traffic=${word#*=} ;;
        mib=*) mib=${word#*=} ;;
        server=*) server=${word#*=} ;;
    esac
done

# Whoever serves may not be there yet.
send() {
    until iperf3 -c "$1" -n "${mib}M"; do sleep 0.1; done
}

move() {
    case $traffic in
        read) dd if=/dev/vda of=/dev/null bs=64k count=$((mib * 16)) ;;
        write) dd if=/dev/zero of=/dev/vda bs=64k count=$((mib * 16)) conv=fsync ;;
        serve) iperf3 -s -1 ;;
        send) send "$server" ;;
        loop) iperf3 -s -1 > /tmp/served & send 127.0.0.1; wait ;;
    esac
}

move && echo "traffic: done"
# Where the drivers have mapped the devices.
grep phys= /proc/vmallocinfo
poweroff -f
