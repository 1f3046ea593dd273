// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine's virtual CPU interface: list registers and the registers around them, to and from values.

use vambrace_cpu::timer;
use vambrace_interrupts::{LineLevel, LrWrite, VirtualCpuInterface};
use vambrace_machine::fast::ListRegisters;

use crate::arch::sysreg::*;
use crate::gic;

/// How many list registers and active-priority registers the hardware has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// List registers.
    pub(crate) list_registers: u8,
    /// Priority bits.
    pub(crate) priority_bits: u8,
    /// Preemption bits.
    pub(crate) preemption_bits: u8,
}

impl Shape {
    /// As ICH_VTR_EL2 says, which can be read once a CPU has its system registers.
    pub(crate) fn of_machine(_: &gic::CpuInterface) -> Self {
        let vtr = IchVtrEl2.read();
        Self {
            list_registers: (vtr & 0x1F) as u8 + 1,
            priority_bits: (vtr >> 29 & 7) as u8 + 1,
            preemption_bits: (vtr >> 26 & 7) as u8 + 1,
        }
    }

    /// Registers of active priorities, of each group.
    fn active_priorities(self) -> u8 {
        1 << self.preemption_bits.saturating_sub(5).min(2)
    }
}

macro_rules! list_registers {
    ($($n:literal $register:ident)*) => {
        /// Reads the first list registers.
        fn read_list_registers(to: &mut [u64; 16], count: u8) {
            $(
                if $n == count {
                    return;
                }
                to[$n] = $register.read();
            )*
        }

        /// Notes of the first list registers that they hold nothing. In line, since there are few as a rule.
        #[inline(always)]
        fn forget_list_registers(to: &mut [u64; 16], count: u8) {
            $(
                if $n == count {
                    return;
                }
                to[$n] = 0;
            )*
        }

        /// Writes the first list registers.
        #[inline(always)]
        fn write_list_registers(from: &[u64; 16], count: u8) {
            $(
                if $n == count {
                    return;
                }
                $register.write(from[$n]);
            )*
        }

        fn write_list_register(n: usize, value: u64) {
            match n {
                $($n => $register.write(value),)*
                _ => {}
            }
        }
    };
}

list_registers! {
    0 IchLr0El2 1 IchLr1El2 2 IchLr2El2 3 IchLr3El2 4 IchLr4El2 5 IchLr5El2 6 IchLr6El2 7 IchLr7El2
    8 IchLr8El2 9 IchLr9El2 10 IchLr10El2 11 IchLr11El2 12 IchLr12El2 13 IchLr13El2 14 IchLr14El2 15 IchLr15El2
}

/// This CPU's virtual CPU interface.
#[derive(Debug)]
pub(crate) struct Interface {
    /// Registers of active priorities, of each group.
    active_priorities: u8,
    /// List registers that may hold something, beside those that were queued for the loaded vCPU since the flush.
    used: u8,
}

impl Interface {
    /// An empty interface.
    pub(crate) fn new(shape: Shape) -> Self {
        IchHcrEl2.write(0);
        write_list_registers(&[0; 16], shape.list_registers);
        Self { active_priorities: shape.active_priorities(), used: 0 }
    }

    /// Fetches what the hardware holds now, of the list registers only those that are in use.
    pub(crate) fn read(&mut self, now: &mut VirtualCpuInterface) {
        self.used = self.used.max(now.used);
        now.hcr = IchHcrEl2.read();
        now.vmcr = IchVmcrEl2.read();
        let in_use = (1 << now.used) - 1;
        if IchElrsrEl2.read() & in_use == in_use {
            // The guest has handled all of them, as nearly always when it goes to sleep.
            forget_list_registers(&mut now.lr, now.used);
        } else {
            read_list_registers(&mut now.lr, now.used);
        }
        let count = self.active_priorities;
        now.ap0r[0] = IchAp0r0El2.read() as u32;
        now.ap1r[0] = IchAp1r0El2.read() as u32;
        if count > 1 {
            now.ap0r[1] = IchAp0r1El2.read() as u32;
            now.ap1r[1] = IchAp1r1El2.read() as u32;
        }
        if count > 2 {
            now.ap0r[2] = IchAp0r2El2.read() as u32;
            now.ap0r[3] = IchAp0r3El2.read() as u32;
            now.ap1r[2] = IchAp1r2El2.read() as u32;
            now.ap1r[3] = IchAp1r3El2.read() as u32;
        }
    }

    /// Writes the list registers and ICH_HCR_EL2.
    pub(crate) fn write_lists(&mut self, interface: &VirtualCpuInterface) {
        write_list_registers(&interface.lr, self.used.max(interface.used));
        IchHcrEl2.write(interface.hcr);
        self.used = interface.used;
    }

    /// Writes everything: a vCPU comes to this CPU.
    pub(crate) fn write_all(&mut self, interface: &VirtualCpuInterface) {
        IchVmcrEl2.write(interface.vmcr);
        let count = self.active_priorities;
        IchAp0r0El2.write(interface.ap0r[0].into());
        IchAp1r0El2.write(interface.ap1r[0].into());
        if count > 1 {
            IchAp0r1El2.write(interface.ap0r[1].into());
            IchAp1r1El2.write(interface.ap1r[1].into());
        }
        if count > 2 {
            IchAp0r2El2.write(interface.ap0r[2].into());
            IchAp0r3El2.write(interface.ap0r[3].into());
            IchAp1r2El2.write(interface.ap1r[2].into());
            IchAp1r3El2.write(interface.ap1r[3].into());
        }
        self.write_lists(interface);
    }

    /// The vCPU has left: nothing is signalled to anybody until the next one comes. What is in the list registers
    /// stays there till then.
    pub(crate) fn turn_off() {
        IchHcrEl2.write(0);
    }
}

impl ListRegisters for Interface {
    #[inline(always)]
    fn empty(&self) -> u64 {
        IchElrsrEl2.read()
    }

    #[inline(always)]
    fn write(&mut self, write: LrWrite) {
        write_list_register(write.index, write.value.0);
    }

    #[inline(always)]
    fn set_control(&mut self, hcr: u64) {
        IchHcrEl2.write(hcr);
    }
}

/// Whether the loaded vCPU's virtual timer asserts its interrupt.
pub(crate) fn virtual_timer_line() -> LineLevel {
    if timer::is_asserted(CntvCtlEl0.read()) { LineLevel::High } else { LineLevel::Low }
}
