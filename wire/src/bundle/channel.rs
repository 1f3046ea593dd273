// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a bundle says of memory that VMs share.

use alloc::string::String;

use serde::{Deserialize, Serialize};

/// The most channels of a VM.
pub const MAX_CHANNELS: usize = 8;

/// The most members of a channel: a bit for each in its registers.
pub const MAX_MEMBERS: usize = 8;

/// The largest channel, in bytes.
pub const MAX_SIZE: u64 = 16 << 20;

/// A piece of memory that several VMs share, and doorbells between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Its name, which its members are told.
    pub name: String,
    /// How many bytes; whole pages, [`MAX_SIZE`] at most.
    pub size: u64,
}

/// A VM's end of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Index into [`Directory::channels`](super::Directory::channels).
    pub channel: u16,
    /// Its number among the channel's members.
    pub number: u8,
    /// How many members the channel has, itself included.
    pub members: u8,
    /// What it may do with the memory.
    pub access: ChannelAccess,
}

/// What a member may do with a channel's memory. All may ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChannelAccess {
    /// Read and write.
    #[default]
    ReadWrite,
    /// Read.
    ReadOnly,
}
