# SPDX-License-Identifier: MIT OR Apache-2.0
# Moves data, as the kernel's command line says, and powers off: AMOUNT MiB of a disk, or for AMOUNT seconds through a network.
# Says how many bytes that were.
amount=0
for word in $(cat /proc/cmdline); do
    case $word in
        traffic=*) traffic=${word#*=} ;;
        amount=*) amount=${word#*=} ;;
        server=*) server=${word#*=} ;;
    esac
done

bytes=$((amount << 20))

# Whoever serves may not be there yet.
send() {
    for attempt in $(seq 100); do
        iperf3 --json -c "$1" -t "$amount" > /tmp/report && break
        sleep 0.1
    done
    bytes=$(awk '/sum_received/ { found = 1 } found && /"bytes"/ { gsub(/[^0-9]/, ""); print; exit }' /tmp/report)
}

case $traffic in
    read) dd if=/dev/vda of=/dev/null bs=64k count=$((amount * 16)) ;;
    write) dd if=/dev/zero of=/dev/vda bs=64k count=$((amount * 16)) conv=fsync ;;
    serve) iperf3 -s -1 > /tmp/served && bytes=0 ;;
    send) send "$server" ;;
    loop) iperf3 -s -1 > /tmp/served & send 127.0.0.1; wait ;;
esac && echo "traffic: moved $bytes"
# Where the drivers have mapped the devices.
grep phys= /proc/vmallocinfo
poweroff -f
