// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory types as people type them: `device-nGnRE`, `normal-wb`, `normal-iwb-onc,osh`, or the bits of a register.

use vambrace_memory::attributes::{
    Cacheability, DeviceKind, MemoryType, Shareability, Stage2Encoding, Stage2Type,
};

use crate::value::{ValueError, parse_value};
use vambrace_manifest::diagnostic::nearest;

/// Why a memory type could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttrsError {
    /// No memory type has this name.
    #[error("there is no memory type `{name}` for {stage}\n{mend}")]
    Unknown {
        /// As written.
        name: String,
        /// For which stage.
        stage: &'static str,
        /// What to write instead.
        mend: String,
    },
    /// No shareability has this name.
    #[error("there is no shareability `{0}`\nwrite nsh, ish or osh")]
    Shareability(String),
    /// A number that is too large or reserved.
    #[error("{text} is no {what}")]
    Encoding {
        /// As written.
        text: String,
        /// What it should be.
        what: String,
    },
    /// No number.
    #[error(transparent)]
    Value(#[from] ValueError),
}

const DEVICES: [DeviceKind; 4] = [DeviceKind::NGnRnE, DeviceKind::NGnRE, DeviceKind::NGRE, DeviceKind::GRE];
const CACHES: [Cacheability; 3] =
    [Cacheability::NonCacheable, Cacheability::WriteThrough, Cacheability::WriteBack];

/// All memory types: Device, then Normal from the least to the most cached, then those whose caches differ.
pub(super) fn memory_types() -> impl Iterator<Item = MemoryType> {
    let alike = CACHES.into_iter().map(|cache| MemoryType::Normal { inner: cache, outer: cache });
    let pairs = CACHES.into_iter().flat_map(|inner| CACHES.into_iter().map(move |outer| (inner, outer)));
    let mixed = pairs
        .filter(|(inner, outer)| inner != outer)
        .map(|(inner, outer)| MemoryType::Normal { inner, outer });
    DEVICES.into_iter().map(MemoryType::Device).chain(alike).chain(mixed)
}

/// All that stage 2 can ask for.
pub(super) fn stage2_types(encoding: Stage2Encoding) -> Vec<Stage2Type> {
    match encoding {
        Stage2Encoding::Combining => memory_types()
            .map(|memory| match memory {
                MemoryType::Device(kind) => Stage2Type::Device(kind),
                MemoryType::Normal { inner, outer } => Stage2Type::Normal { inner, outer },
            })
            .collect(),
        Stage2Encoding::Forcing => {
            let forced = [Stage2Type::NonCacheable, Stage2Type::ForcedWriteBack, Stage2Type::Stage1];
            DEVICES.into_iter().map(Stage2Type::Device).chain(forced).collect()
        }
    }
}

const fn short(cache: Cacheability) -> &'static str {
    match cache {
        Cacheability::NonCacheable => "nc",
        Cacheability::WriteThrough => "wt",
        Cacheability::WriteBack => "wb",
    }
}

/// The name of a memory type, as it is typed.
pub(super) fn name(memory: MemoryType) -> String {
    match memory {
        MemoryType::Device(kind) => format!("device-{kind}"),
        MemoryType::Normal { inner, outer } if inner == outer => format!("normal-{}", short(inner)),
        MemoryType::Normal { inner, outer } => format!("normal-i{}-o{}", short(inner), short(outer)),
    }
}

/// The name of what stage 2 asks for, as it is typed.
pub(super) fn stage2_name(memory: Stage2Type) -> String {
    match memory {
        Stage2Type::Device(kind) => name(MemoryType::Device(kind)),
        Stage2Type::Normal { inner, outer } => name(MemoryType::Normal { inner, outer }),
        Stage2Type::NonCacheable => name(MemoryType::NON_CACHEABLE),
        Stage2Type::ForcedWriteBack => "forced-wb".to_owned(),
        Stage2Type::Stage1 => "stage1".to_owned(),
    }
}

/// Reads stage 1's side: a name or a byte of `MAIR_EL1`.
pub(super) fn stage1(text: &str) -> Result<(MemoryType, Shareability), AttrsError> {
    let (memory, shareability) = split(text)?;
    let memory = if is_number(memory) {
        let byte = u8::try_from(parse_value(memory)?).map_err(|_| AttrsError::Encoding {
            text: memory.to_owned(),
            what: "byte of MAIR_EL1: that is 0 to 0xff".to_owned(),
        })?;
        MemoryType::from_mair(byte)
    } else {
        find("stage 1", memory, memory_types().map(|memory| (name(memory), memory)))?
    };
    Ok((memory, shareability))
}

/// Reads stage 2's side: a name or a `MemAttr` field.
pub(super) fn stage2(text: &str, encoding: Stage2Encoding) -> Result<(Stage2Type, Shareability), AttrsError> {
    let (memory, shareability) = split(text)?;
    let memory = if is_number(memory) {
        let bits = parse_value(memory)?;
        let known = if bits > 0b1111 { None } else { Stage2Type::from_mem_attr(bits, encoding) };
        known.ok_or_else(|| AttrsError::Encoding {
            text: memory.to_owned(),
            what: match encoding {
                Stage2Encoding::Combining => {
                    "MemAttr of FWB = 0: four bits, 0b0100, 0b1000 and 0b1100 reserved"
                }
                Stage2Encoding::Forcing => "MemAttr of FWB = 1: 0 to 3, 0b0101, 0b0110 or 0b0111",
            }
            .to_owned(),
        })?
    } else {
        let stage = match encoding {
            Stage2Encoding::Combining => "stage 2",
            Stage2Encoding::Forcing => "stage 2 with FWB",
        };
        let memory = if memory.eq_ignore_ascii_case("pass") { "stage1" } else { memory };
        find(stage, memory, stage2_types(encoding).into_iter().map(|memory| (stage2_name(memory), memory)))?
    };
    Ok((memory, shareability))
}

fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
}

fn split(text: &str) -> Result<(&str, Shareability), AttrsError> {
    let Some((memory, shareability)) = text.split_once(',') else {
        return Ok((text.trim(), Shareability::InnerShareable));
    };
    let shareability = match shareability.trim().to_ascii_lowercase().as_str() {
        "nsh" => Shareability::NonShareable,
        "ish" => Shareability::InnerShareable,
        "osh" => Shareability::OuterShareable,
        _ => return Err(AttrsError::Shareability(shareability.trim().to_owned())),
    };
    Ok((memory.trim(), shareability))
}

/// The one of `known` that is called `text`, in any case.
fn find<T>(
    stage: &'static str,
    text: &str,
    known: impl Iterator<Item = (String, T)>,
) -> Result<T, AttrsError> {
    let mut names = Vec::new();
    for (name, value) in known {
        if name.eq_ignore_ascii_case(text) {
            return Ok(value);
        }
        names.push(name);
    }
    let mend = match nearest(text, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("there are: {}", names.join(", ")),
    };
    Err(AttrsError::Unknown { name: text.to_owned(), stage, mend })
}
