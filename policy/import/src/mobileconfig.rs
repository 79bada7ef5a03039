//! Configuration profiles of Apple's systems: `com.apple.vpn.managed`, and the certificates beside it (Apple's
//! "Device Management" reference, "VPN" and "Certificate…" payloads).

use crate::draft::{Context, Draft, Value, clean};
use crate::report::ImportError;
use crate::strategy::{Kind, Strategy};
use crate::tree::Table;
use crate::weakening::Weakening;
use crate::{Found, LeftOut, plist};

const BOOKS: &str = "Apple's own books";
const BY_ITSELF: &str =
    "a profile from elsewhere does not connect by itself; afterwards: start = \"on-demand\" or \"boot\"";
const DNS: &str = "Adit uses the DNS servers and domains that the server gives";

const PAYLOAD: &[(&str, &str)] = &[
    ("PayloadDisplayName", BOOKS),
    ("PayloadIdentifier", BOOKS),
    ("PayloadUUID", BOOKS),
    ("PayloadVersion", BOOKS),
    ("PayloadType", BOOKS),
    ("PayloadDescription", BOOKS),
    ("PayloadOrganization", BOOKS),
    ("PayloadEnabled", BOOKS),
    ("PayloadScope", BOOKS),
    ("PayloadRemovalDisallowed", BOOKS),
    ("PayloadExpirationDate", BOOKS),
    ("ConsentText", BOOKS),
    ("PayloadCertificateFileName", BOOKS),
    ("AllowAllAppsAccess", BOOKS),
    ("KeyIsExtractable", BOOKS),
];
const ON_DEMAND: &[(&str, &str)] = &[
    ("OnDemandEnabled", BY_ITSELF),
    ("OnDemandRules", BY_ITSELF),
    ("OnDemandUserOverrideDisabled", BY_ITSELF),
    ("DisconnectOnIdle", "idle = \"10m\" does it"),
    ("DisconnectOnIdleTimer", "idle = \"10m\" does it"),
    ("VPNSubType", BOOKS),
    ("VPNUUID", BOOKS),
];
const IKEV2: &[(&str, &str)] = &[
    ("ServerCertificateIssuerCommonName", "authorities are named by their certificates: ca"),
    ("CertificateType", "the certificate itself says it"),
    ("TLSMinimumVersion", "TLS of EAP is 1.2 or 1.3"),
    ("TLSMaximumVersion", "TLS of EAP is 1.2 or 1.3"),
    ("DisableRedirect", "Adit follows no redirect"),
    ("EnableFallback", "which link is taken is said by prefer"),
    ("NATKeepAliveInterval", "Adit has its own time"),
    ("NATKeepAliveOffloadEnable", "Adit has its own time"),
    ("UseConfigurationAttributeInternalIPSubnet", "traffic = \"split\" takes what the server offers"),
    ("EnforceRoutes", "routes of the tunnel go before all others here"),
    ("ExcludeAPNs", "Adit has no such exception"),
    ("ExcludeCellularServices", "Adit has no such exception"),
    ("ExcludeDeviceCommunication", "Adit has no such exception"),
    ("PPK", "write ppk-id and ppk-file"),
    ("PPKIdentifier", "write ppk-id and ppk-file"),
    ("PPKMandatory", "write ppk-id and ppk-file"),
    ("AllowPostQuantumKeyExchangeFallback", "a proposal without ke1_mlkem768 does it"),
    ("ProviderType", BOOKS),
];

pub(crate) fn read<'c>(text: &str, context: &'c Context<'c>) -> Result<Found<'c>, ImportError> {
    let root = plist::read(text)?;
    let payloads = root.tables("PayloadContent");
    let siblings: Vec<&Table> =
        payloads.iter().copied().filter(|p| kind_of(p).starts_with("com.apple.security.")).collect();
    let mut found = Found::default();
    for payload in payloads.iter().filter(|p| kind_of(p) == "com.apple.vpn.managed") {
        vpn(payload, &siblings, context, &mut found);
    }
    let next = "name a configuration profile with a payload com.apple.vpn.managed";
    if found.drafts.is_empty() && found.left_out.is_empty() {
        return Err(ImportError::new("there is no VPN in it", next));
    }
    if let Some(draft) = found.drafts.first_mut() {
        for sibling in &siblings {
            sibling.take_named("PayloadContent");
            sibling.take_named("Password");
            draft.leave(sibling, "certificate", PAYLOAD);
        }
        draft.leave(&root, "", PAYLOAD);
        draft.leftovers(&root, "");
    }
    Ok(found)
}

