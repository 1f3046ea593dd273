// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ports of the computer that lead to a VM on a network with an uplink: QEMU's user network passes them on.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use toml::Spanned;

use super::file;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span};

/// A port of the computer, and what is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardedPort {
    /// The kind of port.
    pub protocol: Protocol,
    /// The computer's port.
    pub outside: u16,
    /// The VM's address; without one, the first that QEMU gives by DHCP, 10.0.2.15.
    pub address: Option<Ipv4Addr>,
    /// The VM's port.
    pub inside: u16,
}

/// The kinds of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// What QEMU's user network takes for `hostfwd`: open to this computer only.
impl fmt::Display for ForwardedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, outside, address, inside } = self;
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        write!(f, "{protocol}:127.0.0.1:{outside}-{address}:{inside}")
    }
}

/// The addresses of QEMU's user network that are nobody's there but a VM's.
fn is_vms(address: Ipv4Addr) -> bool {
    // The computer is 10.0.2.2, the name server 10.0.2.3.
    matches!(address.octets(), [10, 0, 2, last] if last == 1 || (4..255).contains(&last))
}

impl FromStr for ForwardedPort {
    /// What is wrong.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (text, protocol) = match text.split_once('/') {
            None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), Protocol::Tcp),
            Some((text, "udp")) => (text, Protocol::Udp),
            Some((_, other)) => return Err(format!("it is either tcp or udp, and not `{other}`")),
        };
        let number = |word: &str| match word.parse::<u16>() {
            Ok(port @ 1..) if !word.starts_with('+') => Ok(port),
            _ => Err(format!("`{word}` is no port: they are numbers from 1 to 65535")),
        };
        let words: Vec<&str> = text.split(':').collect();
        let (outside, address, inside) = match *words.as_slice() {
            [outside, inside] => (outside, None, inside),
            [outside, address, inside] => (outside, Some(address), inside),
            _ => return Err("it has the computer's port and the VM's".to_owned()),
        };
        let address = address
            .map(|word| match word.parse() {
                Ok(address) if is_vms(address) => Ok(address),
                Ok(_) => Err(format!("no VM can have {word} on this network, which is 10.0.2.0/24")),
                Err(_) => Err(format!("`{word}` is no address of a VM, such as 10.0.2.15")),
            })
            .transpose()?;
        Ok(Self { protocol, outside: number(outside)?, address, inside: number(inside)? })
    }
}

/// The ports of a network with this uplink, if it has one.
pub(super) fn ports(
    list: Option<Spanned<Vec<Spanned<String>>>>,
    uplink: Option<&Spanned<file::Uplink>>,
    diagnostics: &mut Diagnostics,
) -> Vec<ForwardedPort> {
    let Some(list) = list else { return Vec::new() };
    if uplink.is_none() {
        diagnostics.push(
            Diagnostic::new(Code::BadPort, "nothing leads from the computer to this network")
                .label(list.span(), "ports of the computer come in by an uplink")
                .help("add `uplink = \"board\"` to the network"),
        );
    }
    let mut ports: Vec<(Span, ForwardedPort)> = Vec::new();
    for text in list.into_inner() {
        let port = match text.get_ref().parse::<ForwardedPort>() {
            Ok(port) => port,
            Err(reason) => {
                diagnostics.push(
                    Diagnostic::new(Code::BadPort, format!("{:?} leads nowhere", text.get_ref()))
                        .label(text.span(), reason)
                        .help(
                            "write the computer's port and the VM's, as in \"2222:22\"; with the VM's address \
                             between them, if it is not 10.0.2.15; `/udp` behind them, if it is not TCP",
                        ),
                );
                continue;
            }
        };
        let same = |other: &ForwardedPort| (other.protocol, other.outside) == (port.protocol, port.outside);
        if let Some((first, _)) = ports.iter().find(|(_, other)| same(other)) {
            let title = format!("the computer's port {} leads to two places", port.outside);
            diagnostics.push(
                Diagnostic::new(Code::BadPort, title)
                    .label(text.span(), "choose another port of the computer")
                    .label(first.clone(), "first here"),
            );
            continue;
        }
        ports.push((text.span(), port));
    }
    ports.into_iter().map(|(_, port)| port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_becomes_what_qemu_takes() {
        for (text, due) in [
            ("2222:22", "tcp:127.0.0.1:2222-:22"),
            ("8080:80/tcp", "tcp:127.0.0.1:8080-:80"),
            ("5353:10.0.2.21:53/udp", "udp:127.0.0.1:5353-10.0.2.21:53"),
        ] {
            assert_eq!(text.parse::<ForwardedPort>().map(|port| port.to_string()).as_deref(), Ok(due));
        }
    }

    #[test]
    fn what_is_no_port_says_why() {
        for (text, words) in [
            ("22", "the VM's"),
            ("", "the VM's"),
            ("0:22", "1 to 65535"),
            ("2222:65536", "1 to 65535"),
            ("2222:ssh", "`ssh`"),
            ("+1:22", "`+1`"),
            ("2222:10.0.2.2:22", "no VM can have 10.0.2.2"),
            ("2222:192.168.1.7:22", "10.0.2.0/24"),
            ("2222:web:22", "`web`"),
            ("2222:22/sctp", "`sctp`"),
            ("1:2:3:4", "the VM's"),
        ] {
            let error = text.parse::<ForwardedPort>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
