// SPDX-License-Identifier: MIT OR Apache-2.0
//! HVC and SMC: what `vambrace_cpu::smccc` decides is carried out.

use spin::RelaxStrategy;
use spin::mutex::SpinMutex;
use vambrace_cpu::power::Remaining;
use vambrace_cpu::smccc::{self, Call, CallOutcome, NoEntropy, Services, Suspend};
use vambrace_cpu::syndrome::{Conduit, InstructionLength};
use vambrace_cpu::vendor;
use vambrace_interrupts::VcpuSet;
use vambrace_memory::Ipa;
use vambrace_wire::message::ResetCause;

use crate::dispatch::Resume;
use crate::host::{Entropy, LoadedVcpu, Notify, Report};
use crate::lifecycle::StopReason;
use crate::vcpu::Vcpu;
use crate::vm::{Given, MemoryMap, Vm};

struct CallServices<'a, H> {
    host: &'a mut H,
    memory: MemoryMap,
}

impl<H: Entropy> Services for CallServices<'_, H> {
    fn is_executable(&self, address: Ipa) -> bool {
        self.memory.is_executable(address)
    }

    fn entropy(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        self.host.entropy(bytes)
    }
}

/// Serves a call. Nothing is ever passed on to EL3.
pub(crate) fn call(
    vm: &SpinMutex<Vm, impl RelaxStrategy>,
    vcpu: &mut Vcpu,
    immediate: u16,
    conduit: Conduit,
    host: &mut (impl LoadedVcpu + Entropy + Notify + Report),
) -> Resume {
    match conduit {
        Conduit::Smc => vcpu.skip_instruction(InstructionLength::Four),
        Conduit::Hvc => vcpu.note_progress(),
    }
    let request = Call::new(immediate, &vcpu.registers.frame, host.sctlr_el1());
    let mut shared = vm.lock();
    let mut services = CallServices { memory: shared.memory, host };
    let outcome = smccc::call(&request, vcpu.id, &mut shared.power, &mut services);
    match outcome {
        CallOutcome::Return(values) => {
            set_results(vcpu, values);
            Resume::Guest
        }
        CallOutcome::CpuOn { target } => {
            drop(shared);
            host.notify(&VcpuSet::from_iter([target]));
            set_results(vcpu, [0; 4]);
            Resume::Guest
        }
        CallOutcome::Result(number) => {
            let given = shared.give_result(number);
            drop(shared);
            if given == Given::Now {
                host.result(number);
            }
            let code = if given == Given::Now { 0 } else { vendor::ALREADY_GIVEN };
            set_results(vcpu, [code, 0, 0, 0]);
            Resume::Guest
        }
        CallOutcome::CpuOff(Remaining::Some) => Resume::Off,
        CallOutcome::CpuOff(Remaining::None) | CallOutcome::SystemOff => {
            shared.stop(StopReason::Off);
            Resume::Stop
        }
        CallOutcome::SystemReset => {
            shared.stop(StopReason::Reset(ResetCause::Asked));
            Resume::Stop
        }
        CallOutcome::Suspend(Suspend::Standby) => {
            set_results(vcpu, [0; 4]);
            Resume::Wait(None)
        }
        CallOutcome::Suspend(Suspend::PowerDown(entry)) => Resume::Suspend(entry),
    }
}

/// X0 to X3 hold a call's results; the other registers are preserved (SMCCC 1.1 and later).
fn set_results(vcpu: &mut Vcpu, values: [u64; 4]) {
    for (register, value) in (0..).zip(values) {
        vcpu.registers.frame.set(register, value);
    }
}
