use core::ops::RangeInclusive;
use core::time::Duration;

use adit_core::TrafficSelector;

use crate::profile::Tunnel;
use crate::read::{CheckSuite, Reader, Table, entry};
use crate::sa::{ChildRule, Mode, Rekeying};
use crate::selector::parse_selector;
use crate::value::{ProfileName, Suite, SuiteKind, quoted};

const CHILD: &[&str] = &["name", "local-subnets", "remote-subnets", "esp", "mode"];
/// Below the shortest nothing but rekeying would be done; beyond the longest "never" is meant.
const REKEY_RANGE: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_hours(30 * 24);
/// A rekey takes a round trip or two, during which traffic goes on.
const BYTES_RANGE: RangeInclusive<i64> = 1_000_000..=i64::MAX;
const PACKETS_RANGE: RangeInclusive<i64> = 1_000..=i64::MAX;
/// CHILD_SAs beside the first one.
const MOST_CHILDREN: usize = 64;

/// IKE messages' size in bytes, IP header included, from which on they are sent in fragments (RFC 7383): 1280 passes
/// wherever IPv6 does.
pub(crate) const FRAGMENT_DEFAULT: u16 = 1280;

pub(crate) fn rekeying(reader: &mut Reader<'_>, table: &Table<'_>) -> Rekeying {
    let default = Rekeying::default();
    Rekeying {
        ike: reader.duration_or_never(table, "rekey-ike", REKEY_RANGE).unwrap_or(default.ike),
        child: reader.duration_or_never(table, "rekey-child", REKEY_RANGE).unwrap_or(default.child),
        bytes: reader.integer(table, "rekey-bytes", BYTES_RANGE),
        packets: reader.integer(table, "rekey-packets", PACKETS_RANGE),
    }
}

pub(crate) fn reauthenticate(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<Duration> {
    reader.duration_or_never(table, "reauthenticate", REKEY_RANGE).flatten()
}

pub(crate) fn fragment_size(reader: &mut Reader<'_>, table: &Table<'_>) -> u16 {
    reader.integer(table, "fragment-size", 576..=65535).unwrap_or(FRAGMENT_DEFAULT)
}

pub(crate) fn selectors(reader: &mut Reader<'_>, table: &Table<'_>, key: &str) -> Vec<TrafficSelector> {
    let found = reader.parse_list(table, key, parse_selector);
    if let Some((value, span)) = entry(table, key)
        && value.as_array().is_some_and(|a| a.is_empty())
    {
        let message = format!("{}`{key}` is empty", table.title);
        reader.error(span, message, r#"add networks: ["10.0.0.0/8"], or take the line out"#);
    }
    found
}

/// What a profile says that its `[[child]]`s take over.
pub(crate) struct Parent<'p> {
    pub(crate) tunnel: Tunnel,
    pub(crate) mode: Mode,
    pub(crate) local_subnets: &'p [TrafficSelector],
    pub(crate) esp: &'p [Suite],
}

pub(crate) fn children(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    parent: &Parent<'_>,
    check: CheckSuite<'_>,
) -> Vec<ChildRule> {
    let tables = reader.tables(table, "child");
    if let (Some((_, span)), true) = (entry(table, "child"), tables.len() > MOST_CHILDREN) {
        reader.error(
            span,
            format!("there are {} [[child]]s", tables.len()),
            format!("allowed: {MOST_CHILDREN}"),
        );
        return Vec::new();
    }
    if let (Some(first), Tunnel::Full, Mode::Tunnel) = (tables.first(), parent.tunnel, parent.mode) {
        let help = r#"add traffic = "split" and remote-subnets, or take [[child]] out"#;
        reader.error(first.span.clone(), "[[child]] has no use: a full tunnel takes everything", help);
    }
    let mut out: Vec<ChildRule> = Vec::new();
    for table in &tables {
        let Some(child) = child(reader, table, parent, check) else { continue };
        if out.iter().any(|c| c.name == child.name) {
            let message = format!("two [[child]]s are called {}", quoted(child.name.as_str()));
            reader.error(table.span.clone(), message, "give each its own name");
        }
        out.push(child);
    }
    out
}

fn child(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    parent: &Parent<'_>,
    check: CheckSuite<'_>,
) -> Option<ChildRule> {
    reader.only(table, CHILD);
    if entry(table, "name").is_none() {
        reader.missing(table, "name", r#"add name = "printers""#);
    }
    let name: Option<ProfileName> = reader.parse(table, "name", str::parse);
    let mode = reader.choice(table, "mode", Mode::WORDS).unwrap_or(parent.mode);
    let own = selectors(reader, table, "local-subnets");
    let remote_subnets = selectors(reader, table, "remote-subnets");
    if mode == Mode::Tunnel && entry(table, "remote-subnets").is_none() {
        reader.missing(table, "remote-subnets", r#"add remote-subnets = ["10.2.0.0/16"]"#);
    }
    let own_esp = reader.suites(table, "esp", SuiteKind::Esp, check);
    Some(ChildRule {
        name: name?,
        local_subnets: if own.is_empty() { parent.local_subnets.to_vec() } else { own },
        remote_subnets,
        esp: if own_esp.is_empty() { parent.esp.to_vec() } else { own_esp },
        mode,
    })
}