fn kind_of(payload: &Table) -> &str {
    payload.text("PayloadType").unwrap_or("")
}

fn vpn<'c>(payload: &Table, siblings: &[&Table], context: &'c Context<'c>, found: &mut Found<'c>) {
    let called = payload.text("UserDefinedName").or_else(|| payload.text("PayloadDisplayName"));
    let called = called.unwrap_or(context.stem).to_owned();
    let kind = match payload.text("VPNType").unwrap_or("") {
        "IKEv2" => Kind::Ikev2,
        "L2TP" => Kind::L2tp,
        "PPTP" => Kind::Pptp,
        other => {
            payload.take_all();
            let why = match other {
                "IPSec" => {
                    "Cisco's IPsec (IKEv1 with XAUTH); if the server has IKEv2 or L2TP, ask for a profile with that"
                }
                "AlwaysOn" => "for supervised devices only; ask for a profile with VPNType IKEv2",
                _ => "Adit has IKEv2, L2TP and PPTP of Apple's kinds",
            };
            found
                .left_out
                .push(LeftOut { key: clean(&format!("{called}: VPNType = {other}")), why: why.into() });
            return;
        }
    };
    let mut draft = Draft::new(context, &called, &Strategy::only(kind), "VPNType");
    match (kind, payload.table("IKEv2")) {
        (Kind::Ikev2, Some(ike)) => ikev2(&mut draft, ike, siblings),
        (Kind::Ikev2, None) => {}
        _ => ppp(&mut draft, payload),
    }
    if let Some(address) = payload.table("IPv4").and_then(|ipv4| ipv4.flag("OverridePrimary")) {
        let traffic = if address { "full" } else { "split" };
        draft.text("traffic", traffic, "IPv4.OverridePrimary");
    } else if kind != Kind::Ikev2 {
        draft.text("traffic", "split", "");
        draft.notes.push("IPv4.OverridePrimary is not said, so that not everything goes into the tunnel: traffic = \"full\" does it".into());
    }
    if payload.has("DNS") {
        payload.take_named("DNS");
        draft.left("DNS", None, DNS);
    }
    if payload.has("Proxies") {
        payload.take_named("Proxies");
        draft.left("Proxies", None, "proxies of applications are their own business");
    }
    draft.leave(payload, "", ON_DEMAND);
    draft.leave(payload, "", PAYLOAD);
    payload.take_named("UserDefinedName");
    draft.leftovers(payload, "");
    found.drafts.push(draft);
}

fn ikev2(draft: &mut Draft<'_>, ike: &Table, siblings: &[&Table]) {
    if let Some(server) = ike.text("RemoteAddress") {
        draft.server(server, "IKEv2.RemoteAddress");
    }
    for (key, ours) in [("RemoteIdentifier", "remote-id"), ("LocalIdentifier", "local-id")] {
        if let Some(id) = ike.text(key) {
            draft.identity(ours, id, &format!("IKEv2.{key}"));
        }
    }
    ikev2_auth(draft, ike, siblings);
    if let Some(name) = ike.text("ServerCertificateCommonName") {
        match draft.has("remote-id") {
            true => draft.left(
                "IKEv2.ServerCertificateCommonName",
                Some(name),
                "the certificate must be for remote-id",
            ),
            false => draft.identity("remote-id", name, "IKEv2.ServerCertificateCommonName"),
        }
    }
    if draft.value("auth") != Some("psk") {
        authorities(draft, siblings);
    }
    let pfs = ike.flag("EnablePFS") == Some(true);
    draft.carries(if ike.has("EnablePFS") { "IKEv2.EnablePFS" } else { "" }, "esp");
    for (key, ours, rekey) in [
        ("IKESecurityAssociationParameters", "ike", "rekey-ike"),
        ("ChildSecurityAssociationParameters", "esp", "rekey-child"),
    ] {
        if let Some(table) = ike.table(key) {
            parameters(draft, table, (ours, rekey), ours == "ike" || pfs, &format!("IKEv2.{key}"));
        }
    }
    match ike.text("DeadPeerDetectionRate") {
        Some("Low") => draft.text("dpd", "30m", "IKEv2.DeadPeerDetectionRate"),
        Some("Medium") => draft.text("dpd", "10m", "IKEv2.DeadPeerDetectionRate"),
        Some("High") => draft.text("dpd", "1m", "IKEv2.DeadPeerDetectionRate"),
        Some(other) => draft.left("IKEv2.DeadPeerDetectionRate", Some(other), "Adit always asks: dpd"),
        None => {}
    }
    if ike.flag("DisableMOBIKE") == Some(true) {
        draft.flag("mobility", false, "IKEv2.DisableMOBIKE");
    }
    if ike.flag("EnableCertificateRevocationCheck").is_some() {
        draft.carries("IKEv2.EnableCertificateRevocationCheck", "revocation");
    }
    all_networks(draft, ike);
    if let Some(mtu) = ike.text("MTU") {
        draft.number("mtu", mtu, "IKEv2.MTU");
    }
    draft.leave(ike, "IKEv2", IKEV2);
    draft.leave(ike, "IKEv2", ON_DEMAND);
}

