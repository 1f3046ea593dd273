# SPDX-License-Identifier: MIT OR Apache-2.0
# Hands the VM over to the system on a disk: mounts it, read-only, and starts its init, which checks it and makes it
# writable. The drivers find disks before they are done loading, so a disk that is not there now will not come.
root=/dev/vda
init=/sbin/init
for word in $(cat /proc/cmdline); do
    case $word in
        root=*) root=${word#*=} ;;
        init=*) init=${word#*=} ;;
    esac
done

case $root in
    LABEL=* | UUID=*) disk=$(findfs "$root") ;;
    *) disk=$root ;;
esac
[ -b "$disk" ] || stop "there is no disk root=$root; there are: $(cd /dev && echo vd*)"
mkdir /system
mount -t ext4 -o ro "$disk" /system || stop "there is no ext4 file system on root=$root"
[ -x "/system$init" ] || [ -L "/system$init" ] || stop "there is no program $init on root=$root"
for folder in dev proc run sys; do mount --move "/$folder" "/system/$folder"; done
exec switch_root /system "$init"
