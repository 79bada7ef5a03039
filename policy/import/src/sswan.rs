//! Profiles of strongSwan's app for Android (`.sswan`, JSON; strongSwan's documentation, "Import/Export of VPN profiles").

use core::cell::Cell;
use core::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use crate::draft::{Context, Draft, Value, clean};
use crate::report::ImportError;
use crate::strategy::{Kind, Strategy};
use crate::tree::{DEEPEST, MOST_NODES, Node, Table};
use crate::weakening::Weakening;
use crate::{Found, plist};

const LEFT: &[(&str, &str)] = &[
    ("uuid", "Adit goes by the profile's name"),
    ("dns-servers", "Adit uses the DNS servers and domains that the server gives"),
    ("nat-keepalive", "Adit has its own time"),
    ("ipv6-transport", "the server's addresses are all tried"),
    ("apps", "which programs use a tunnel is not said in a profile"),
    ("excluded-apps", "which programs use a tunnel is not said in a profile"),
    ("proxy", "proxies of applications are their own business"),
];
const REMOTE: &[(&str, &str)] = &[("certreq", "authorities are always named to the server")];
const LOCAL: &[(&str, &str)] = &[("rsa-pss", "what the server can check is what is signed with")];
const SPLIT: &[(&str, &str)] = &[
    ("excluded", "no network is left out of a tunnel here: name those that go into it"),
    ("block-ipv4", "traffic = \"full\" blocks what is not for the tunnel"),
    ("block-ipv6", "traffic = \"full\" blocks what is not for the tunnel"),
];

pub(crate) fn read<'c>(text: &str, context: &'c Context<'c>) -> Result<Found<'c>, ImportError> {
    let root = json(text)?;
    let called = root.text("name").unwrap_or(context.stem).to_owned();
    let mut draft = Draft::new(context, &called, &Strategy::only(Kind::Ikev2), "type");
    let none = Table::default();
    let (remote, local) = (root.table("remote").unwrap_or(&none), root.table("local").unwrap_or(&none));
    if let Some(server) = remote.text("addr") {
        draft.server(server, "remote.addr");
    }
    if let Some(port) = remote.text("port") {
        draft.number("port", port, "remote.port");
    }
    if let Some(id) = remote.text("id") {
        draft.identity("remote-id", id, "remote.id");
    }
    auth(&mut draft, root.text("type").unwrap_or(""), local);
    if let Some(certificate) = remote.text("cert") {
        match decoded(certificate) {
            Some(der) => server_certificate(&mut draft, &der),
            None => draft.missing("remote.cert is not Base64", "ask for the profile anew"),
        }
    }
    if let Some(revocation) = remote.table("revocation") {
        self::revocation(&mut draft, revocation);
    }
    for (key, ours) in [("ike-proposal", "ike"), ("esp-proposal", "esp")] {
        if let Some(text) = root.text(key) {
            draft.proposals(ours, text.split(','), key);
        }
    }
    if let Some(mtu) = root.text("mtu") {
        draft.number("mtu", mtu, "mtu");
    }
    if let Some(split) = root.table("split-tunneling") {
        for network in split.texts("subnets").iter().flat_map(|text| text.split([' ', ','])) {
            draft.subnet("remote-subnets", network, "split-tunneling.subnets");
        }
        draft.leave(split, "split-tunneling", SPLIT);
    }
    draft.leave(&root, "", LEFT);
    draft.leave(remote, "remote", REMOTE);
    draft.leave(local, "local", LOCAL);
    draft.leftovers(&root, "");
    Ok(Found { drafts: vec![draft], ..Found::default() })
}

