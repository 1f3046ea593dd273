// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where this machine gets its packages: reads apt's own configuration, in both of its formats.
//!
//! The machine's sources are never changed. What set-up needs from them, the distribution's own archive without
//! third parties, is written out again for a private run of apt; see `sources.list(5)`.

use std::fmt;
use std::path::Path;

use super::process;

/// One archive, as apt knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its address, or several separated by spaces.
    pub uris: String,
    /// Releases, such as `bookworm` and `bookworm-updates`.
    pub suites: Vec<String>,
    /// Parts, such as `main`.
    pub components: String,
    /// Key file or key, as configured; empty for apt's default.
    pub signed_by: String,
    /// The user trusts it without a signature.
    pub trusted: bool,
}

/// Which distribution this machine runs, from `os-release(5)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// `debian`, `ubuntu`, ...
    pub id: String,
    /// The release's code name, such as `bookworm`; may be empty.
    pub codename: String,
}

impl Distribution {
    /// This machine's.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self::parse(&std::fs::read_to_string("/etc/os-release").unwrap_or_default())
    }

    fn parse(os_release: &str) -> Self {
        let value = |key: &str| {
            let line = os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches('"').to_owned()
        };
        Self { id: value("ID"), codename: value("VERSION_CODENAME") }
    }

    /// The sources of `all` that are this distribution's own, for its own release.
    #[must_use]
    pub fn own(&self, all: &[Source]) -> Vec<Source> {
        let ours = |suite: &String| {
            *suite == self.codename
                || suite.strip_prefix(&self.codename).is_some_and(|rest| rest.starts_with(['-', '/']))
        };
        let has_main = |source: &&Source| source.components.split_whitespace().any(|part| part == "main");
        all.iter()
            .filter(|source| !self.codename.is_empty() && source.suites.iter().any(ours))
            .filter(has_main)
            .cloned()
            .collect()
    }
}

/// This machine's distribution and its own sources, where packages can be installed with apt.
#[must_use]
pub fn own() -> Option<(Distribution, Vec<Source>)> {
    let machine = Distribution::of_this_machine();
    let own = machine.own(&of_this_machine());
    (!own.is_empty() && process::find("apt-get").is_some()).then_some((machine, own))
}

/// All of the machine's enabled sources of binary packages.
#[must_use]
pub fn of_this_machine() -> Vec<Source> {
    let etc = Path::new("/etc/apt");
    let mut sources = parse_list(&std::fs::read_to_string(etc.join("sources.list")).unwrap_or_default());
    let mut parts: Vec<_> = std::fs::read_dir(etc.join("sources.list.d"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    parts.sort();
    for part in parts {
        let text = std::fs::read_to_string(&part).unwrap_or_default();
        match part.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.extend(parse_list(&text)),
            Some("sources") => sources.extend(parse_deb822(&text)),
            _ => {}
        }
    }
    sources
}

/// Reads the one-line format: `deb [options] uri suite component ...`.
#[must_use]
pub fn parse_list(text: &str) -> Vec<Source> {
    text.lines().filter_map(parse_list_line).collect()
}

fn parse_list_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let option = |name: &str| {
        let value =
            options.split_whitespace().find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_default().to_owned()
    };
    let mut words = rest.split_whitespace();
    Some(Source {
        uris: words.next()?.to_owned(),
        suites: vec![words.next()?.to_owned()],
        components: words.collect::<Vec<_>>().join(" "),
        signed_by: option("signed-by"),
        trusted: option("trusted") == "yes",
    })
}

/// Reads the deb822 format: stanzas of `Field: value`, continued on lines that begin with a blank.
#[must_use]
pub fn parse_deb822(text: &str) -> Vec<Source> {
    let uncommented: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    uncommented.split(|line| line.trim().is_empty()).filter_map(parse_stanza).collect()
}

fn parse_stanza(lines: &[&str]) -> Option<Source> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines {
        if line.starts_with([' ', '\t']) {
            let (_, value) = fields.last_mut()?;
            value.push('\n');
            value.push_str(line);
        } else {
            let (name, value) = line.split_once(':')?;
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let field = |name: &str| {
        fields.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value.as_str()).to_owned()
    };
    let words = |name: &str| field(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let disabled = matches!(field("enabled").to_ascii_lowercase().as_str(), "no" | "false" | "0");
    if disabled || !words("types").iter().any(|kind| kind == "deb") || words("suites").is_empty() {
        return None;
    }
    Some(Source {
        uris: words("uris").join(" "),
        suites: words("suites"),
        components: words("components").join(" "),
        signed_by: field("signed-by"),
        trusted: field("trusted").eq_ignore_ascii_case("yes"),
    })
}

impl fmt::Display for Source {
    /// A deb822 stanza.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Types: deb\nURIs: {}\nSuites: {}", self.uris, self.suites.join(" "))?;
        writeln!(f, "Components: {}", self.components)?;
        if !self.signed_by.is_empty() {
            writeln!(f, "Signed-By: {}", self.signed_by)?;
        }
        if self.trusted {
            writeln!(f, "Trusted: yes")?;
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "\
# A comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
# Another
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF

Types: deb
Enabled: no
URIs: http://off.example
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.example
Suites: bookworm
Components: main
";

    #[test]
    fn both_formats_are_read() {
        let list = parse_list(
            "# deb http://no.example x main\n\
             deb-src http://no.example bookworm main\n\
             deb [arch=amd64 signed-by=/k.gpg trusted=yes] http://mirror.example/debian bookworm main contrib # x\n",
        );
        assert_eq!(list.len(), 1);
        assert_eq!((list[0].signed_by.as_str(), list[0].trusted), ("/k.gpg", true));
        let stanzas = parse_deb822(DEB822);
        assert_eq!(stanzas.len(), 1);
        assert_eq!(stanzas[0].suites, ["bookworm", "bookworm-updates"]);
        assert_eq!(stanzas[0].components, list[0].components);
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let stanzas = parse_deb822(DEB822);
        assert_eq!(parse_deb822(&stanzas[0].to_string()), stanzas);
    }

    #[test]
    fn third_parties_and_other_releases_are_left_out() {
        let debian = Distribution { id: "debian".into(), codename: "bookworm".into() };
        let all = parse_list(
            "deb http://a.example bookworm main\n\
             deb http://a.example bookworm-updates main\n\
             deb http://s.example bookworm-security main\n\
             deb http://old.example bookworm/updates main\n\
             deb http://b.example cloud-sdk-bookworm main\n\
             deb http://c.example nodistro main\n\
             deb http://d.example bookworm stable\n\
             deb http://e.example trixie main\n",
        );
        let own: Vec<String> = debian.own(&all).into_iter().map(|source| source.uris).collect();
        assert_eq!(own, ["http://a.example", "http://a.example", "http://s.example", "http://old.example"]);
        assert_eq!(Distribution::default().own(&all), []);
    }

    #[test]
    fn the_distribution_is_read_with_or_without_quotes() {
        let read = Distribution::parse("NAME=\"X\"\nVERSION_CODENAME=noble\nID=\"ubuntu\"\nID_LIKE=debian\n");
        assert_eq!(read, Distribution { id: "ubuntu".into(), codename: "noble".into() });
        assert_eq!(Distribution::parse(""), Distribution::default());
    }
}
