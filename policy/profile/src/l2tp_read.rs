//! What protects L2TP's tunnels, and what their ends know of each other. L2TP alone encrypts nothing.

use core::time::Duration;

use adit_core::Identity;

use crate::ppp::{Ipsec, IpsecRule, L2tpRule, TunnelKind};
use crate::ppp_keys::{IPSEC, IPSEC_OF_CLIENT};
use crate::profile::Profile;
use crate::profile_read::{DPD_DEFAULT, DPD_RANGE};
use crate::read::{CheckSuite, Reader, Table, entry};
use crate::sa::Rekeying;
use crate::sa_read;
use crate::secret::{Directory, PskSource};
use crate::value::{NameError, Suite, SuiteKind, parse_identity, quoted};

/// What a profile says of what is outside of its link. Where it is not L2TP, nothing of it means anything.
pub(crate) struct Outside {
    pub(crate) rule: Option<L2tpRule>,
    pub(crate) psk: Option<PskSource>,
    pub(crate) local_id: Option<Identity>,
    pub(crate) ike: Vec<Suite>,
    pub(crate) esp: Vec<Suite>,
    pub(crate) rekeying: Rekeying,
    pub(crate) dpd: Duration,
    pub(crate) force_encapsulation: bool,
}

impl Outside {
    /// The profile with what this says of it.
    pub(crate) fn of(self, profile: Profile) -> Profile {
        let Self { psk, local_id, ike, esp, rekeying, dpd, force_encapsulation, .. } = self;
        Profile { psk, local_id, ike, esp, rekeying, dpd, force_encapsulation, ..profile }
    }
}

/// Of a profile.
pub(crate) fn l2tp_of_profile(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    kind: TunnelKind,
    check: CheckSuite<'_>,
) -> Outside {
    let rule = tunnel(reader, table, kind, one_word);
    let protected = rule.as_ref().is_some_and(|rule| rule.ipsec != Ipsec::None);
    if rule.is_some() && !protected {
        no_ipsec(reader, table, &[IPSEC, IPSEC_OF_CLIENT].concat());
    }
    let mut outside = Outside {
        rule,
        psk: None,
        local_id: None,
        ike: Vec::new(),
        esp: Vec::new(),
        rekeying: Rekeying::default(),
        dpd: DPD_DEFAULT,
        force_encapsulation: false,
    };
    if protected {
        let certificate = proves(reader, table).contains(&true);
        if certificate && outside.rule.as_ref().is_some_and(|rule| rule.ipsec == Ipsec::Ikev2) {
            let help = "take the line out, and add psk-file = \"NAME.psk\"; or take  ipsec  out: IKEv1 has certificates";
            reader.useless(table, "auth", "with ipsec = \"ikev2\" a pre-shared key proves both hosts", help);
        }
        outside.rule.iter_mut().for_each(|rule| rule.certificate = certificate);
        if certificate {
            no_key(reader, table);
            needs_certificate(reader, table, &[]);
        } else if entry(table, "psk").is_none() {
            needs_key(reader, table);
        }
        outside.psk = reader.psk(table);
        outside.local_id = reader.parse(table, "local-id", parse_identity);
        outside.ike = reader.suites(table, "ike", SuiteKind::Ike, check);
        outside.esp = reader.suites(table, "esp", SuiteKind::Esp, check);
        outside.rekeying = sa_read::rekeying(reader, table);
        outside.dpd = reader.duration(table, "dpd", DPD_RANGE).unwrap_or(DPD_DEFAULT);
        outside.force_encapsulation = reader.boolean(table, "force-encapsulation").unwrap_or(false);
    }
    outside
}

/// Of a server.
pub(crate) fn l2tp_of_server(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    kind: TunnelKind,
    check: CheckSuite<'_>,
) -> Option<L2tpRule> {
    let mut words = Vec::new();
    let rule = tunnel(reader, table, kind, |reader, table| {
        words = some_words(reader, table)?;
        words.first().copied()
    })?;
    if rule.ipsec == Ipsec::None {
        no_ipsec(reader, table, IPSEC);
        return Some(rule);
    }
    let ways = proves(reader, table);
    let certificates = ways.contains(&true);
    let ikev2 = words.contains(&Ipsec::Ikev2);
    if ikev2 && !ways.contains(&false) {
        let help =
            "add \"psk\" to  auth  and a  psk-file; or take \"ikev2\" out of  ipsec: IKEv1 has certificates";
        reader.useless(
            table,
            "ipsec",
            "a pre-shared key proves both hosts by IKEv2, and  auth  has none",
            help,
        );
    }
    if certificates {
        needs_certificate(reader, table, &["ca"]);
    }
    let by_key = !certificates || ways.contains(&false);
    if by_key {
        needs_key(reader, table);
    } else {
        no_key(reader, table);
    }
    let psk = reader.file(table, "psk-file", Directory::Secrets);
    if by_key && psk.is_none() {
        return None;
    }
    let local_id = reader.parse(table, "local-id", parse_identity);
    let ike = reader.suites(table, "ike", SuiteKind::Ike, check);
    let esp = reader.suites(table, "esp", SuiteKind::Esp, check);
    let rekeying = sa_read::rekeying(reader, table);
    let ikev1 = !ikev2 || words.contains(&Ipsec::Ikev1);
    let ipsec =
        IpsecRule { psk, certificates, local_id, ike, esp, legacy: reader.legacy, rekeying, ikev1, ikev2 };
    Some(L2tpRule { server: Some(Box::new(ipsec)), ..rule })
}