/// What goes beside the tunnel.
fn all_networks(draft: &mut Draft<'_>, ike: &Table) {
    if ike.flag("IncludeAllNetworks").is_some() {
        draft.carries("IKEv2.IncludeAllNetworks", "traffic");
    }
    let all = ike.flag("IncludeAllNetworks") == Some(true);
    match ike.flag("ExcludeLocalNetworks") {
        Some(true) if all => draft.flag("local-network", true, "IKEv2.ExcludeLocalNetworks"),
        Some(true) => {
            draft.left("IKEv2.ExcludeLocalNetworks", None, "it says something with IncludeAllNetworks only");
        }
        Some(false) | None => {}
    }
}

fn ikev2_auth(draft: &mut Draft<'_>, ike: &Table, siblings: &[&Table]) {
    let method = ike.text("AuthenticationMethod").unwrap_or("None").to_owned();
    let extended = ike.flag("ExtendedAuthEnabled") == Some(true);
    let identity = ike.text("PayloadCertificateUUID").map(str::to_owned);
    let from = "IKEv2.AuthenticationMethod";
    if extended {
        draft.text("auth", "eap", "IKEv2.ExtendedAuthEnabled");
        draft.carries(from, "auth");
        if method == "SharedSecret" {
            draft.weak("IKEv2.SharedSecret", Weakening::PskServer);
            ike.take_named("SharedSecret");
        }
        let by_name = ike.has("AuthName") || identity.is_none();
        user(draft, ike, "IKEv2");
        match (by_name, &identity) {
            (true, Some(_)) => {
                draft.left("IKEv2.PayloadCertificateUUID", None, "AuthName and its password prove us")
            }
            (false, Some(uuid)) => {
                draft.set("eap-methods", Value::List(vec!["tls".into()]), "IKEv2.PayloadCertificateUUID");
                own_certificate(draft, siblings, uuid, "IKEv2.PayloadCertificateUUID");
            }
            _ => {}
        }
        return;
    }
    match (method.as_str(), identity) {
        ("SharedSecret", _) => {
            draft.text("auth", "psk", from);
            if let Some(secret) = ike.exact("SharedSecret") {
                draft.psk(secret.as_bytes(), "IKEv2.SharedSecret");
            }
            if !draft.has("local-id") {
                draft.missing(
                    "IKEv2.LocalIdentifier is not there",
                    "a server chooses a pre-shared key by it: add it to the file",
                );
            }
        }
        ("Certificate", Some(uuid)) => {
            draft.text("auth", "certificate", from);
            own_certificate(draft, siblings, &uuid, "IKEv2.PayloadCertificateUUID");
        }
        (other, _) => {
            let what = format!("{from} = {}, and no EAP: nothing proves who you are", clean(other));
            draft.missing(what, "ask for a profile with ExtendedAuthEnabled, SharedSecret or Certificate");
        }
    }
}

fn user(draft: &mut Draft<'_>, table: &Table, path: &str) {
    if let Some(name) = table.text("AuthName") {
        draft.text("user", name, &format!("{path}.AuthName"));
    }
    if let Some(password) = table.exact("AuthPassword") {
        draft.secret("password-file", password, &format!("{path}.AuthPassword"));
    }
}

