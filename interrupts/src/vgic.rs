// SPDX-License-Identifier: MIT OR Apache-2.0
//! The virtual GIC of one VM: its state, and what comes in: lines, SGIs, physical interrupts.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use vambrace_ids::VcpuId;

use crate::affinity::{Affinities, Affinity};
use crate::bank::Bank;
use crate::config::{ConfigError, VgicConfig};
use crate::intid::{Intid, SpiIndex};
use crate::list_register::VirtualCpuInterface;
use crate::lr_state::LrState;
use crate::resample::Trigger;
use crate::routing::{Route, SpiSet};
use crate::sgi::{SgiRegister, SgiRequest, SgiTargets};
use crate::vcpu_set::VcpuSet;

/// A line's level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LineLevel {
    /// Not asserted.
    Low,
    /// Asserted.
    High,
}

/// The width of a memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Width {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Half,
    /// 32 bits.
    Word,
    /// 64 bits.
    Double,
}

impl Width {
    /// The width of an access of so many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Option<Self> {
        match bytes {
            1 => Some(Self::Byte),
            2 => Some(Self::Half),
            4 => Some(Self::Word),
            8 => Some(Self::Double),
            _ => None,
        }
    }

    /// The width in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Byte => 1,
            Self::Half => 2,
            Self::Word => 4,
            Self::Double => 8,
        }
    }
}

/// Where a vCPU is: whether it has to be kicked for what changes for it. One that is blocked is preferred for an interrupt that
/// any vCPU may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum VcpuRunState {
    /// It is loaded: it is kicked for all that changes.
    #[default]
    Loaded,
    /// It is not loaded, and evaluates its interrupts when it is: it is never kicked. A vCPU that was blocked and has been kicked
    /// is runnable until it blocks again.
    Runnable,
    /// It waits for an interrupt: it is kicked once.
    Blocked,
}

/// A vCPU's redistributor and CPU interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Vcpu {
    pub(crate) private: Bank,
    pub(crate) spis: SpiSet,
    /// What the hardware's registers hold, as far as is known: as they were flushed, or as they were when the vCPU was put.
    pub(crate) interface: VirtualCpuInterface,
    /// The list registers as they were queued.
    pub(crate) queued: [u64; 16],
    /// List registers in which something was queued, a bit each.
    pub(crate) used_lrs: u64,
    pub(crate) run_state: VcpuRunState,
    /// GICR_WAKER.ProcessorSleep.
    pub(crate) asleep: bool,
    /// Groups whose interrupts it masks by PSTATE, as of when it was last entered.
    pub(crate) masked_groups: u32,
    /// Groups for which what was to be resampled was taken back, and whose interrupt is about to be read again.
    pub(crate) resampled: u32,
    /// GICR_CTLR.DPG0 and DPG1NS, as bits 0 and 1: groups whose 1-of-N interrupts it does not take.
    pub(crate) declined_groups: u32,
    pub(crate) lr_state: LrState,
    /// SGIs that have become pending since the list registers were flushed.
    pub(crate) pending_sgi: u32,
    /// The list register in which a private interrupt was queued last. A hint: whoever uses it looks there.
    pub(crate) last_lr: [u8; 32],
}

impl Vcpu {
    fn new() -> Self {
        Self {
            private: Bank::private(),
            spis: SpiSet::default(),
            interface: VirtualCpuInterface::default(),
            queued: [0; 16],
            used_lrs: 0,
            run_state: VcpuRunState::Loaded,
            asleep: true,
            masked_groups: 0,
            resampled: 0,
            declined_groups: 0,
            lr_state: LrState::Synced,
            pending_sgi: 0,
            last_lr: [0; 32],
        }
    }

    /// Something has changed for the vCPU. True if it has to be kicked.
    #[inline(always)]
    pub(crate) fn should_kick(&mut self) -> bool {
        match self.run_state {
            VcpuRunState::Loaded => true,
            VcpuRunState::Runnable => false,
            VcpuRunState::Blocked => {
                self.run_state = VcpuRunState::Runnable;
                true
            }
        }
    }

    /// Takes a change of its private interrupts. True if the vCPU has to look again.
    pub(crate) fn note_private(&mut self, changed: u32, groups: u32) -> bool {
        // An SGI that was pending may be so no more.
        let is_noteworthy = self.private.noteworthy(changed, groups) | changed & self.pending_sgi != 0;
        if is_noteworthy {
            self.lr_state.note_change();
        }
        is_noteworthy && self.should_kick()
    }

