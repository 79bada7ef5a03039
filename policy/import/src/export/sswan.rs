//! A profile of strongSwan's app.

use adit_profile::{AuthMethod, EapType, Profile, Revocation, Tunnel, TunnelKind};
use serde_json::{Map, Value, json};

use super::{Held, Parts, base64, host, text};
use crate::report::ImportError;

pub(super) fn write(profile: &Profile, parts: &Parts<'_>, held: &mut Held) -> Result<String, ImportError> {
    if profile.kind != TunnelKind::Ikev2 || profile.auth == AuthMethod::Psk {
        let next = "IKEv2 with auth = \"eap\" or \"certificate\" is what it has";
        return Err(ImportError::new("strongSwan's app has nothing of that kind", next));
    }
    let mut root = Map::new();
    root.insert("uuid".into(), parts.uuid.into());
    root.insert("name".into(), profile.name.as_str().into());
    let mut remote = Map::new();
    remote.insert("addr".into(), host(profile).into());
    if let Some(port) = profile.servers.first().and_then(|server| server.port) {
        remote.insert("port".into(), port.into());
        held.key("port");
    }
    if let Some(id) = &profile.remote_id {
        remote.insert("id".into(), id.to_string().into());
        held.key("remote-id");
    }
    if let Some(ca) = parts.ca.first() {
        remote.insert("cert".into(), base64(ca).into());
        held.key("ca");
    }
    if profile.revocation == Revocation::Strict {
        remote.insert("revocation".into(), json!({ "strict": true }));
        held.key("revocation");
    }
    root.insert("remote".into(), Value::Object(remote));
    let (kind, local) = local(profile, parts, held)?;
    root.insert("type".into(), kind.into());
    root.insert("local".into(), Value::Object(local));
    for (key, suites, ours) in [("ike-proposal", &profile.ike, "ike"), ("esp-proposal", &profile.esp, "esp")]
    {
        let Some(first) = suites.first() else { continue };
        root.insert(key.into(), first.text.clone().into());
        held.key(ours);
        if suites.len() > 1 {
            held.left(ours, "the app takes one proposal: the first");
        }
    }
    if let Some(mtu) = profile.mtu {
        root.insert("mtu".into(), mtu.into());
        held.key("mtu");
    }
    held.key("traffic");
    if profile.tunnel == Tunnel::Split && !profile.remote_subnets.is_empty() {
        let subnets: Vec<String> = profile.remote_subnets.iter().map(ToString::to_string).collect();
        root.insert("split-tunneling".into(), json!({ "subnets": subnets }));
        held.key("remote-subnets");
    } else if profile.tunnel == Tunnel::Full {
        root.insert("split-tunneling".into(), json!({ "block-ipv4": true, "block-ipv6": true }));
    }
    serde_json::to_string_pretty(&Value::Object(root))
        .map(|text| text + "\n")
        .map_err(|error| ImportError::new(format!("it cannot be written: {error}"), "report this"))
}

fn local(
    profile: &Profile,
    parts: &Parts<'_>,
    held: &mut Held,
) -> Result<(&'static str, Map<String, Value>), ImportError> {
    let mut local = Map::new();
    if let Some(id) = &profile.local_id {
        local.insert("id".into(), id.to_string().into());
        held.key("local-id");
    }
    held.keys.extend(["auth", "password", "password-file"]);
    let by_tls = profile.eap.methods == [EapType::Tls];
    if profile.auth == AuthMethod::Eap && !by_tls {
        local.insert("eap_id".into(), profile.user.clone().unwrap_or_default().into());
        held.key("user");
        match text(parts.password) {
            Some(password) => drop(local.insert("shared_secret".into(), password.as_str().into())),
            None => held.left("password", "secrets go out only by  --secrets"),
        }
        return Ok(("ikev2-eap", local));
    }
    let Some(key) = parts.pkcs12 else {
        let next = "a key goes out as PKCS#12 and by  --secrets  only: key = \"NAME.p12\"";
        return Err(ImportError::new("the app takes our certificate and key as PKCS#12", next));
    };
    local.insert("p12".into(), base64(key.expose()).into());
    held.keys.extend(["key", "certificate", "key-password-file", "eap-methods"]);
    if let Some(password) = text(parts.key_password) {
        local.insert("shared_secret".into(), password.as_str().into());
    }
    Ok((if profile.auth == AuthMethod::Eap { "ikev2-eap-tls" } else { "ikev2-cert" }, local))
}
