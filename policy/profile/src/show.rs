use core::time::Duration;

use adit_core::TrafficSelector;

use crate::block::Block;
use crate::eap::EapChoice;
use crate::ppk::PpkUse;
use crate::ppp::{Ipsec, L2tpRule, MppeRule, PppAuth, PppRule, TunnelKind};
use crate::profile::{AuthMethod, Dns, Profile, ProxyRule};
use crate::profile_read::OUTAGE_DEFAULT;
use crate::sa::{ChildRule, Mode, Rekeying, Start};
use crate::sa_read::FRAGMENT_DEFAULT;
use crate::secret::{CertSource, KeySource, PasswordSource, PskSource, Revocation};
use crate::strategy::TunnelStrategy;
use crate::value::{Suite, show_duration};

/// One line of a profile as people may see it: never a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// The key in the file.
    pub key: &'static str,
    /// Its value in TOML's notation, or `(hidden)`.
    pub value: String,
    /// Whether the profile does not say it, and this is what holds without.
    pub default: bool,
}

const HIDDEN: &str = "(hidden)";

impl Profile {
    /// Everything that the profile says and what holds where it is silent, in a fixed order, without secrets.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        let mut out = self.settings_of_kind();
        let Some(strategy) = &self.strategy else { return out };
        for setting in strategy.others.iter().flat_map(Self::settings_of_kind) {
            if !out.iter().any(|known| known.key == setting.key) {
                out.push(setting);
            }
        }
        let TunnelStrategy { order, race, weak, sstp_after_bad_certificate: after, .. } = &**strategy;
        let kinds = || list(order.kinds().iter().map(|kind| string(kind.as_str())));
        let order = said("tunnel", order.word().map_or_else(kinds, string));
        out.iter_mut().filter(|setting| setting.key == "tunnel").for_each(|setting| *setting = order.clone());
        out.push(when("weak", weak.to_string(), !weak));
        out.push(when("race", race.to_string(), *race));
        out.push(when("sstp-after-bad-certificate", after.to_string(), !after));
        out
    }

    fn settings_of_kind(&self) -> Vec<Setting> {
        if let Some(ppp) = &self.ppp {
            return self.settings_of_ppp(ppp);
        }
        let mut out = self.settings_of_peers();
        out.extend(self.settings_of_credentials());
        out.extend(self.settings_of_algorithms());
        out.extend(self.settings_of_traffic());
        out.extend(self.settings_of_host());
        out
    }

    /// The profile as a file that reads back to the same profile, but for inline secrets, which become comments.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let line = |s: Setting| match s.value.as_str() {
            HIDDEN => format!("# {} = {HIDDEN}\n", s.key),
            value => format!("{} = {value}\n", s.key),
        };
        let said = self.settings().into_iter().filter(|s| !s.default && s.key != CHILD);
        said.map(line).chain(self.children.iter().map(child_table)).collect()
    }

    fn trusted_setting(&self) -> Option<Setting> {
        let networks = list(self.trusted_networks.iter().map(|network| string(&network.to_string())));
        (!self.trusted_networks.is_empty()).then(|| said("trusted-networks", networks))
    }

    fn settings_of_ppp(&self, ppp: &PppRule) -> Vec<Setting> {
        let servers = list(self.servers.iter().map(|s| string(&s.to_string())));
        let mut out = vec![said("server", servers)];
        out.push(when("start", string(self.start.as_str()), self.start == Start::Manual));
        out.push(when("idle", age(self.idle), self.idle.is_none()));
        out.extend(self.requires.as_ref().map(|other| said("requires", string(other.as_str()))));
        out.extend(self.trusted_setting());
        out.push(said("tunnel", string(self.kind.as_str())));
        out.extend(self.remote_id.as_ref().map(|id| said("remote-id", string(&id.to_string()))));
        out.extend(self.user.as_ref().map(|user| said("user", string(user))));
        out.extend(self.password_setting());
        let auth = list(ppp.auth.iter().map(|m| string(m.as_str())));
        out.push(when("ppp-auth", auth, ppp.auth == PppAuth::default_of(&self.eap.methods)));
        let shown = |s: &Setting| {
            !["psk", "psk-file", "user", "eap-only", "password", "password-file"].contains(&s.key)
        };
        out.extend(self.settings_of_credentials().into_iter().filter(shown));
        if self.kind != TunnelKind::Sstp {
            out.extend(self.settings_of_mppe(ppp));
        }
        if let Some(L2tpRule { ipsec, secret, hide, certificate, .. }) = &ppp.l2tp {
            out.push(when("ipsec", string(ipsec.as_str()), *ipsec == Ipsec::Ikev1));
            out.extend(certificate.then(|| said("auth", string("certificate"))));
            if *ipsec != Ipsec::None {
                out.extend(self.settings_of_ipsec());
            }
            out.extend(secret.as_ref().map(|file| said("tunnel-secret-file", string(&file.shown()))));
            out.push(when("hide-avps", hide.to_string(), !hide));
        }
        out.push(when("traffic", string(self.tunnel.as_str()), false));
        out.push(self.block_setting());
        out.push(when("local-network", self.local_network.to_string(), !self.local_network));
        if !self.remote_subnets.is_empty() {
            out.push(said("remote-subnets", selectors(&self.remote_subnets)));
        }
        out.push(when("routes-by-dhcp", self.routes_by_dhcp.to_string(), !self.routes_by_dhcp));
        out.push(self.families_setting(true));
        let host = ["interface", "mtu", "dns", "local-address"];
        out.extend(self.settings_of_host().into_iter().filter(|s| host.contains(&s.key)));
        if ppp.proxy == Some(ProxyRule::System) {
            out.push(said("proxy", string("system")));
        }
        if let Some(ProxyRule::Named(proxy)) = &ppp.proxy {
            out.push(said("proxy", string(&proxy.server.to_string())));
            out.extend(proxy.user.as_ref().map(|user| said("proxy-user", string(user))));
            out.extend(
                proxy.password.as_ref().map(|file| said("proxy-password-file", string(&file.shown()))),
            );
        }
        out
    }

    /// Of the IPsec around L2TP.
    fn settings_of_ipsec(&self) -> Vec<Setting> {
        let credentials = self.settings_of_credentials().into_iter().filter(|s| s.key.starts_with("psk"));
        let local = self.local_id.as_ref().map(|id| said("local-id", string(&id.to_string())));
        let algorithms = self.settings_of_algorithms().into_iter();
        let algorithms = algorithms.filter(|s| ["ike", "esp", "rekey-ike", "rekey-child"].contains(&s.key));
        let host = self.settings_of_host().into_iter();
        let host = host.filter(|s| ["dpd", "force-encapsulation"].contains(&s.key));
        credentials.chain(local).chain(algorithms).chain(host).collect()
    }

    fn settings_of_mppe(&self, ppp: &PppRule) -> Vec<Setting> {
        let MppeRule { required, bits128, bits40, stateful } = ppp.mppe;
        let bits = [(bits128, "128"), (bits40, "40")];
        let bits = list(bits.iter().filter(|(on, _)| *on).map(|(_, word)| string(word)));
        vec![
            when("mppe", bits, bits128 && !bits40),
            when("mppe-stateful", stateful.to_string(), !stateful),
            when("require-mppe", required.to_string(), required == (self.kind == TunnelKind::Pptp)),
            when("legacy", self.legacy.to_string(), !self.legacy),
        ]
    }

    fn password_setting(&self) -> Option<Setting> {
        Some(match self.password.as_ref()? {
            PasswordSource::Inline(_) => said("password", HIDDEN.into()),
            PasswordSource::File(file) => said("password-file", string(&file.shown())),
        })
    }

    /// `ask`: whether both are asked for where the profile is silent.
    fn families_setting(&self, ask: bool) -> Setting {
        let families = [(self.addresses.ipv4, "ipv4"), (self.addresses.ipv6, "ipv6")];
        let asked = list(families.iter().filter(|(on, _)| *on).map(|(_, word)| string(word)));
        when("addresses", asked, families.iter().all(|(on, _)| *on == ask))
    }

    fn block_setting(&self) -> Setting {
        when("block", string(self.block.as_str()), self.block == Block::default_of(self.tunnel))
    }

    fn settings_of_peers(&self) -> Vec<Setting> {
        let servers = match self.servers.as_slice() {
            [one] => string(&one.to_string()),
            several => list(several.iter().map(|s| string(&s.to_string()))),
        };
        let mut out = vec![said("server", servers), said("auth", string(self.auth.as_str()))];
        let start = string(self.start.as_str());
        out.push(Setting { key: "start", value: start, default: self.start == Start::Manual });
        out.push(when("idle", age(self.idle), self.idle.is_none()));
        out.extend(self.requires.as_ref().map(|other| said("requires", string(other.as_str()))));
        out.extend(self.trusted_setting());
        let remote_auth = string(self.remote_auth.as_str());
        let default = match self.auth {
            AuthMethod::Eap => AuthMethod::Certificate,
            other => other,
        };
        out.push(Setting { key: "remote-auth", value: remote_auth, default: self.remote_auth == default });
        out.extend(self.local_id.as_ref().map(|id| said("local-id", string(&id.to_string()))));
        match (&self.remote_id, self.servers.as_slice()) {
            (Some(id), _) => out.push(said("remote-id", string(&id.to_string()))),
            (None, [one]) if one.srv().is_some() => {
                out.push(when(
                    "remote-id",
                    "the name of the server that its domain's records name".into(),
                    true,
                ));
            }
            (None, [one]) => out.push(when("remote-id", string(&self.identity_of(one).to_string()), true)),
            (None, _) => out.push(when("remote-id", "the name of the gateway that is dialled".into(), true)),
        }
        out
    }

    fn settings_of_credentials(&self) -> Vec<Setting> {
        let mut out = Vec::new();
        match &self.psk {
            Some(PskSource::Inline(_)) => out.push(said("psk", HIDDEN.into())),
            Some(PskSource::File(file)) => out.push(said("psk-file", string(file.name.as_str()))),
            None => {}
        }
        if let Some((ppk, rule)) = &self.ppk {
            out.push(said("ppk-id", string(&ppk.id)));
            out.push(said("ppk-file", string(ppk.file.name.as_str())));
            out.push(when("ppk", string(rule.as_str()), *rule == PpkUse::Required));
        }
        out.extend(self.user.as_deref().map(|user| said("user", string(user))));
        out.extend(self.eap_identity.as_deref().map(|id| said("eap-identity", string(id))));
        if self.auth == AuthMethod::Eap {
            let (now, default) = (&self.eap, EapChoice::default());
            let methods = list(now.words().into_iter().map(string));
            out.push(when("eap-methods", methods, now.methods == default.methods));
            out.push(when("eap-inner", string(now.inner_word()), now.inner == default.inner));
            out.extend(now.server.as_ref().map(|id| said("eap-server", string(&id.to_string()))));
            out.push(when("eap-only", now.only.to_string(), !now.only));
        }
        out.extend(self.password_setting());
        if !self.ca.is_empty() {
            out.push(said("ca", list(self.ca.iter().map(certificate))));
        } else if self.remote_auth == AuthMethod::Certificate {
            out.push(Setting { key: "ca", value: "the system's authorities".into(), default: true });
        }
        if !self.certificate.is_empty() {
            out.push(said("certificate", list(self.certificate.iter().map(certificate))));
        }
        let keys: Vec<String> = self.keys.iter().map(key).collect();
        match keys.as_slice() {
            [] => {}
            [one] => out.push(said("key", one.clone())),
            _ => out.push(said("key", list(keys.into_iter()))),
        }
        out.extend(self.key_password.as_ref().map(|f| said("key-password-file", string(f.name.as_str()))));
        if self.remote_auth == AuthMethod::Certificate {
            let revocation = self.revocation;
            out.push(when("revocation", string(revocation.as_str()), revocation == Revocation::default()));
        }
        out
    }

    fn settings_of_algorithms(&self) -> Vec<Setting> {
        let mut out = Vec::new();
        for (key, suites) in [("ike", &self.ike), ("esp", &self.esp)] {
            if !suites.is_empty() {
                out.push(said(key, proposals(suites)));
            }
        }
        out.push(when("legacy", self.legacy.to_string(), !self.legacy));
        let (now, default) = (self.rekeying, Rekeying::default());
        out.push(when("rekey-ike", age(now.ike), now.ike == default.ike));
        out.push(when("rekey-child", age(now.child), now.child == default.child));
        out.extend(now.bytes.map(|n| said("rekey-bytes", n.to_string())));
        out.extend(now.packets.map(|n| said("rekey-packets", n.to_string())));
        out.push(when("reauthenticate", age(self.reauthenticate), self.reauthenticate.is_none()));
        let size = self.fragment_size;
        out.push(when("fragment-size", size.to_string(), size == FRAGMENT_DEFAULT));
        out
    }

    fn settings_of_traffic(&self) -> Vec<Setting> {
        let transport = self.mode == Mode::Transport;
        let mut out = vec![when("mode", string(self.mode.as_str()), !transport)];
        out.push(when("tunnel", string(self.kind.as_str()), self.kind == TunnelKind::Ikev2));
        out.push(when("traffic", string(self.tunnel.as_str()), transport));
        out.push(self.block_setting());
        out.push(when("local-network", self.local_network.to_string(), !self.local_network));
        for (key, subnets) in
            [("local-subnets", &self.local_subnets), ("remote-subnets", &self.remote_subnets)]
        {
            if !subnets.is_empty() {
                out.push(said(key, selectors(subnets)));
            }
        }
        out.push(when("routes-by-dhcp", self.routes_by_dhcp.to_string(), !self.routes_by_dhcp));
        out.extend(self.children.iter().map(|c| said(CHILD, child_line(c))));
        let ask = !transport && self.local_subnets.is_empty();
        out.push(self.families_setting(ask));
        out
    }

    fn settings_of_host(&self) -> Vec<Setting> {
        let dpd = string(&show_duration(self.dpd));
        let mut out = vec![when("dpd", dpd, self.dpd == crate::profile_read::DPD_DEFAULT)];
        out.extend(self.interface.as_ref().map(|i| said("interface", string(i.as_str()))));
        out.extend(self.mtu.map(|mtu| said("mtu", mtu.to_string())));
        out.push(when("dns", string(self.dns.as_str()), self.dns == Dns::Auto));
        let shared = self.shared_identity;
        out.push(when("shared-identity", shared.to_string(), !shared));
        let resumes = self.session_resumption;
        out.push(when("session-resumption", resumes.to_string(), resumes));
        let forced = self.force_encapsulation;
        out.push(when("force-encapsulation", forced.to_string(), !forced));
        out.extend(self.local_address.map(|a| said("local-address", string(&a.to_string()))));
        out.push(when("mobility", self.mobility.to_string(), self.mobility));
        if !self.prefer.is_empty() {
            out.push(said("prefer", list(self.prefer.iter().map(|word| string(word)))));
        }
        let outage = self.outage.map_or_else(|| "never".to_owned(), show_duration);
        out.push(when("outage-time", string(&outage), self.outage == Some(OUTAGE_DEFAULT)));
        out
    }
}

