// SPDX-License-Identifier: MIT OR Apache-2.0
//! The PL011's registers by name: offsets and bits (Arm DDI 0183, "Programmers Model").

/// Data register.
pub const DR: u64 = 0x000;
/// Receive status; a write clears it.
pub const RSR: u64 = 0x004;
/// Flags.
pub const FR: u64 = 0x018;
/// IrDA low-power counter.
pub const ILPR: u64 = 0x020;
/// Integer part of the baud rate divisor.
pub const IBRD: u64 = 0x024;
/// Fractional part of the baud rate divisor.
pub const FBRD: u64 = 0x028;
/// Line control.
pub const LCR_H: u64 = 0x02C;
/// Control.
pub const CR: u64 = 0x030;
/// Interrupt FIFO levels.
pub const IFLS: u64 = 0x034;
/// Interrupt mask: ones let through.
pub const IMSC: u64 = 0x038;
/// Raw interrupt status.
pub const RIS: u64 = 0x03C;
/// Masked interrupt status.
pub const MIS: u64 = 0x040;
/// Interrupt clear: ones clear.
pub const ICR: u64 = 0x044;
/// DMA control.
pub const DMACR: u64 = 0x048;

/// PeriphID0-3 and PCellID0-3: part 0x011, designed by Arm, revision r1p1: what QEMU's `virt` board has.
pub(super) const ID: [u8; 8] = [0x11, 0x10, 0x14, 0x00, 0x0D, 0xF0, 0x05, 0xB1];

/// Error flags of a received entry, above its byte; RSR has them 8 bits lower.
pub(super) mod error {
    pub(in super::super) const BREAK: u16 = 1 << 10;
    pub(in super::super) const OVERRUN: u16 = 1 << 11;
}

/// Bits of FR.
pub(super) mod flag {
    pub(in super::super) const CTS: u32 = 1 << 0;
    pub(in super::super) const DSR: u32 = 1 << 1;
    pub(in super::super) const DCD: u32 = 1 << 2;
    pub(in super::super) const BUSY: u32 = 1 << 3;
    pub(in super::super) const RXFE: u32 = 1 << 4;
    pub(in super::super) const TXFF: u32 = 1 << 5;
    pub(in super::super) const RXFF: u32 = 1 << 6;
    pub(in super::super) const TXFE: u32 = 1 << 7;
    pub(in super::super) const RI: u32 = 1 << 8;
}

/// Bits of LCR_H.
pub(super) mod line {
    pub(in super::super) const BRK: u32 = 1 << 0;
    pub(in super::super) const FEN: u32 = 1 << 4;
}

/// Bits of CR.
pub(super) mod control {
    /// LBE: what is sent comes back as received.
    pub(in super::super) const LBE: u32 = 1 << 7;
    pub(in super::super) const DTR: u32 = 1 << 10;
    pub(in super::super) const RTS: u32 = 1 << 11;
    pub(in super::super) const OUT1: u32 = 1 << 12;
    pub(in super::super) const OUT2: u32 = 1 << 13;
}

/// Bits of IMSC, RIS, MIS and ICR.
pub(super) mod interrupt {
    pub(in super::super) const RI: u32 = 1 << 0;
    pub(in super::super) const CTS: u32 = 1 << 1;
    pub(in super::super) const DCD: u32 = 1 << 2;
    pub(in super::super) const DSR: u32 = 1 << 3;
    pub(in super::super) const RX: u32 = 1 << 4;
    pub(in super::super) const TX: u32 = 1 << 5;
    pub(in super::super) const RT: u32 = 1 << 6;
    pub(in super::super) const BE: u32 = 1 << 9;
    pub(in super::super) const OE: u32 = 1 << 10;
}

/// The bits that exist, of each register that keeps what is written.
pub(super) mod writable {
    pub(in super::super) const ILPR: u32 = 0xFF;
    pub(in super::super) const IBRD: u32 = 0xFFFF;
    pub(in super::super) const FBRD: u32 = 0x3F;
    pub(in super::super) const LCR_H: u32 = 0xFF;
    pub(in super::super) const CR: u32 = 0xFF87;
    pub(in super::super) const IFLS: u32 = 0x3F;
    pub(in super::super) const IMSC: u32 = 0x7FF;
    pub(in super::super) const DMACR: u32 = 0x7;
}
