// SPDX-License-Identifier: MIT OR Apache-2.0
//! A GIC that is read back into one that was built for the same VM, perhaps on another machine.

use serde::de::{DeserializeSeed, Deserializer};
use serde::{Deserialize, Serialize};
use vambrace_ids::VcpuId;
use vambrace_state::{Restore, other_shape, restore_fields, sames};

use crate::affinity::Affinities;
use crate::bank::Bank;
use crate::config::{ConfigError, VgicConfig};
use crate::intid::Intid;
use crate::vcpu_set::bits;
use crate::vgic::{Vcpu, VcpuRunState, Vgic};

restore_fields!(Vgic {
    part config,
    part affinities,
    whole groups,
    parts spis,
    wholes routes,
    parts vcpus,
    whole next_target,
    whole links_spis,
});

restore_fields!(VgicConfig {
    sames affinities,
    sames region_ends,
    same spi_count,
    same priority_bits,
    same preemption_bits,
    same list_registers,
});

restore_fields!(Vcpu {
    part private,
    whole spis,
    whole interface,
    whole queued,
    whole used_lrs,
    whole run_state,
    whole asleep,
    whole masked_groups,
    whole resampled,
    whole declined_groups,
    whole lr_state,
    whole pending_sgi,
    whole last_lr,
});

impl Restore for Affinities {
    fn restore<'de, D: Deserializer<'de>>(&mut self, from: D) -> Result<(), D::Error> {
        sames(&mut self.0).deserialize(from)
    }
}

impl Restore for Bank {
    fn restore<'de, D: Deserializer<'de>>(&mut self, from: D) -> Result<(), D::Error> {
        let bank = Self::deserialize(from)?;
        if !bank.has_shape_of(self) {
            return Err(other_shape());
        }
        *self = bank;
        Ok(())
    }
}

/// A virtual interrupt that stands for a physical one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HwLink {
    /// The vCPU whose interrupt it is; none of an SPI.
    pub vcpu: Option<VcpuId>,
    /// The virtual interrupt.
    pub intid: Intid,
    /// The physical one, which is active or is to be deactivated.
    pub physical: Intid,
}

impl Vgic {
    /// Finds out whether a value that was restored, and so has the shape of a fresh one, is one that this type can have, of a VM
    /// none of whose vCPUs is loaded.
    ///
    /// # Errors
    /// [`ConfigError::Inconsistent`].
    pub fn check_restored(&self) -> Result<(), ConfigError> {
        let is_out = |vcpu: &Vcpu| vcpu.lr_state.is_put() || !vcpu.lr_state.is_flushed();
        if self.refers_to_itself() && self.vcpus.iter().all(is_out) {
            Ok(())
        } else {
            Err(ConfigError::Inconsistent)
        }
    }

    /// Whether all that it names of its own is there.
    pub(crate) fn refers_to_itself(&self) -> bool {
        let is_vcpu = |vcpu: Option<VcpuId>| vcpu.is_none_or(|vcpu| vcpu.index() < self.vcpus.len());
        self.routes.iter().all(|route| is_vcpu(route.owner) && is_vcpu(route.target))
            && self.vcpus.iter().all(|vcpu| vcpu.interface.used <= self.config.list_registers)
    }

    /// No vCPU is loaded, and the next machine may be another: takes all that list registers hold back into the model, and
    /// has each vCPU look before it is entered.
    pub fn detach(&mut self) {
        for vcpu in self.vcpu_ids() {
            // Whom it concerns looks in any case.
            let _ = self.sync_put(vcpu);
            self.set_run_state(vcpu, VcpuRunState::Runnable);
        }
    }

    /// The interrupts that are linked to physical ones, or were and are to be deactivated. No vCPU's are in list registers.
    pub fn hw_links(&self) -> impl Iterator<Item = HwLink> {
        let private = (0..).map(VcpuId::new).zip(&self.vcpus).flat_map(|(vcpu, state)| {
            let links = state.private.hw_links();
            links.map(move |(n, physical)| HwLink { vcpu: Some(vcpu), intid: Intid::new(n), physical })
        });
        let spis = (0..).zip(&self.spis).flat_map(|(bank, state)| {
            let links = state.hw_links();
            links.map(move |(n, physical)| HwLink { vcpu: None, intid: Intid::spi(bank * 32 + n), physical })
        });
        private.chain(spis)
    }
}

impl Bank {
    fn hw_links(&self) -> impl Iterator<Item = (u32, Intid)> {
        let links = bits(self.with_physical().into());
        links.filter_map(|n| Some((n, Intid::new((*self.physical().get(n as usize)?).into()))))
    }
}