fn auth(draft: &mut Draft<'_>, kind: &str, local: &Table) {
    if let Some(id) = local.text("id") {
        draft.identity("local-id", id, "local.id");
    }
    let password = local.exact("shared_secret");
    match kind {
        "ikev2-eap" => {
            draft.text("auth", "eap", "type");
            if let Some(user) = local.text("eap_id") {
                draft.text("user", user, "local.eap_id");
            }
            if let Some(password) = password {
                draft.secret("password-file", password, "local.shared_secret");
            }
        }
        "ikev2-cert" | "ikev2-eap-tls" => {
            if kind == "ikev2-cert" {
                draft.text("auth", "certificate", "type");
            } else {
                draft.text("auth", "eap", "type");
                draft.set("eap-methods", Value::List(vec!["tls".into()]), "type");
                if let Some(user) = local.text("eap_id") {
                    draft.text("eap-identity", user, "local.eap_id");
                }
            }
            own_certificate(draft, local, password);
        }
        other => {
            let what = format!("type = {}: Adit has no such authentication", clean(other));
            draft.missing(what, "ask for a profile of type ikev2-eap, ikev2-cert or ikev2-eap-tls");
        }
    }
}

fn own_certificate(draft: &mut Draft<'_>, local: &Table, password: Option<&str>) {
    match local.text("p12").map(decoded) {
        Some(Some(content)) => draft.pkcs12(&content, password, "local.p12"),
        Some(None) => draft.missing("local.p12 is not Base64", "ask for the profile anew"),
        None => draft.needs_own = Some("local.p12".to_owned()),
    }
}

/// The app takes an authority's certificate there, or the server's own.
fn server_certificate(draft: &mut Draft<'_>, der: &[u8]) {
    let all = adit_pki::read_certificates(der).unwrap_or_default();
    match all.first().is_some_and(|first| adit_pki::is_authority(first)) {
        true => draft.certificates("ca", der, "remote.cert"),
        false => {
            let next = "name the certificate of its authority beside the profile:  ctl import PROFILE ca.pem";
            match draft.context.companions.authorities().is_empty() {
                true => {
                    draft.missing("remote.cert is the server's own certificate, not an authority's", next)
                }
                false => {
                    draft.left("remote.cert", None, "its authority's certificate stands on the command line")
                }
            }
        }
    }
}

fn revocation(draft: &mut Draft<'_>, table: &Table) {
    let (crl, ocsp, strict) = (table.flag("crl"), table.flag("ocsp"), table.flag("strict"));
    if strict == Some(true) {
        draft.text("revocation", "strict", "remote.revocation.strict");
    } else if crl == Some(false) && ocsp == Some(false) {
        let from = "remote.revocation";
        if draft.weak(from, Weakening::NoRevocation) {
            draft.text("revocation", "off", from);
        }
    } else {
        draft.carries("remote.revocation", "revocation");
    }
}

fn decoded(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let plain: Zeroizing<String> = Zeroizing::new(text.split_whitespace().collect());
    plist::data(&plain)
}

fn json(text: &str) -> Result<Table, ImportError> {
    let count = Cell::new(0);
    let mut reader = serde_json::Deserializer::from_str(text);
    let seed = Seed { depth: 0, count: &count };
    let node = seed.deserialize(&mut reader).and_then(|node| reader.end().map(|()| node));
    match node {
        Ok(Node::Table(table)) => Ok(table),
        Ok(_) => Err(ImportError::new("it is JSON, but no object", "name another file")),
        Err(error) => Err(ImportError::new(format!("it is not JSON: {error}"), "name another file")),
    }
}

/// A JSON value becomes a node, wherever it stands.
#[derive(Clone, Copy)]
struct Seed<'s> {
    depth: usize,
    count: &'s Cell<usize>,
}

impl Seed<'_> {
    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        self.count.set(self.count.get().saturating_add(1));
        if self.depth > DEEPEST || self.count.get() > MOST_NODES {
            return Err(E::custom("it is nested too deeply, or has too many values"));
        }
        Ok(Self { depth: self.depth.saturating_add(1), ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Node, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::text(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::text(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::text(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::text(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::text(value))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::text(""))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = items.next_element_seed(self.below::<A::Error>()?)? {
            out.push(item);
        }
        Ok(Node::List(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut out = Table::default();
        while let Some(key) = entries.next_key::<String>()? {
            let below = self.below::<A::Error>()?;
            out.push(key, entries.next_value_seed(below)?);
        }
        Ok(Node::Table(out))
    }
}