    /// Whether it takes 1-of-N interrupts of a group: it is awake, and does not decline.
    pub(crate) fn takes_part(&self, group: u32) -> bool {
        !self.asleep && self.declined_groups >> group & 1 == 0
    }

    /// Receives an SGI. True if the vCPU has to look again.
    #[inline(always)]
    fn receive_sgi(&mut self, register: SgiRegister, intid: Intid, groups: u32) -> bool {
        let n = intid.get();
        let is_group1 = self.private.group1() >> n & 1 != 0;
        // With one security state, only ICC_SGI1R generates Group 1 SGIs, and Group 0 ones too.
        if is_group1 && register != SgiRegister::Sgi1r {
            return false;
        }
        let changed = self.private.set_latch(n);
        if changed == 0 {
            return false;
        }
        // Where it was in a list register before, that is all there is to know.
        let is_noteworthy = self.private.is_in_lr(n) || self.private.noteworthy(changed, groups) != 0;
        if self.lrs_hold_all_but_sgis() {
            self.pending_sgi |= if is_noteworthy { changed } else { 0 };
        } else if is_noteworthy {
            self.lr_state.note_change();
        }
        is_noteworthy && self.should_kick()
    }
}

/// The interrupt controller of one VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vgic {
    pub(crate) config: VgicConfig,
    pub(crate) affinities: Affinities,
    /// GICD_CTLR.EnableGrp0 and EnableGrp1, bits 0 and 1.
    pub(crate) groups: u32,
    pub(crate) spis: Vec<Bank>,
    pub(crate) routes: Vec<Route>,
    pub(crate) vcpus: Vec<Vcpu>,
    /// The vCPU at which the search for the target of the next 1-of-N interrupt starts.
    pub(crate) next_target: usize,
    /// An SPI has been linked to a physical interrupt, ever.
    pub(crate) links_spis: bool,
}

impl Vgic {
    /// Builds the GIC in its reset state. The only place that allocates.
    ///
    /// # Errors
    /// See [`VgicConfig::validate`].
    pub fn new(config: VgicConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let count = config.spi_count;
        let affinities = Affinities::new(&config.affinities);
        let spis = (0..count.div_ceil(32)).map(|bank| Bank::spis(count - bank * 32)).collect();
        let vcpus = config.affinities.iter().map(|_| Vcpu::new()).collect();
        let mut vgic = Self {
            affinities,
            groups: 0,
            spis,
            routes: Vec::new(),
            vcpus,
            next_target: 0,
            links_spis: false,
            config,
        };
        vgic.routes.resize(count as usize, Route::default());
        vgic.reset();
        Ok(vgic)
    }

    /// Finds out whether the value is one that this type can have; to be asked of one that was read from outside.
    ///
    /// # Errors
    /// See [`VgicConfig::validate`], and [`ConfigError::Inconsistent`].
    pub fn validate(&self) -> Result<(), ConfigError> {
        let fresh = Self::new(self.config.clone())?;
        let same_spis = self.spis.len() == fresh.spis.len() && self.routes.len() == fresh.routes.len();
        let same_banks = self.spis.iter().zip(&fresh.spis).all(|(a, b)| a.has_shape_of(b));
        let vcpus = || self.vcpus.iter().zip(&fresh.vcpus);
        let is_consistent = self.affinities == fresh.affinities
            && self.vcpus.len() == fresh.vcpus.len()
            && same_spis
            && same_banks
            && vcpus().all(|(a, b)| a.private.has_shape_of(&b.private))
            && self.refers_to_itself();
        if is_consistent { Ok(()) } else { Err(ConfigError::Inconsistent) }
    }

    /// What it was built from.
    #[must_use]
    pub const fn config(&self) -> &VgicConfig {
        &self.config
    }

    /// Goes back to the reset state. No vCPU may be running. Lines keep their level; physical interrupts that were
    /// linked come out of [`Self::take_hw_deactivate`].
    pub fn reset(&mut self) {
        self.groups = 0;
        self.next_target = 0;
        self.spis.iter_mut().for_each(Bank::reset);
        // IROUTER is UNKNOWN after reset; zero, the first vCPU in most VMs, as elsewhere.
        let target = self.affinities.find(Affinity(0));
        self.routes.fill(Route { register: 0, target, owner: None });
        for vcpu in &mut self.vcpus {
            let mut private = vcpu.private.clone();
            private.reset();
            *vcpu = Vcpu { private, ..Vcpu::new() };
        }
    }

