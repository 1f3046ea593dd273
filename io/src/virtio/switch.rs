// SPDX-License-Identifier: MIT OR Apache-2.0
//! An Ethernet switch as a value: who gets a frame.
//!
//! It sees a frame's addresses and its length, never guest memory, and answers with a set of ports. The caller copies the
//! frame to them, one after the other, and says what became of it ([`Switch::delivered`], [`Switch::lost`]).
//!
//! # Who is who
//! A port has an address of its own, and unless it is allowed more, it may send under no other. Such an address is never
//! learned and never forgotten, and no other port can claim it. Only the addresses behind ports that are allowed more (an
//! uplink, a guest that is itself a bridge) are learned, into a table of bounded size: what gets lost there, by age or by
//! others' doing, costs copies, since frames to an unknown address go to all of those ports. Ports with an address of their
//! own get what is for it and for groups, and so no guest reads another's frames.

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};
use vambrace_state::Version;

use super::net::{ETHERNET, Frame, MAX_FRAME, Mac};
use bucket::Bucket;
use table::Table;

mod bucket;
mod table;

pub use bucket::Rate;
pub use table::ENTRIES;

/// The most ports.
pub const MAX_PORTS: usize = 32;

/// A port, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SwitchPort(pub u8);

/// Under which addresses a port may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Addresses {
    /// Its own only.
    Own,
    /// Any that is no other port's own; frames to unknown addresses go there.
    Any,
}

/// What a port is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its own address.
    pub mac: Mac,
    /// Which it may send under.
    pub addresses: Addresses,
    /// How much it may send; no limit if there is none.
    pub rate: Option<Rate>,
}

/// What has gone through a port, and what has not. All of them wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Frames that came from the port and were forwarded or had no taker.
    pub frames_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Frames that the port has got.
    pub frames_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Frames for the port that it had no room for.
    pub lost: u64,
    /// Frames from the port under an address that it may not send under, or that is none of a sender.
    pub spoofed: u64,
    /// Frames from the port beyond its rate.
    pub limited: u64,
}

/// A set of ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Ports(u32);

impl Ports {
    const fn one(port: usize) -> Self {
        Self(1 << port)
    }

    /// Whether nobody is in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `port` is in it.
    #[must_use]
    pub fn contains(self, port: SwitchPort) -> bool {
        self.0.checked_shr(port.0.into()).is_some_and(|rest| rest & 1 != 0)
    }

    /// The ports in it, by number.
    pub fn iter(self) -> impl Iterator<Item = SwitchPort> {
        (0..MAX_PORTS as u8).map(SwitchPort).filter(move |port| self.contains(*port))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Socket {
    policy: Policy,
    bucket: Bucket,
    counters: Counters,
}

/// Why a port was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// All places are taken.
    #[error("a switch has at most {MAX_PORTS} ports")]
    Full,
    /// Another port has the address, or it is a group's or zero.
    #[error("{0:02x?} cannot be a port's own address")]
    Address([u8; 6]),
    /// Some frames could never be sent at such a rate.
    #[error(
        "{0:?} lets no frame of {MAX_FRAME} bytes through: rate and frequency are not 0, the burst is as long as that"
    )]
    Rate(Rate),
}

/// The switch's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    version: Version<1>,
    sockets: ArrayVec<Option<Socket>, MAX_PORTS>,
    table: Table,
    /// How long a learned address is known, in counts of the system counter.
    age: u64,
}

impl Switch {
    /// A switch without ports. A learned address that has sent nothing for `age` counts of the system counter is forgotten;
    /// 300 seconds are usual (IEEE 802.1Q, 8.8.3).
    #[must_use]
    pub fn new(age: u64) -> Self {
        Self { version: Version, sockets: ArrayVec::new(), table: Table::default(), age }
    }

    /// Adds a port, at the first free number. At `now` its rate has not been used yet.
    ///
    /// # Errors
    /// [`PortError`]; nothing has changed then.
    pub fn add(&mut self, policy: Policy, now: u64) -> Result<SwitchPort, PortError> {
        if !is_sender(policy.mac) || self.owner(policy.mac).is_some() {
            return Err(PortError::Address(policy.mac.0));
        }
        if let Some(rate) = policy.rate.filter(|rate| !rate.is_usable()) {
            return Err(PortError::Rate(rate));
        }
        let socket = Some(Socket { policy, bucket: Bucket::full(now), counters: Counters::default() });
        self.table.forget_address(policy.mac);
        if let Some(at) = self.sockets.iter().position(Option::is_none) {
            if let Some(free) = self.sockets.get_mut(at) {
                *free = socket;
            }
            return Ok(SwitchPort(at as u8));
        }
        self.sockets.try_push(socket).map_err(|_| PortError::Full)?;
        Ok(SwitchPort((self.sockets.len() - 1) as u8))
    }