fn tunnel(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    kind: TunnelKind,
    read: impl FnOnce(&mut Reader<'_>, &Table<'_>) -> Option<Ipsec>,
) -> Option<L2tpRule> {
    if kind != TunnelKind::L2tp {
        return None;
    }
    let secret = reader.file(table, "tunnel-secret-file", Directory::Secrets);
    let hide = reader.boolean(table, "hide-avps").unwrap_or(false);
    if secret.is_none() && entry(table, "tunnel-secret-file").is_none() {
        reader.useless(
            table,
            "hide-avps",
            "values are hidden by a secret",
            "add tunnel-secret-file = \"NAME.secret\"",
        );
    }
    // What can't be read is no word for clear text.
    let ipsec = match entry(table, "ipsec") {
        Some(_) => read(reader, table)?,
        None => Ipsec::Ikev1,
    };
    Some(L2tpRule { ipsec, secret, hide, certificate: false, server: None })
}

/// `ipsec` of a profile.
fn one_word(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<Ipsec> {
    reader.choice(table, "ipsec", Ipsec::WORDS)
}

/// `ipsec` of a server: one word, or both versions of IKE.
fn some_words(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<Vec<Ipsec>> {
    let parse = |text: &str| {
        let known = Ipsec::WORDS.iter().find(|(word, _)| *word == text).map(|(_, ipsec)| *ipsec);
        known.ok_or_else(|| {
            NameError::new(
                format!("{} protects no tunnel of L2TP's", quoted(text)),
                r#""ikev1", "ikev2", "none""#,
            )
        })
    };
    let words = reader.parse_some(table, "ipsec", parse)?;
    if words.len() > 1 && words.contains(&Ipsec::None) {
        let help = "take \"none\" out; or leave it alone there: then there is no IPsec";
        reader.useless(table, "ipsec", "IPsec protects all tunnels or none", help);
        return None;
    }
    (!words.is_empty()).then_some(words)
}

/// Whether certificates prove both ends of the IPsec around L2TP, or do so for some: then certificate, key and authorities are
/// not EAP's alone.
pub(crate) fn by_certificate(table: &Table<'_>, kind: TunnelKind) -> bool {
    let is_it = |text: Option<&str>| text == Some("certificate");
    kind == TunnelKind::L2tp
        && entry(table, "auth").is_some_and(|(value, _)| {
            is_it(value.as_str())
                || value.as_array().is_some_and(|all| all.iter().any(|one| is_it(one.get_ref().as_str())))
        })
}

/// `auth`: whether certificates prove both ends (`true`), or a pre-shared key (`false`), or, of a server, either.
fn proves(reader: &mut Reader<'_>, table: &Table<'_>) -> Vec<bool> {
    let parse = |text: &str| match text {
        "psk" => Ok(false),
        "certificate" => Ok(true),
        _ => Err(NameError::new(
            format!("{} proves no end of L2TP's IPsec", quoted(text)),
            r#""psk", "certificate""#,
        )),
    };
    reader.parse_some(table, "auth", parse).unwrap_or_else(|| vec![false])
}

fn no_key(reader: &mut Reader<'_>, table: &Table<'_>) {
    for key in ["psk", "psk-file"] {
        let help = "take the line out; or take  auth  out: then the key proves both ends";
        reader.useless(
            table,
            key,
            "with auth = \"certificate\" certificates prove both ends of the IPsec",
            help,
        );
    }
}

/// `more` is what it needs beside its own certificate.
fn needs_certificate(reader: &mut Reader<'_>, table: &Table<'_>, more: &[&str]) {
    let key = entry(table, "key").and_then(|(value, _)| value.as_str());
    let holds_all = key.is_some_and(|name| {
        let name = name.to_ascii_lowercase();
        name.starts_with("pkcs11:") || [".p12", ".pfx"].iter().any(|end| name.ends_with(end))
    });
    let own = if holds_all { &["key"][..] } else { &["certificate", "key"][..] };
    for key in own.iter().chain(more) {
        if entry(table, key).is_none() {
            let help = format!("add {key} = \"NAME.pem\": auth = \"certificate\" needs it");
            reader.missing(table, key, &help);
        }
    }
}

fn needs_key(reader: &mut Reader<'_>, table: &Table<'_>) {
    if entry(table, "psk-file").is_none() {
        let help = "add psk-file = \"NAME.psk\", a file in /etc/adit/secrets that holds the pre-shared key: IPsec protects \
                    L2TP, which alone encrypts nothing; for a link that is trusted, and for no other, there is \
                    ipsec = \"none\"";
        reader.missing(table, "psk-file", help);
    }
}

fn no_ipsec(reader: &mut Reader<'_>, table: &Table<'_>, keys: &[&str]) {
    for key in keys {
        let help = "take the line out; or take  ipsec = \"none\"  out: then IPsec protects the tunnel";
        reader.useless(table, key, "with ipsec = \"none\" there is no IPsec", help);
    }
}