    /// Resets a vCPU's CPU interface, as when it is switched on: priority mask, group enables, active priorities.
    /// The vCPU is not running.
    pub fn reset_interface(&mut self, vcpu: VcpuId) -> VcpuSet {
        let mut kicks = self.sync_put(vcpu);
        if let Some(vcpu) = self.vcpu_mut(vcpu) {
            let VirtualCpuInterface { lr, used, .. } = vcpu.interface;
            vcpu.interface = VirtualCpuInterface { lr, used, ..VirtualCpuInterface::default() };
            vcpu.lr_state.note_change();
            vcpu.resampled = 0;
        }
        kicks.extend(&self.reroute_one_of_n());
        kicks
    }

    /// Says what a vCPU is doing that is not loaded: it blocks, once it has found nothing that it would wait for. That it is
    /// loaded and put, [`Vgic::load`] and [`Vgic::put`] know.
    pub fn set_run_state(&mut self, vcpu: VcpuId, run_state: VcpuRunState) {
        if let Some(vcpu) = self.vcpu_mut(vcpu) {
            vcpu.run_state = run_state;
        }
    }

    /// Sets the level of an SPI's line. A rising edge makes an edge-triggered SPI pending.
    pub fn set_spi_level(&mut self, intid: Intid, level: LineLevel) -> VcpuSet {
        let mut kicks = VcpuSet::new();
        if let Some((spi, bank)) = self.spi_mut(intid) {
            let changed = match level {
                LineLevel::High => bank.raise(spi.n()),
                LineLevel::Low => bank.lower(spi.n()),
            };
            if changed != 0 {
                self.refresh(spi, &mut kicks);
            }
        }
        kicks
    }

    /// Sets the level of a PPI's line.
    pub fn set_ppi_level(&mut self, vcpu: VcpuId, intid: Intid, level: LineLevel) -> VcpuSet {
        let mut kicks = VcpuSet::new();
        if let Some(bank) = self.ppi_mut(vcpu, intid) {
            let changed = match level {
                LineLevel::High => bank.raise(intid.get()),
                LineLevel::Low => bank.lower(intid.get()),
            };
            self.note_private(vcpu, changed, &mut kicks);
        }
        kicks
    }

    /// Raises an SPI's line and lowers it: what an edge-triggered device does. A level-sensitive SPI is left as it
    /// was, since nothing asserts it any more.
    pub fn pulse_spi(&mut self, intid: Intid) -> VcpuSet {
        let mut kicks = self.set_spi_level(intid, LineLevel::High);
        kicks.extend(&self.set_spi_level(intid, LineLevel::Low));
        kicks
    }

    /// Raises a PPI's line and lowers it; see [`Self::pulse_spi`].
    pub fn pulse_ppi(&mut self, vcpu: VcpuId, intid: Intid) -> VcpuSet {
        let mut kicks = self.set_ppi_level(vcpu, intid, LineLevel::High);
        kicks.extend(&self.set_ppi_level(vcpu, intid, LineLevel::Low));
        kicks
    }

    /// Sends an SGI that `from` generated (IHI 0069, "Software generated interrupts"). Affinities without a vCPU,
    /// and vCPUs for which the SGI is in a group that the register does not generate, are passed over.
    pub fn send_sgi(&mut self, from: VcpuId, request: SgiRequest) -> VcpuSet {
        let mut kicks = VcpuSet::new();
        match request.targets {
            SgiTargets::AllButSelf => {
                let vcpus = (0..).map(VcpuId::new).zip(&mut self.vcpus);
                for (vcpu, target) in vcpus.filter(|&(vcpu, _)| vcpu != from) {
                    target
                        .receive_sgi(request.register, request.intid, self.groups)
                        .then(|| kicks.insert(vcpu));
                }
            }
            SgiTargets::List { first, list } => {
                for (distance, vcpu) in self.affinities.sixteen_from(Affinity(first)) {
                    if list >> distance & 1 == 0 {
                        continue;
                    }
                    let target = self.vcpus.get_mut(vcpu.index());
                    let (register, intid) = (request.register, request.intid);
                    if target.is_some_and(|target| target.receive_sgi(register, intid, self.groups)) {
                        kicks.insert(vcpu);
                    }
                }
            }
        }
        kicks
    }
}

/// SGIs of one vCPU to another, which is what nearly all are.
impl Vgic {
    /// The vCPU with a packed affinity, Aff3.Aff2.Aff1.Aff0.
    #[inline]
    #[must_use]
    pub fn find(&self, affinity: u32) -> Option<VcpuId> {
        self.affinities.find(Affinity(affinity))
    }

