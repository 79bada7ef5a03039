//! `block`: what a full tunnel does against what would leave in clear beside it, and what may all the same.

use crate::ppp::TunnelKind;
use crate::profile::{Profile, Tunnel};
use crate::read::{Reader, Table, entry};

/// When nothing but the tunnel's own packets may leave this host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Block {
    /// Never: what does not go into the tunnel goes in clear.
    Off,
    /// From before the first packet of the tunnel until it is taken down, also while it is lost or the daemon is dead.
    WhileUp,
    /// As long as the profile is there: before this host has a network, after the tunnel was taken down, without a daemon.
    Always,
}

impl Block {
    pub(crate) const WORDS: &[(&str, Self)] =
        &[("off", Self::Off), ("while-up", Self::WhileUp), ("always", Self::Always)];

    /// The word for it in a file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::WhileUp => "while-up",
            Self::Always => "always",
        }
    }

    /// What holds where a profile does not say it.
    pub(crate) const fn default_of(tunnel: Tunnel) -> Self {
        match tunnel {
            Tunnel::Full => Self::WhileUp,
            Tunnel::Split => Self::Off,
        }
    }

    /// Whether the text of a profile asks for [`Block::Always`]: read loosely, so that a mistake elsewhere in the file does
    /// not open what it wants shut.
    #[must_use]
    pub fn is_always_in(text: &str) -> bool {
        let value = |line: &str| {
            let rest = line.trim_start().strip_prefix("block")?.trim_start().strip_prefix('=')?;
            Some(rest.split('#').next().unwrap_or_default().contains(Self::Always.as_str()))
        };
        text.lines().any(|line| value(line) == Some(true))
    }
}

/// The key `block` of a profile that sends `tunnel` into a tunnel of that kind.
pub(crate) fn block(reader: &mut Reader<'_>, table: &Table<'_>, tunnel: Tunnel, kind: TunnelKind) -> Block {
    let block = reader.choice(table, "block", Block::WORDS).unwrap_or(Block::default_of(tunnel));
    let Some((_, span)) = entry(table, "block") else { return block };
    if tunnel == Tunnel::Split && block != Block::Off {
        let help = r#"add traffic = "full", or take the line out"#;
        reader.error(span, "`block`: with a split tunnel the rest of the traffic goes in clear", help);
    } else if kind == TunnelKind::Pptp && block == Block::Always {
        let help = r#"block = "while-up", or another type of tunnel"#;
        reader.error(span, "`block`: PPTP's GRE can't be told from others' before its server is known", help);
    }
    block
}

/// The profile, with the key `local-network`: whether the networks that this host is in itself stay reachable beside a full tunnel.
pub(crate) fn with_local_network(reader: &mut Reader<'_>, table: &Table<'_>, profile: Profile) -> Profile {
    let local_network = reader.boolean(table, "local-network").unwrap_or(false);
    if profile.tunnel == Tunnel::Split {
        let help = r#"take the line out, or add  traffic = "full""#;
        reader.useless(table, "local-network", "a split tunnel takes what it names, and nothing else", help);
    }
    Profile { local_network, ..profile }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_mistakes_still_says_that_it_blocks() {
        for text in ["block = \"always\"", "server = x\n  block=\"always\" # y\nz", "block   =   'always'"] {
            assert!(Block::is_always_in(text), "{text}");
        }
        for text in ["block = \"while-up\" # always", "# block = \"always\"", "blocks = \"always\"", ""] {
            assert!(!Block::is_always_in(text), "{text}");
        }
    }
}
