// SPDX-License-Identifier: MIT OR Apache-2.0
//! stub
use vambrace_hypervisor::board::Board;
use vambrace_wire::bundle::Bundle;
pub(crate) fn start(board: &'static Board, bundle: Bundle<'static>, start_secondary: impl Fn(usize)) -> ! {
    crate::console::info!("hello {} vms {} free {:#x}", board.cpus.len(), bundle.directory.vms.len(), crate::memory::free_bytes());
    for i in 0..board.cpus.len()-1 { start_secondary(i) }
    loop { crate::barrier::wfi() }
}
pub(crate) fn secondary(index: usize) -> ! {
    crate::console::info!("cpu {index} {:#x}", crate::boot::affinity());
    loop { crate::barrier::wfi() }
}
