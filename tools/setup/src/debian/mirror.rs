// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where Debian is to be had from here.
//!
//! On Debian: the machine's own mirror. On a relative with apt, such as Ubuntu: two of its own packages are
//! downloaded and unpacked. `debootstrap` names Debian's mirror, `debian-archive-keyring` checks its signatures.

use std::path::Path;
use std::process::Command;

use super::super::apt::{Apt, Target};
use super::super::sources::{self, Distribution, Source};
use super::super::{Cache, SetupError, process};
use super::ProgressStep;
use vambrace_manifest::debian::SERIES;

/// The cache entry of what is learnt on a relative of Debian.
const ENTRY: &str = "debian-mirror";

/// A Debian mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mirror {
    uris: String,
    signed_by: String,
    trusted: bool,
}

impl Mirror {
    /// One release of it.
    pub(super) fn of_suite(&self, suite: &str) -> Source {
        Source {
            uris: self.uris.clone(),
            suites: vec![suite.to_owned()],
            components: "main".into(),
            signed_by: self.signed_by.clone(),
            trusted: self.trusted,
        }
    }

    /// What a Debian of its own may fetch more packages from, as a text for apt; nothing where only this machine can.
    pub(super) fn for_guests(&self, suite: &str) -> String {
        if !self.uris.starts_with("http") || self.trusted {
            return String::new();
        }
        // The system has Debian's keys itself, where apt looks for them.
        Source { signed_by: String::new(), ..self.of_suite(suite) }.to_string()
    }

    /// The machine's own, among its sources.
    fn own(own: &[Source], codename: &str) -> Option<Self> {
        let source = own.iter().find(|source| source.suites.iter().any(|suite| suite == codename))?;
        let Source { uris, signed_by, trusted, .. } = source.clone();
        Some(Self { uris, signed_by, trusted })
    }
}

/// Finds a mirror.
///
/// # Errors
/// When this system has no apt, or its sources cannot be used.
pub(super) fn find(cache: &Cache, machine: &Distribution, step: &ProgressStep) -> Result<Mirror, SetupError> {
    if process::find("apt-get").is_none() || process::find("dpkg-deb").is_none() {
        return Err(SetupError::new(
            "Debian's packages are fetched with apt and dpkg, which this system lacks",
            "give the VM a kernel of your own: kernel = \"PATH\" (an uncompressed arm64 Image)",
        ));
    }
    let own = machine.own(&sources::of_this_machine());
    if own.is_empty() {
        return Err(SetupError::new(
            format!("apt has no source for this system's own release, {} {}", machine.id, machine.codename),
            "add your distribution's archive to /etc/apt/sources.list, or write kernel = \"PATH\"",
        ));
    }
    if machine.id == "debian" {
        Mirror::own(&own, &machine.codename).ok_or_else(|| {
            SetupError::new(
                format!("apt has no source for Debian {}", machine.codename),
                "add it to /etc/apt/sources.list, or write kernel = \"PATH\"",
            )
        })
    } else {
        from_debootstrap(cache, &own, step)
    }
}

/// Learns the mirror and its keys from two packages of a relative of Debian.
fn from_debootstrap(cache: &Cache, own: &[Source], step: &ProgressStep) -> Result<Mirror, SetupError> {
    let entry = match cache.newest(ENTRY, "") {
        Some(entry) => entry,
        None => {
            let apt = Apt::open(cache, "apt-debootstrap", Target::ThisMachine, own, step)?;
            let staging = cache.staging()?;
            let tree = staging.path().join("tree");
            for package in ["debootstrap", "debian-archive-keyring"] {
                let archive = apt.download(package, staging.path(), step)?;
                process::run(
                    Command::new("dpkg-deb").arg("--extract").args([&archive, &tree]),
                    "delete the cache folder (vambrace doctor shows it) and try again",
                    |_| {},
                )?;
            }
            cache.adopt(&tree, ENTRY, "1")?
        }
    };
    let unknown = || {
        SetupError::new(
            "this system's debootstrap does not say where Debian is to be had",
            "give the VM a kernel of your own: kernel = \"PATH\" (an uncompressed arm64 Image)",
        )
    };
    let uris = default_mirror(&entry).ok_or_else(unknown)?;
    let keyrings = entry.join("usr/share/keyrings");
    let keyring = ["debian-archive-keyring.gpg", "debian-archive-keyring.pgp"]
        .map(|name| keyrings.join(name))
        .into_iter()
        .find(|file| file.is_file())
        .ok_or_else(unknown)?;
    Ok(Mirror { uris, signed_by: keyring.display().to_string(), trusted: false })
}

/// The mirror that debootstrap takes for Debian: named by the program itself, or by the script of a release that
/// we need; the scripts of older releases name an archive that no longer has these.
fn default_mirror(tree: &Path) -> Option<String> {
    let scripts = tree.join("usr/share/debootstrap/scripts");
    let releases = SERIES.iter().map(|series| scripts.join(series.suite));
    let files = [tree.join("usr/sbin/debootstrap"), scripts.join("sid")].into_iter().chain(releases);
    files.filter_map(|file| std::fs::read_to_string(file).ok()).find_map(|text| {
        text.lines()
            .filter(|line| line.contains("MIRROR=") || line.contains("default_mirror"))
            .flat_map(|line| line.split(['"', '\'', ' ', '=']))
            .find(|word| word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian"))
            .map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_mirror_is_the_one_of_its_release() {
        let own = sources::parse_list(
            "deb http://security.example/debian-security bookworm-security main\n\
             deb [signed-by=/k.gpg] http://mirror.example/debian bookworm main contrib\n",
        );
        let mirror = Mirror::own(&own, "bookworm").unwrap();
        assert_eq!(
            mirror.of_suite("trixie").to_string(),
            "Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie\nComponents: main\n\
             Signed-By: /k.gpg\n\n"
        );
    }

    #[test]
    fn debootstrap_names_debians_mirror_among_others() {
        let tree = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = tree.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("usr/share/debootstrap/scripts/potato", "default_mirror http://old.example/debian\n");
        assert_eq!(default_mirror(tree.path()), None);
        write("usr/share/debootstrap/scripts/trixie", "\tdefault_mirror http://b.example/debian\n");
        assert_eq!(default_mirror(tree.path()).as_deref(), Some("http://b.example/debian"));
        write(
            "usr/sbin/debootstrap",
            "# http://c.example/debian\nDEF_MIRROR=\"http://u.example/ubuntu\"\nDEF_MIRROR=\"http://a.example/debian\"\n",
        );
        assert_eq!(default_mirror(tree.path()).as_deref(), Some("http://a.example/debian"));
    }
}