    /// Takes a port away, and all that was learned of it.
    pub fn remove(&mut self, port: SwitchPort) {
        if let Some(socket) = self.sockets.get_mut(usize::from(port.0)) {
            *socket = None;
            self.table.forget_port(port);
        }
    }

    /// Who gets a frame that `from` sends at `now`, in counts of the system counter. Nobody if it is refused.
    pub fn forward(&mut self, from: SwitchPort, frame: &Frame<'_>, now: u64) -> Ports {
        let len = frame.bytes.len() as u64;
        let Some((to, sender)) = addresses(frame.bytes) else { return Ports::default() };
        let owner = self.owner(sender);
        let Some(socket) = self.socket_mut(from) else { return Ports::default() };
        let is_other = owner.is_some_and(|owner| owner != from);
        let is_own = sender == socket.policy.mac;
        if !is_sender(sender) || is_other || !is_own && socket.policy.addresses == Addresses::Own {
            socket.counters.spoofed = socket.counters.spoofed.wrapping_add(1);
            return Ports::default();
        }
        if let Some(rate) = socket.policy.rate
            && !socket.bucket.take(rate, len, now)
        {
            socket.counters.limited = socket.counters.limited.wrapping_add(1);
            return Ports::default();
        }
        count(&mut socket.counters.frames_in, &mut socket.counters.bytes_in, len);
        if !is_own {
            self.table.learn(sender, from, now);
        }
        self.takers(to, from, now)
    }

    /// Who gets what is sent to `to`, but for the sender.
    fn takers(&self, to: Mac, from: SwitchPort, now: u64) -> Ports {
        let known = self.owner(to).or_else(|| self.table.find(to, now, self.age));
        let wanted = |port: SwitchPort, socket: &Socket| match known {
            _ if is_reserved(to) => false,
            _ if to.is_group() => true,
            Some(known) => known == port,
            None => socket.policy.addresses == Addresses::Any,
        };
        let ports = self.sockets().filter(|(port, socket)| *port != from && wanted(*port, socket));
        Ports(ports.fold(0, |ports, (port, _)| ports | Ports::one(usize::from(port.0)).0))
    }

    /// A port has got a frame of `len` bytes.
    pub fn delivered(&mut self, port: SwitchPort, len: u64) {
        if let Some(socket) = self.socket_mut(port) {
            count(&mut socket.counters.frames_out, &mut socket.counters.bytes_out, len);
        }
    }

    /// A port had no room for a frame.
    pub fn lost(&mut self, port: SwitchPort) {
        if let Some(socket) = self.socket_mut(port) {
            socket.counters.lost = socket.counters.lost.wrapping_add(1);
        }
    }

    /// What has gone through a port. `None` when there is none of this number.
    #[must_use]
    pub fn counters(&self, port: SwitchPort) -> Option<Counters> {
        self.sockets().find(|(at, _)| *at == port).map(|(_, socket)| socket.counters)
    }

    /// The port whose own address this is.
    fn owner(&self, mac: Mac) -> Option<SwitchPort> {
        self.sockets().find(|(_, socket)| socket.policy.mac == mac).map(|(port, _)| port)
    }

    fn sockets(&self) -> impl Iterator<Item = (SwitchPort, &Socket)> {
        let all = self.sockets.iter().enumerate();
        all.filter_map(|(at, socket)| Some((SwitchPort(at as u8), socket.as_ref()?)))
    }

    fn socket_mut(&mut self, port: SwitchPort) -> Option<&mut Socket> {
        self.sockets.get_mut(usize::from(port.0))?.as_mut()
    }
}

fn count(frames: &mut u64, bytes: &mut u64, len: u64) {
    *frames = frames.wrapping_add(1);
    *bytes = bytes.wrapping_add(len);
}

/// Destination and source of a frame.
fn addresses(frame: &[u8]) -> Option<(Mac, Mac)> {
    let header = frame.get(..ETHERNET)?;
    let mac = |at: usize| header.get(at..at + 6)?.try_into().ok().map(Mac);
    Some((mac(0)?, mac(6)?))
}

/// Whether a frame can come from there: one card, and not nobody.
fn is_sender(mac: Mac) -> bool {
    !mac.is_group() && mac != Mac::default()
}

/// Addresses that concern the link and are not forwarded (IEEE 802.1Q, 8.6.3).
fn is_reserved(mac: Mac) -> bool {
    matches!(mac.0, [0x01, 0x80, 0xC2, 0, 0, 0..=0x0F])
}

#[cfg(test)]
mod tests;