/// The key of tables, which stand at a file's end.
const CHILD: &str = "child";

fn child_keys(child: &ChildRule) -> Vec<(&'static str, String)> {
    let mut out = vec![("name", string(child.name.as_str())), ("mode", string(child.mode.as_str()))];
    for (key, subnets) in [("local-subnets", &child.local_subnets), ("remote-subnets", &child.remote_subnets)]
    {
        if !subnets.is_empty() {
            out.push((key, selectors(subnets)));
        }
    }
    if !child.esp.is_empty() {
        out.push(("esp", proposals(&child.esp)));
    }
    out
}

fn child_line(child: &ChildRule) -> String {
    let pairs: Vec<String> =
        child_keys(child).iter().map(|(key, value)| format!("{key} = {value}")).collect();
    format!("{{ {} }}", pairs.join(", "))
}

fn child_table(child: &ChildRule) -> String {
    let lines: String = child_keys(child).iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    format!("\n[[{CHILD}]]\n{lines}")
}

fn when(key: &'static str, value: String, default: bool) -> Setting {
    Setting { key, value, default }
}

fn proposals(suites: &[Suite]) -> String {
    list(suites.iter().map(|s| string(&s.text)))
}

fn selectors(selectors: &[TrafficSelector]) -> String {
    list(selectors.iter().map(|ts| string(&ts.to_string())))
}

fn age(age: Option<Duration>) -> String {
    string(&age.map_or_else(|| "never".to_owned(), show_duration))
}

fn said(key: &'static str, value: String) -> Setting {
    Setting { key, value, default: false }
}

fn key(source: &KeySource) -> String {
    match source {
        KeySource::Inline(_) => HIDDEN.into(),
        KeySource::File(file) => string(file.name.as_str()),
        KeySource::Token(token) => string(&token.to_string()),
    }
}

fn certificate(source: &CertSource) -> String {
    match source {
        CertSource::Inline(pem) => string(pem),
        CertSource::File(file) => string(file.name.as_str()),
    }
}

/// A TOML basic string.
fn string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}
