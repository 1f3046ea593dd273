// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who waits for whom, by the count of requests that the disk serves.

use super::*;

/// Requests of one VM's disk at once, as many as the device has.
const DEPTH: u8 = 4;

/// A VM's disk that always wants as much as its device has.
#[derive(Debug)]
struct Greedy {
    owner: Owner,
    /// Requests that are under way.
    begun: [bool; DEPTH as usize],
    reads: u64,
}

impl Greedy {
    fn new(disk: &mut Disk, vm: u16) -> Self {
        Self { owner: attach(disk, vm), begun: [false; DEPTH as usize], reads: 0 }
    }

    /// A poll of the device: what has ended is taken, and whatever is free is begun.
    fn poll(&mut self, disk: &mut Disk) {
        for (tag, begun) in (0..).zip(&mut self.begun) {
            if *begun {
                match disk.poll(self.owner, Tag(tag), &mut [0; DATA]) {
                    DiskStep::Done => (*begun, self.reads) = (false, self.reads + 1),
                    DiskStep::Pending => {}
                    other => panic!("{other:?}"),
                }
            }
            *begun = *begun || submit_read(disk, self.owner, tag) == DiskStep::Pending;
        }
    }
}

/// As many requests as the disk can have of VMs' disks.
fn fill(disk: &mut Disk, owners: &[Owner]) {
    for tag in 0..DEPTH {
        owners.iter().for_each(|owner| _ = submit_read(disk, *owner, tag));
    }
}

/// Disks of VMs that are polled when they are notified, and only then.
fn run(disk: &mut Disk, device: &Device, disks: &mut [Greedy], mut each: impl FnMut(&mut Disk)) {
    disks.iter_mut().for_each(|greedy| greedy.poll(disk));
    for _ in 0..10_000 {
        assert!(device.serve(), "nothing is under way, and everybody waits");
        let mut told: Vec<VmId> = disk.collect().to_vec();
        while let Some(vm) = told.pop() {
            disks.iter_mut().filter(|greedy| greedy.owner.vm == vm).for_each(|greedy| greedy.poll(disk));
            told.extend(disk.take_woken());
        }
        each(disk);
    }
}

#[test]
fn twenty_partitions_all_get_on() {
    for vms in [1, 4, 20] {
        let (mut disk, device) = disk();
        let mut disks: Vec<Greedy> = (0..20).map(|at| Greedy::new(&mut disk, at % vms)).collect();
        run(&mut disk, &device, &mut disks, |_| {});
        let reads = || disks.iter().map(|greedy| greedy.reads);
        let (least, most) = (reads().min().unwrap(), reads().max().unwrap());
        assert!(least >= 200 && most <= 5 * least, "{vms} VMs: from {least} to {most} of 10000 reads");
    }
}

/// The bound: a disk that asks for one read at a time has it before the disk of the board has served as many others as there
/// are slots, of which each disk has one and all share 16.
#[test]
fn a_modest_vm_waits_for_no_more_requests_than_there_are_slots() {
    let (mut disk, device) = disk();
    let mut disks: Vec<Greedy> = (0..8).map(|_| Greedy::new(&mut disk, 0)).collect();
    let modest = attach(&mut disk, 1);
    let slots = SHARED as u64 + 9;
    let (mut since, mut longest, mut reads) = (0, 0, 0);
    let mut is_begun = false;
    run(&mut disk, &device, &mut disks, |disk| {
        if is_begun && disk.poll(modest, TAG, &mut [0; DATA]) == DiskStep::Done {
            (longest, reads, is_begun) = (longest.max(since), reads + 1, false);
        }
        if !is_begun {
            assert_eq!(submit_read(disk, modest, TAG.0), DiskStep::Pending, "it has a slot of its own");
            (since, is_begun) = (0, true);
        }
        since += 1;
    });
    assert!(longest <= slots && reads > 10_000 / slots - 2, "{reads} reads, one after {longest} others");
}

