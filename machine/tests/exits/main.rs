// SPDX-License-Identifier: MIT OR Apache-2.0
//! A VM, its exits, and what its users have complained of in other hypervisors.
//!
//! Each of those mistakes has a test that fails where it is made:
//!
//! | mistake | test |
//! |---|---|
//! | one VMID for all VMs; no rollover; entries flushed for nothing | `memory`: `vmid::no_vm_ever_reaches_another`, `vmid::sixteen_bits_give_65535_vms_without_a_flush`, `vmid::each_cpu_flushes_a_reused_number_once` |
//! | wrong, missing or misdirected TLB maintenance for stage 2 | `memory`: `tlb::invalidation_by_ipa_leaves_combined_entries`, `tlb::a_tlbi_is_for_the_vmid_loaded`, `stage2::mutations::every_instruction_is_needed` |
//! | break-before-make or barriers left out | `memory`: `stage2::mutations::every_break_is_needed`, `tlb::changes_without_a_break_are_seen`, `tlb::a_tlbi_needs_its_barriers` |
//! | SMCs of other owners reach EL3 | [`calls`]: `an_smc_to_sip_or_trusted_os_ranges_is_refused` |
//! | unsupported calls answered with success | [`calls`]: `unknown_smccc_calls_return_not_supported`, `any_call_is_answered` |
//! | a guest's physical address used as the machine's | the types `Ipa` and `Pa`; `memory`: `stage1::a_table_outside_memory_is_an_external_abort`; [`faults`]: `a_walk_to_nowhere_is_an_external_abort_of_its_level`; [`random`] |
//! | allocations whose size a guest chooses | every test here: [`bench`] counts the allocations of each exit |
//! | CPU_ON of CPUs that are not the VM's | [`calls`]: `cpu_on_reaches_only_the_vms_own_cpus`, `a_cpu_starts_only_in_the_vms_memory` |
//! | two CPU_ONs, or CPU_ON and CPU_OFF, at once | [`calls`]: `two_cpu_ons_of_one_cpu_start_it_once`; `cpu`: `psci::interleavings` |
//! | sign extension and register width of emulated loads | [`mmio`]: `a_narrow_signed_load_fills_the_register_as_the_instruction_says` |
//! | register 31 taken for a register | [`mmio`]: `loads_to_xzr_are_dropped`, `stores_from_xzr_store_zero`; [`system_registers`]: `msr_icc_sgi1r_xzr_is_harmless`, `reads_into_xzr_are_dropped` |
//! | new CPU features shown, then trapped to a panic | [`system_registers`]: `unknown_id_bits_are_hidden`, `hidden_features_are_undefined_not_fatal` |
//! | unknown exception classes end the hypervisor | [`system_registers`]: `hidden_features_are_undefined_not_fatal`; [`random`] |
//! | instruction aborts, and data aborts with ISV = 0, end it | [`faults`]: `instruction_abort_and_isv0_never_end_the_hypervisor`; [`mmio`]: `a_pair_is_decoded_and_carried_out` |
//! | GIC offsets out of range end it | [`mmio`]: `gic_offsets_out_of_range_read_zero`, `every_offset_of_every_device_answers_every_width` |
//! | restart leaves state behind, or leaks | [`random`]: `a_reset_vm_is_a_new_one_a_thousand_times`, `lines_go_down_at_a_reset`; `interrupts`: `routing::reset_forgets_everything_but_the_lines` |
//! | interrupts and SGIs beyond the eighth vCPU | [`console`]: `an_interrupt_is_routed_beyond_the_eighth_vcpu`; [`system_registers`]: `an_sgi_reaches_the_eighteenth_cpu`; `interrupts`: `routing::each_vcpu_of_many_is_reached_by_spi_and_sgi` |
//! | list registers exhausted, interrupts lost under load | `interrupts`: `behaves_so_with_few_list_registers`, `nothing_is_lost_when_vcpus_are_told_late` |
//! | no word of what a VM died of | [`faults`]: `a_crash_report_in_words` |
#![forbid(unsafe_code)]
#![cfg(test)]

mod access;
mod bench;
mod calls;
mod console;
mod events;
mod fast;
mod faults;
mod mmio;
mod ram;
mod random;
mod snapshot;
mod system_registers;
mod watchdog;
mod world;
