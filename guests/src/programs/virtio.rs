// SPDX-License-Identifier: MIT OR Apache-2.0
//! Uses every virtio device there is, by the drivers of `virtio-drivers`, which know nothing of ours.
//!
//! Each disk is read, written over and read again; `keep` leaves what is there, and only looks. `storm=N` reads all disks at once, N
//! times each, and `modest=N` one after the other, a read at a time. Each network card sends
//! frames to its neighbour, whose program runs with `echo` and sends them back.

use core::ptr::NonNull;

use virtio_drivers::device::rng::VirtIORng;
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceType, Transport};

use crate::machine::Machine;
use crate::report;
use memory::Memory;
use storm::Storm;

mod disk;
pub(super) mod memory;
mod network;
mod storm;

/// Runs the program.
pub fn run(machine: &Machine) {
    let mut storm = Storm::default();
    let of_each = |parameter: &str| machine.parameter(parameter).map(|_| machine.number(parameter, 0));
    for (base, size) in machine.devices("virtio,mmio") {
        let Some(header) = NonNull::new(core::ptr::with_exposed_provenance_mut::<VirtIOHeader>(base as usize))
        else {
            continue;
        };
        // SAFETY: the device tree's registers, mapped as a device, and nobody else's.
        let Ok(transport) = (unsafe { MmioTransport::new(header, size as usize) }) else { continue };
        match transport.device_type() {
            DeviceType::Block => match (of_each("storm"), of_each("modest")) {
                (Some(_), _) => storm.add(transport),
                (None, Some(reads)) => storm::modestly(transport, reads),
                (None, None) => disk::check(machine, transport),
            },
            DeviceType::Network => network::check(machine, transport),
            DeviceType::EntropySource => entropy(transport),
            other => println!("guest: a device of kind {other:?}"),
        }
    }
    if let Some(reads) = of_each("storm") {
        storm.run(reads);
    }
    report::finish("virtio");
}

fn entropy(transport: impl Transport) {
    let Ok(mut device) = VirtIORng::<Memory, _>::new(transport) else {
        return check!(false, "the entropy device starts");
    };
    let mut bytes = [[0; 32]; 4];
    for bytes in &mut bytes {
        check_eq!(device.request_entropy(bytes).ok(), Some(32), "there is entropy");
    }
    let [first, rest @ ..] = &bytes;
    check!(*first != [0; 32] && !rest.contains(first), "it is never the same");
    println!("guest: entropy");
}