/// Certificates of authorities beside it: whoever installs the profile trusts them.
fn authorities(draft: &mut Draft<'_>, siblings: &[&Table]) {
    for sibling in siblings.iter().filter(|s| kind_of(s) != "com.apple.security.pkcs12") {
        let Some(content) = sibling.text("PayloadContent").and_then(plist::data) else { continue };
        let is_authority = adit_pki::read_certificates(&content)
            .is_ok_and(|all| all.first().is_some_and(|der| adit_pki::is_authority(der)));
        if is_authority {
            draft.certificates("ca", &content, kind_of(sibling));
        } else {
            let why = "it is not an authority's certificate: remote-id and an authority prove the server";
            draft.left(kind_of(sibling), None, why);
        }
    }
}

fn own_certificate(draft: &mut Draft<'_>, siblings: &[&Table], uuid: &str, from: &str) {
    let found = siblings.iter().find(|s| s.text("PayloadUUID").is_some_and(|u| u.eq_ignore_ascii_case(uuid)));
    let content = found.and_then(|s| Some((plist::data(s.text("PayloadContent")?)?, s.exact("Password"))));
    match content {
        Some((content, password)) => draft.pkcs12(&content, password, from),
        None => draft.needs_own = Some(from.to_owned()),
    }
}

/// A proposal from its three parts.
fn parameters(
    draft: &mut Draft<'_>,
    table: &Table,
    (key, rekey): (&'static str, &'static str),
    exchange: bool,
    from: &str,
) {
    let encryption = match table.text("EncryptionAlgorithm") {
        Some("DES") => "des",
        Some("3DES") => "3des",
        Some("AES-128") => "aes128",
        Some("AES-128-GCM") => "aes128gcm16",
        Some("AES-256-GCM") => "aes256gcm16",
        Some("ChaCha20Poly1305") => "chacha20poly1305",
        _ => "aes256",
    };
    let integrity = match table.text("IntegrityAlgorithm") {
        Some("SHA1-96" | "SHA1-160") => "sha1",
        Some("SHA2-384") => "sha384",
        Some("SHA2-512") => "sha512",
        _ => "sha256",
    };
    let group = table.text("DiffieHellmanGroup").unwrap_or("14");
    let group = group_word(group).map_or_else(|| format!("group{group}"), str::to_owned);
    let mut text = format!("{encryption}-{integrity}");
    if exchange {
        text = format!("{text}-{group}");
    }
    draft.proposals(key, [text.as_str()], from);
    if let Some(minutes) = table.text("LifeTimeInMinutes") {
        draft.duration(rekey, &format!("{minutes}m"), &format!("{from}.LifeTimeInMinutes"));
    }
    if let Some(method) = table.text("PostQuantumKeyExchangeMethods") {
        draft.left(
            &format!("{from}.PostQuantumKeyExchangeMethods"),
            Some(method),
            "write ke1_mlkem768 into ike",
        );
    }
}

/// A group by its number in IANA's registry.
pub(crate) fn group_word(number: &str) -> Option<&'static str> {
    Some(match number {
        "1" => "modp768",
        "2" => "modp1024",
        "5" => "modp1536",
        "14" => "modp2048",
        "15" => "modp3072",
        "16" => "modp4096",
        "17" => "modp6144",
        "18" => "modp8192",
        "19" => "ecp256",
        "20" => "ecp384",
        "21" => "ecp521",
        "31" => "x25519",
        _ => return None,
    })
}

const PPP: &[(&str, &str)] = &[
    ("TokenCard", "a person is asked where no password is kept"),
    ("AuthEAPPlugins", "eap-methods says which methods are done"),
    ("DisconnectOnIdle", "idle = \"10m\" does it"),
    ("DisconnectOnIdleTimer", "idle = \"10m\" does it"),
    ("ACSPEnabled", "routes by Apple's ACSP: write remote-subnets"),
    ("CommDisplayTerminalWindow", "there is no terminal"),
    ("LCPEchoEnabled", "Adit asks by itself whether the peer is alive"),
    ("LCPEchoInterval", "Adit asks by itself whether the peer is alive"),
    ("LCPEchoFailure", "Adit asks by itself whether the peer is alive"),
];

