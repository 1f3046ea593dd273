// SPDX-License-Identifier: MIT OR Apache-2.0
//! dpkg's database of packages that are unpacked and not set up yet, as dpkg would have left it (see deb(5),
//! deb-triggers(5), dpkg(1); the files' formats are those of dpkg's own sources, doc/triggers.txt among them).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Read, Write};

use super::tree::{Tree, relative};

const FOLDER: &str = "var/lib/dpkg";

/// What a package says of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Control {
    /// Scripts and lists, with their permissions; not the description, `control`.
    members: BTreeMap<String, (u32, Vec<u8>)>,
    description: String,
}

impl Control {
    /// Reads a package's control archive.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn read(archive: &mut tar::Archive<impl Read>) -> io::Result<Self> {
        let mut control = Self::default();
        for entry in archive.entries()? {
            let mut entry = entry?;
            let (name, mode) = (relative(&entry.path_bytes())?, entry.header().mode()?);
            let mut data = Vec::new();
            entry.read_to_end(&mut data)?;
            match name.as_str() {
                "" => {}
                "control" => control.description = String::from_utf8(data).map_err(io::Error::other)?,
                _ => drop(control.members.insert(name, (mode, data))),
            }
        }
        Ok(control)
    }

    fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.description.lines().filter_map(|line| line.split_once(':'));
        fields.find_map(|(key, value)| (key == name).then_some(value.trim()))
    }

    /// What its files in the database are called: several architectures of one that is the same for all may be there.
    fn name(&self) -> String {
        let package = self.field("Package").unwrap_or_default();
        match (self.field("Multi-Arch"), self.field("Architecture")) {
            (Some("same"), Some(architecture)) => format!("{package}:{architecture}"),
            _ => package.to_owned(),
        }
    }

    fn lines(&self, member: &str) -> Vec<String> {
        let text =
            self.members.get(member).map(|(_, data)| String::from_utf8_lossy(data)).unwrap_or_default();
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    }

    /// The files that are its user's to change, as absolute paths.
    pub(super) fn conffiles(&self) -> BTreeSet<String> {
        self.lines("conffiles").into_iter().filter(|line| line.starts_with('/')).collect()
    }

    /// The paragraph of the list of packages.
    fn status(&self) -> String {
        let mut status = String::new();
        for line in self.description.trim().lines() {
            let _ = writeln!(status, "{line}");
            if line.starts_with("Package:") {
                status.push_str("Status: install ok unpacked\n");
            }
        }
        let conffiles = self.conffiles();
        if !conffiles.is_empty() {
            status.push_str("Conffiles:\n");
        }
        for file in conffiles {
            let _ = writeln!(status, " {file} newconffile");
        }
        status.push('\n');
        status
    }

    /// What it wants to hear of: the trigger, and who hears of it.
    fn interests(&self) -> Vec<(String, String)> {
        let interest = |line: String| {
            let (directive, trigger) = line.split_once(char::is_whitespace)?;
            let waits = match directive {
                "interest" | "interest-await" => "",
                "interest-noawait" => "/noawait",
                _ => return None,
            };
            Some((trigger.trim().to_owned(), format!("{}{waits}", self.name())))
        };
        self.lines("triggers").into_iter().filter_map(interest).collect()
    }
}

/// The database in the making.
#[derive(Clone, Debug, Default)]
pub(super) struct Database {
    status: String,
    /// Who hears of what is done to files, and of triggers of other names.
    of_files: String,
    triggers: BTreeMap<String, String>,
}

impl Database {
    /// Adds a package whose files, as absolute paths, are `files`.
    ///
    /// # Errors
    /// When the tree cannot be written.
    pub(super) fn add(
        &mut self,
        control: &Control,
        files: &[String],
        tree: &mut Tree<impl Write>,
    ) -> io::Result<()> {
        let name = control.name();
        let list: String = files.iter().map(|file| format!("{file}\n")).collect();
        tree.file(&format!("{FOLDER}/info/{name}.list"), 0o644, list.as_bytes())?;
        for (member, (mode, data)) in &control.members {
            tree.file(&format!("{FOLDER}/info/{name}.{member}"), *mode, data)?;
        }
        self.status.push_str(&control.status());
        for (trigger, who) in control.interests() {
            if trigger.starts_with('/') {
                let _ = writeln!(self.of_files, "{trigger} {who}");
            } else {
                let _ = writeln!(self.triggers.entry(trigger).or_default(), "{who}");
            }
        }
        Ok(())
    }

    /// Writes what concerns all packages.
    ///
    /// # Errors
    /// When the tree cannot be written.
    pub(super) fn finish(self, tree: &mut Tree<impl Write>) -> io::Result<()> {
        let mut write =
            |name: &str, text: &str| tree.file(&format!("{FOLDER}/{name}"), 0o644, text.as_bytes());
        write("status", &self.status)?;
        write("available", "")?;
        write("info/format", "1\n")?;
        write("triggers/File", &self.of_files)?;
        self.triggers.iter().try_for_each(|(trigger, who)| write(&format!("triggers/{trigger}"), who))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(description: &str, members: &[(&str, &str)]) -> Control {
        let member = |(name, text): &(&str, &str)| ((*name).to_owned(), (0o644, text.as_bytes().to_vec()));
        Control { members: members.iter().map(member).collect(), description: description.to_owned() }
    }

    #[test]
    fn a_package_is_unpacked_with_its_conffiles_new() {
        let bash = control(
            "Package: bash\nVersion: 5.2\nArchitecture: arm64\nDescription: shell\n a shell: it is\n",
            &[("conffiles", "/etc/bash.bashrc\nremove-on-upgrade /etc/old\n")],
        );
        assert_eq!(
            bash.status(),
            "Package: bash\nStatus: install ok unpacked\nVersion: 5.2\nArchitecture: arm64\nDescription: shell\n \
             a shell: it is\nConffiles:\n /etc/bash.bashrc newconffile\n\n"
        );
        assert_eq!(bash.name(), "bash");
    }

    #[test]
    fn a_library_is_named_with_its_architecture() {
        let libc = control("Package: libc6\nArchitecture: arm64\nMulti-Arch: same\n", &[]);
        assert_eq!(libc.name(), "libc6:arm64");
    }

    #[test]
    fn interests_say_who_waits() {
        let libc = control(
            "Package: libc-bin\nArchitecture: arm64\nMulti-Arch: foreign\n",
            &[("triggers", "# comment\ninterest-noawait /usr/lib64\ninterest-await ldconfig\nactivate x\n")],
        );
        assert_eq!(
            libc.interests(),
            [
                ("/usr/lib64".to_owned(), "libc-bin/noawait".to_owned()),
                ("ldconfig".to_owned(), "libc-bin".to_owned())
            ]
        );
    }
}