    /// Sends an SGI by ICC_SGI1R_EL1 to one vCPU. Says whether it has to look.
    #[inline]
    #[must_use]
    pub fn send_sgi_to(&mut self, vcpu: VcpuId, intid: Intid) -> bool {
        let groups = self.groups;
        let target = self.vcpu_mut(vcpu);
        target.is_some_and(|target| target.receive_sgi(SgiRegister::Sgi1r, intid, groups))
    }
}

/// Access to the vCPUs, and to one interrupt.
impl Vgic {
    /// All vCPUs, in order.
    pub fn vcpu_ids(&self) -> impl Iterator<Item = VcpuId> + use<> {
        (0..self.vcpus.len() as u16).map(VcpuId::new)
    }

    #[inline(always)]
    pub(crate) fn vcpu(&self, vcpu: VcpuId) -> Option<&Vcpu> {
        self.vcpus.get(vcpu.index())
    }

    #[inline(always)]
    pub(crate) fn vcpu_mut(&mut self, vcpu: VcpuId) -> Option<&mut Vcpu> {
        self.vcpus.get_mut(vcpu.index())
    }

    /// An SPI's index and its bank.
    pub(crate) fn spi_mut(&mut self, intid: Intid) -> Option<(SpiIndex, &mut Bank)> {
        let spi = intid.spi_index()?;
        let bank = self.spis.get_mut(spi.bank())?;
        bank.exists(spi.n()).then_some((spi, bank))
    }

    fn ppi_mut(&mut self, vcpu: VcpuId, intid: Intid) -> Option<&mut Bank> {
        let vcpu = self.vcpu_mut(vcpu)?;
        intid.is_ppi().then_some(&mut vcpu.private)
    }

    /// The bank that holds an interrupt of a vCPU, and its place there.
    pub(crate) fn bank_mut(&mut self, vcpu: VcpuId, intid: Intid) -> Option<(&mut Bank, u32)> {
        if intid.is_private() {
            return self.vcpu_mut(vcpu).map(|vcpu| (&mut vcpu.private, intid.get()));
        }
        self.spi_mut(intid).map(|(spi, bank)| (bank, spi.n()))
    }
}

/// Links to physical interrupts.
impl Vgic {
    /// A physical interrupt arrived for a vCPU, and EL2 acknowledged it and dropped its priority, but left it
    /// active: makes `intid` pending, so linked that the guest's deactivation deactivates the physical interrupt
    /// without an exit. `trigger` is the physical one's; see `resample.rs`. [`None`] if there is no such
    /// interrupt: the caller deactivates the physical one.
    pub fn inject_hw(
        &mut self,
        vcpu: VcpuId,
        intid: Intid,
        physical: Intid,
        trigger: Trigger,
    ) -> Option<VcpuSet> {
        if physical.get() >= 1 << 13 {
            return None;
        }
        let mut kicks = VcpuSet::new();
        if intid.is_private() {
            self.ppi_mut(vcpu, intid)?.link(intid.get(), physical, trigger);
            self.note_private(vcpu, 1 << intid.get(), &mut kicks);
        } else {
            let (spi, bank) = self.spi_mut(intid)?;
            bank.link(spi.n(), physical, trigger);
            self.links_spis = true;
            self.refresh(spi, &mut kicks);
        }
        Some(kicks)
    }

    /// Whether a private interrupt of the vCPU stands for this physical one. While it does, the physical
    /// interrupt is to be active on the CPU that the vCPU runs on; when the vCPU leaves that CPU, or comes to
    /// another, EL2 moves the active state along. The vCPU is synced, or put.
    #[must_use]
    pub fn is_hw_active(&self, vcpu: VcpuId, physical: Intid) -> bool {
        self.vcpu(vcpu).is_some_and(|vcpu| {
            // Of one that is put with its interrupts queued, those that were linked are over.
            let over = if vcpu.lr_state.is_put() { vcpu.private.in_lr } else { 0 };
            vcpu.private.is_linked_to(physical, over)
        })
    }

    /// A physical interrupt to be deactivated, because its virtual one is over without the hardware having seen
    /// that: cleared while pending, deactivated by a trapped or a distributor access, or reset. To be asked after
    /// each [`Self::flush`], on the CPU that the vCPU runs on, until it has no more.
    pub fn take_hw_deactivate(&mut self, vcpu: VcpuId) -> Option<Intid> {
        let private = self.vcpu_mut(vcpu)?.private.take_hw_deactivate();
        if private.is_some() || !self.links_spis {
            return private;
        }
        self.spis.iter_mut().find_map(Bank::take_hw_deactivate)
    }
}