/// A VM has no more of the shared slots for having more disks.
#[test]
fn the_rest_is_shared_by_vm() {
    let (mut disk, _device) = disk();
    let many: Vec<Owner> = (0..8).map(|_| attach(&mut disk, 0)).collect();
    let one = attach(&mut disk, 1);
    fill(&mut disk, &many);
    assert_eq!(disk.free(), SHARED + 9 - 8 - SHARED / 2, "its own eight and half of the others");
    for tag in 0..DEPTH {
        assert_eq!(submit_read(&mut disk, one, tag), DiskStep::Pending, "whatever the other has");
    }
}

/// The only VM has all of it; when another one comes, its part is kept for it as soon as it is free.
#[test]
fn a_vm_that_comes_later_gets_its_part() {
    let (mut disk, device) = disk();
    let many: Vec<Owner> = (0..8).map(|_| attach(&mut disk, 0)).collect();
    fill(&mut disk, &many);
    assert_eq!(disk.free(), 0);
    let late = attach(&mut disk, 1);
    assert_eq!(submit_read(&mut disk, late, 0), DiskStep::Pending, "a slot of its own came with it");
    assert_eq!(submit_read(&mut disk, late, 1), DiskStep::Busy);
    assert_eq!(disk.take_woken()[..], []);
    assert!(device.serve());
    assert_eq!(disk.collect()[..], [0].map(VmId::first));
    assert_eq!(disk.take_woken()[..], [], "not free before its owner has looked");
    assert_eq!(
        submit_read(&mut disk, many[1], 3),
        DiskStep::Busy,
        "one that has more than its part gets none"
    );
    assert_eq!(disk.poll(many[0], Tag(0), &mut [0; DATA]), DiskStep::Done);
    assert_eq!(disk.take_woken()[..], [1].map(VmId::first), "the first who waits is told by whoever is done");
    assert_eq!(submit_read(&mut disk, many[1], 3), DiskStep::Busy);
    assert_eq!(submit_read(&mut disk, late, 1), DiskStep::Pending);
}

/// What a VM had goes to those who wait when it is gone, at once or as the disk is done with it.
#[test]
fn a_vm_that_goes_leaves_its_slots() {
    let (mut disk, device) = disk();
    let many: Vec<Owner> = (0..8).map(|_| attach(&mut disk, 0)).collect();
    fill(&mut disk, &many);
    let late = attach(&mut disk, 1);
    fill(&mut disk, &[late]);
    assert_eq!(disk.take_woken()[..], []);
    // Completed, and not looked at.
    assert!(device.serve());
    assert_eq!(disk.collect()[..], [0].map(VmId::first));
    many.iter().for_each(|owner| disk.detach(*owner));
    // Those of the other VM that wait are told, too, as long as it is there.
    assert_eq!(disk.take_woken().first(), Some(&VmId::first(1)));
    assert_eq!(submit_read(&mut disk, late, 1), DiskStep::Pending);
    assert_eq!(submit_read(&mut disk, late, 2), DiskStep::Busy);
    assert_eq!(disk.take_woken()[..], []);
    assert!(device.serve());
    assert_eq!(disk.collect()[..], [], "nobody is told of what was nobody's");
    assert_eq!(disk.take_woken()[..], [1].map(VmId::first));
    while device.serve() {}
    disk.collect();
    assert_eq!(disk.free(), disk.slots.len() - 2, "all of it is free, but what the other has");
}

#[test]
fn there_are_no_more_disks_than_slots() {
    let (mut disk, _device) = disk();
    assert_eq!(disk.attach(VmId::first(0), || None), Err(NoSlot::Memory));
    assert_eq!((disk.sharing.len(), disk.slots.len()), (0, SHARED), "nothing has changed");
    let owners: Vec<Owner> = (0..MAX_REQUESTS - SHARED).map(|vm| attach(&mut disk, vm as u16)).collect();
    assert_eq!(disk.attach(VmId::first(0), buffer), Err(NoSlot::Queue));
    assert!(owners.iter().all(|owner| submit_read(&mut disk, *owner, 0) == DiskStep::Pending));
    // Its slot is in use yet, and one of those that all share has to stand for it.
    disk.detach(owners[5]);
    let next = attach(&mut disk, 0);
    assert_eq!(submit_read(&mut disk, next, 0), DiskStep::Pending);
}
