// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a partition of the board's disk lies: its table (GPT) is read from the disk's file, and EL2 is told sectors.

use std::ops::Range;
use std::path::Path;

use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use gpt::partition::Partition;

use crate::diagnostic::{Code, Diagnostic, nearest};

/// The sectors of the partition called `name`, or with that number, of the disk called `disk`, whose contents are in `file`.
pub(super) fn find(file: &Path, disk: &str, name: &str) -> Result<Range<u64>, Box<Diagnostic>> {
    let wrong = |title: String| Diagnostic::new(Code::NoPartition, title);
    let config = GptConfig::new().writable(false).logical_block_size(LogicalBlockSize::Lb512);
    let table = config.open(file).map_err(|error| {
        wrong(format!("the disk `{disk}` has no partition table that can be read: {error}"))
            .help(format!("make one in {}, such as by sgdisk, or write `start` and `size`", file.display()))
    });
    let table = table.map_err(Box::new)?;
    let partitions = table.partitions();
    let is_called =
        |(number, partition): &(&u32, &Partition)| partition.name == name || number.to_string() == name;
    let found = partitions.iter().filter(|(_, partition)| partition.is_used()).find(is_called);
    if let Some((_, partition)) = found {
        return Ok(partition.first_lba..partition.last_lba.saturating_add(1));
    }
    let known: Vec<String> = partitions
        .iter()
        .filter(|(_, partition)| partition.is_used())
        .map(|(number, partition)| format!("{number} `{}`", partition.name))
        .collect();
    let unknown = wrong(format!("the disk `{disk}` has no partition `{name}`"));
    Err(Box::new(match nearest(name, partitions.values().map(|partition| partition.name.as_str())) {
        Some(near) => unknown.help(format!("did you mean `{near}`?")),
        None if known.is_empty() => unknown.help("its partition table is empty"),
        None => unknown.help(format!("it has {}", known.join(", "))),
    }))
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs::File;
    use std::path::PathBuf;

    use gpt::mbr::ProtectiveMBR;
    use gpt::partition_types::LINUX_FS;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A disk of 16 MiB with two partitions.
    pub(in crate::plan) fn disk(folder: &Path) -> PathBuf {
        let path = folder.join("disk.img");
        let mut file = File::create_new(&path).unwrap();
        file.set_len(16 * MIB).unwrap();
        ProtectiveMBR::new().overwrite_lba0(&mut file).unwrap();
        let mut table = GptConfig::new().writable(true).create(&path).unwrap();
        table.add_partition("boot", 2 * MIB, LINUX_FS, 0, Some(2048)).unwrap();
        table.add_partition("root", 8 * MIB, LINUX_FS, 0, Some(2048)).unwrap();
        table.write().unwrap();
        path
    }

    #[test]
    fn a_partition_is_found_by_name_and_by_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = disk(folder.path());
        let boot = find(&path, "store", "boot").unwrap();
        assert_eq!(boot, 2048..2048 + 4096);
        assert_eq!(find(&path, "store", "1").unwrap(), boot);
        let root = find(&path, "store", "root").unwrap();
        assert_eq!((root.start, root.end - root.start), (6144, 16384));
    }

    #[test]
    fn what_there_is_not_is_told_with_what_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = disk(folder.path());
        let said = |name| format!("{:?}", find(&path, "store", name).unwrap_err());
        assert!(said("rot").contains("did you mean `root`?"), "{}", said("rot"));
        assert!(said("swap9").contains("it has 1 `boot`, 2 `root`"), "{}", said("swap9"));
    }

    #[test]
    fn a_disk_without_a_table_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.img");
        File::create_new(&path).unwrap().set_len(MIB).unwrap();
        let wrong = format!("{:?}", find(&path, "store", "root").unwrap_err());
        assert!(wrong.contains("no partition table"), "{wrong}");
    }
}