fn ppp(draft: &mut Draft<'_>, payload: &Table) {
    let none = Table::default();
    let ppp = payload.table("PPP").unwrap_or(&none);
    if let Some(server) = ppp.text("CommRemoteAddress") {
        draft.server(server, "PPP.CommRemoteAddress");
    }
    user(draft, ppp, "PPP");
    methods(draft, ppp);
    if draft.kind == Kind::Pptp {
        mppe(draft, ppp);
    } else {
        for key in ["CCPEnabled", "CCPMPPE40Enabled", "CCPMPPE128Enabled"] {
            if let Some(value) = ppp.text(key) {
                draft.left(&format!("PPP.{key}"), Some(value), "IPsec encrypts");
            }
        }
        ipsec(draft, payload.table("IPSec").unwrap_or(&none));
    }
    draft.leave(ppp, "PPP", PPP);
}

fn methods(draft: &mut Draft<'_>, ppp: &Table) {
    let wanted = ppp.texts("AuthProtocol");
    let from = "PPP.AuthProtocol";
    let known = |word: &str| match word {
        "MSCHAP2" => Some("mschapv2"),
        "EAP" => Some("eap"),
        _ => None,
    };
    let good: Vec<String> = wanted.iter().filter_map(|w| known(w)).map(str::to_owned).collect();
    for word in wanted.iter().filter(|w| known(w).is_none()) {
        match *word {
            "PAP" => draft.weakens(from, Weakening::Pap),
            "CHAP" => draft.weakens(from, Weakening::Chap),
            "MSCHAP1" => draft.weakens(from, Weakening::Mschapv1),
            other => draft.left(from, Some(other), "Adit has EAP and MS-CHAPv2"),
        }
    }
    if !good.is_empty() {
        draft.set("ppp-auth", Value::List(good), from);
    }
}

fn mppe(draft: &mut Draft<'_>, ppp: &Table) {
    let (ccp, short, long) =
        (ppp.flag("CCPEnabled"), ppp.flag("CCPMPPE40Enabled"), ppp.flag("CCPMPPE128Enabled"));
    for (key, value) in [("CCPMPPE40Enabled", short), ("CCPMPPE128Enabled", long)] {
        if value.is_some() {
            draft.carries(&format!("PPP.{key}"), "mppe");
        }
    }
    if ccp == Some(false) && draft.weak("PPP.CCPEnabled", Weakening::NoEncryption) {
        draft.flag("require-mppe", false, "PPP.CCPEnabled");
    } else if ccp.is_some() {
        draft.carries("PPP.CCPEnabled", "require-mppe");
    }
    if short == Some(true) && long != Some(true) && draft.weak("PPP.CCPMPPE40Enabled", Weakening::Mppe40) {
        draft.set("mppe", Value::List(vec!["128".into(), "40".into()]), "PPP.CCPMPPE40Enabled");
    }
}

fn ipsec(draft: &mut Draft<'_>, ipsec: &Table) {
    match ipsec.text("AuthenticationMethod").unwrap_or("SharedSecret") {
        "SharedSecret" => {}
        _ => {
            let next = "Adit's IKEv1 has a pre-shared key only; if the server has IKEv2, ask for a profile with that";
            draft.missing("IPSec.AuthenticationMethod: IKEv1 by certificate", next);
            ipsec.take_all();
            return;
        }
    }
    let from = "IPSec.SharedSecret";
    if let Some(secret) = ipsec.text("SharedSecret")
        && draft.weak_needed(from, Weakening::GroupPsk)
    {
        match plist::data(secret) {
            Some(secret) => draft.psk(&secret, from),
            None => draft.psk(secret.as_bytes(), from),
        }
    }
    if let Some(id) = ipsec.text("LocalIdentifier") {
        match ipsec.text("LocalIdentifierType") {
            Some("KeyID") => draft.text("local-id", &format!("keyid:{id}"), "IPSec.LocalIdentifier"),
            _ => draft.identity("local-id", id, "IPSec.LocalIdentifier"),
        }
        draft.carries("IPSec.LocalIdentifierType", "local-id");
    }
    draft.leave(ipsec, "IPSec", &[("PromptForVPNPIN", "there is no PIN in L2TP")]);
}
