use crate::profile::{AuthMethod, Profile};
use crate::secret::{CertSource, KeySource, PskSource};
use crate::value::show_duration;

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
        let mut out = self.settings_of_peers();
        out.extend(self.settings_of_credentials());
        out.extend(self.settings_of_tunnel());
        out
    }

    /// The profile as a file that reads back to the same profile, but for inline secrets, which become comments.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let line = |s: Setting| match s.value.as_str() {
            HIDDEN => format!("# {} = {HIDDEN}\n", s.key),
            value => format!("{} = {value}\n", s.key),
        };
        self.settings().into_iter().filter(|s| !s.default).map(line).collect()
    }

    fn settings_of_peers(&self) -> Vec<Setting> {
        let mut out =
            vec![said("server", string(&self.server.to_string())), said("auth", string(self.auth.as_str()))];
        let remote_auth = string(self.remote_auth.as_str());
        out.push(Setting { key: "remote-auth", value: remote_auth, default: self.remote_auth == self.auth });
        out.extend(self.local_id.as_ref().map(|id| said("local-id", string(&id.to_string()))));
        let remote_id = string(&self.remote_id.to_string());
        out.push(Setting { key: "remote-id", value: remote_id, default: !self.remote_id_written });
        out
    }

    fn settings_of_credentials(&self) -> Vec<Setting> {
        let mut out = Vec::new();
        match &self.psk {
            Some(PskSource::Inline(_)) => out.push(said("psk", HIDDEN.into())),
            Some(PskSource::File(file)) => out.push(said("psk-file", string(file.name.as_str()))),
            None => {}
        }
        if !self.ca.is_empty() {
            out.push(said("ca", list(self.ca.iter().map(certificate))));
        } else if self.remote_auth == AuthMethod::Certificate {
            out.push(Setting { key: "ca", value: "the system's authorities".into(), default: true });
        }
        if !self.certificate.is_empty() {
            out.push(said("certificate", list(self.certificate.iter().map(certificate))));
        }
        match &self.key {
            Some(KeySource::Inline(_)) => out.push(said("key", HIDDEN.into())),
            Some(KeySource::File(file)) => out.push(said("key", string(file.name.as_str()))),
            None => {}
        }
        for (key, suites) in [("ike", &self.ike), ("esp", &self.esp)] {
            if !suites.is_empty() {
                out.push(said(key, list(suites.iter().map(|s| string(&s.text)))));
            }
        }
        out
    }

    fn settings_of_tunnel(&self) -> Vec<Setting> {
        let when = |key, value, default| Setting { key, value, default };
        let mut out = vec![said("tunnel", string(self.tunnel.as_str()))];
        if !self.remote_subnets.is_empty() {
            out.push(said(
                "remote-subnets",
                list(self.remote_subnets.iter().map(|p| string(&p.to_string()))),
            ));
        }
        let families = [(self.addresses.ipv4, "ipv4"), (self.addresses.ipv6, "ipv6")];
        let asked = list(families.iter().filter(|(on, _)| *on).map(|(_, word)| string(word)));
        out.push(when("addresses", asked, self.addresses.ipv4 && self.addresses.ipv6));
        out.push(when("dpd", string(&show_duration(self.dpd)), self.dpd == crate::profile_read::DPD_DEFAULT));
        out.extend(self.interface.as_ref().map(|i| said("interface", string(i.as_str()))));
        out.extend(self.mtu.map(|mtu| said("mtu", mtu.to_string())));
        out.push(when("dns", string(self.dns.as_str()), self.dns == crate::profile::Dns::Auto));
        out.push(when(
            "force-encapsulation",
            self.force_encapsulation.to_string(),
            !self.force_encapsulation,
        ));
        out.extend(self.local_address.map(|a| said("local-address", string(&a.to_string()))));
        out
    }
}

fn said(key: &'static str, value: String) -> Setting {
    Setting { key, value, default: false }
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
