//! When a connection comes up: by hand, by itself or by a packet, after which other one, and where it stays down.

use core::time::Duration;

use crate::block::{Block, with_local_network};
use crate::profile::Profile;
use crate::profile_read::IDLE_RANGE;
use crate::read::{Reader, Table, entry};
use crate::sa::Start;
use crate::value::ProfileName;

/// When it is raised, and after how long without traffic it goes down. `known`: which packets are for it.
pub(crate) fn start(reader: &mut Reader<'_>, table: &Table<'_>, known: bool) -> (Start, Option<Duration>) {
    let start = reader.choice(table, "start", Start::WORDS).unwrap_or(Start::Manual);
    let idle = reader.duration_or_never(table, "idle", IDLE_RANGE).flatten();
    if let (Start::Boot, Some(_)) = (start, idle) {
        let help = r#"add start = "on-demand", or take the line out"#;
        reader.useless(table, "idle", "start = \"boot\" keeps it up", help);
    }
    if let (Start::OnDemand, false, Some((_, span))) = (start, known, entry(table, "start")) {
        let help = r#"add traffic = "split" and remote-subnets = ["10.0.0.0/8"]"#;
        reader.error(span, "`start`: which packets raise it must be known before it is up", help);
    }
    (start, idle)
}

/// Another profile than this one.
pub(crate) fn requires(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    name: &ProfileName,
) -> Option<ProfileName> {
    let other: Option<ProfileName> = reader.parse(table, "requires", str::parse);
    if let (true, Some((_, span))) = (other.as_ref() == Some(name), entry(table, "requires")) {
        reader.error(
            span,
            "`requires`: it names this profile itself",
            "name another one, or take the line out",
        );
    }
    other
}

/// The profile, with what is read last, since it goes by the rest.
pub(crate) fn whole(reader: &mut Reader<'_>, table: &Table<'_>, profile: Profile) -> Profile {
    let profile = with_local_network(reader, table, profile);
    trusting(reader, table, profile)
}

/// The profile, with the key `trusted-networks`: where it stays down although it comes up by itself.
fn trusting(reader: &mut Reader<'_>, table: &Table<'_>, profile: Profile) -> Profile {
    let trusted_networks = reader.parse_some(table, "trusted-networks", str::parse).unwrap_or_default();
    if profile.start == Start::Manual {
        let help = r#"add start = "boot", or take the line out"#;
        reader.useless(table, "trusted-networks", "it does not come up by itself", help);
    } else if let (Block::Always, Some((_, span))) = (profile.block, entry(table, "trusted-networks")) {
        let help = r#"block = "while-up", or take the line out"#;
        reader.error(
            span,
            "`trusted-networks`: with block = \"always\" nothing leaves where it is down",
            help,
        );
    }
    Profile { trusted_networks, ..profile }
}
