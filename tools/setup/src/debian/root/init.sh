# SPDX-License-Identifier: MIT OR Apache-2.0
# Has Debian's unpacked packages in /tree set themselves up, and writes them to a disk.
in_tree() {
    chroot /tree /usr/bin/env -i PATH=/usr/sbin:/usr/bin HOME=/root LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true "$@" < /dev/null
}

stop() {
    echo "vambrace-root: failed: $1"
    poweroff -f
}

before() {
    in_tree DPKG_MAINTSCRIPT_PACKAGE="$1" DPKG_MAINTSCRIPT_NAME=preinst \
        "/var/lib/dpkg/info/$2" install || stop "preinst of $1"
}

for folder in dev proc sys; do mount --bind "/$folder" "/tree/$folder"; done

# The names of owners first, then what else belongs before unpacking.
before base-passwd base-passwd.preinst
for script in /tree/var/lib/dpkg/info/*.preinst; do
    script=${script##*/}
    package=${script%.preinst}
    [ "$package" = base-passwd ] || before "${package%:*}" "$script"
done

# Nothing is started here (see invoke-rc.d(8)).
printf '#!/bin/sh\nexit 101\n' > /tree/usr/sbin/policy-rc.d
chmod 755 /tree/usr/sbin/policy-rc.d
in_tree dpkg --force-unsafe-io --configure -a || stop "setting up the packages"
rm /tree/usr/sbin/policy-rc.d
in_tree passwd --delete root || stop "root's password"
ln -s /proc/mounts /tree/etc/mtab
mkdir -p /tree/etc/inittab.d
# Where the initramfs of the VM writes it.
ln -s ../run/resolv.conf /tree/etc/resolv.conf

echo "vambrace-root: writing"
for folder in dev proc sys; do umount "/tree/$folder"; done
rm -rf /tree/tmp/* /tree/run/* /tree/var/cache/debconf/*-old /tree/var/lib/dpkg/*-old /tree/var/log/*.log
mount --bind /tree /tree/mnt
mount --bind /dev /tree/dev
in_tree mke2fs -q -t ext4 -L debian -d /mnt /dev/vda || stop "mke2fs"
in_tree e2fsck -fn /dev/vda || stop "e2fsck"
sync
echo "vambrace-root: done"
poweroff -f
