//! ProfileXML of Windows' VPNv2 configuration service provider (Microsoft's "VPNv2 CSP" and "ProfileXML XSD").

use crate::draft::{Context, Draft, Value, clean};
use crate::report::ImportError;
use crate::strategy::{Kind, Strategy};
use crate::tree::{Node, Table};
use crate::weakening::Weakening;
use crate::{Found, eap_xml, xml};

const BY_ITSELF: &str = "a profile from elsewhere does not connect by itself; afterwards: start = \"boot\"";
const DNS: &str = "Adit uses the DNS servers and domains that the server gives";
const BOOKS: &str = "Windows' own books";

const LEFT: &[(&str, &str)] = &[
    ("AlwaysOn", BY_ITSELF),
    ("AlwaysOnActive", BY_ITSELF),
    ("DeviceTunnel", "every tunnel of Adit is the host's: start = \"boot\" raises it before anybody logs in"),
    ("LockDown", "traffic = \"full\" blocks what is not for the tunnel, while it is up"),
    ("TrustedNetworkDetection", BY_ITSELF),
    ("AppTrigger", BY_ITSELF),
    ("DnsSuffix", DNS),
    ("DomainNameInformation", DNS),
    ("RegisterDNS", DNS),
    ("RememberCredentials", "password-file keeps it; without it a person is asked"),
    ("UseRasCredentials", "logging in by Windows' own password is Windows' own"),
    ("TrafficFilter", "which programs use a tunnel is not said in a profile; networks: remote-subnets"),
    ("Proxy", "proxies of applications are their own business"),
    ("APNBinding", "which link is taken is said by prefer"),
    ("ByPassForLocal", "routes say where packets go"),
    ("EdpModeId", BOOKS),
    ("DeviceCompliance", BOOKS),
    ("ProfileName", BOOKS),
    ("DataEncryption", "what encrypts is said by ike, esp and mppe"),
    ("DisableAdvancedOptionsEditButton", BOOKS),
    ("DisableDisconnectButton", BOOKS),
    ("PrivateNetwork", BOOKS),
    ("IPv4InterfaceMetric", "routes of the tunnel go before all others here"),
    ("IPv6InterfaceMetric", "routes of the tunnel go before all others here"),
];
const NATIVE: &[(&str, &str)] = &[
    ("DisableClassBasedDefaultRoute", "Adit makes no route by an address's class"),
    ("PlumbIKEv2TSAsRoutes", "traffic = \"split\" takes what the server offers"),
    ("DisableIKEv2Fragmentation", "messages go in fragments where they are too long: fragment-size"),
    ("RetryTimeInHours", "the order is the same each time"),
];

pub(crate) fn read<'c>(text: &str, context: &'c Context<'c>) -> Result<Found<'c>, ImportError> {
    let text = zeroize::Zeroizing::new(xml::without_doctype(text)?);
    let document = xml::parse(&text)?;
    let next = "name a file whose root element is VPNProfile";
    let Node::Table(root) = xml::table(document.root_element())? else {
        return Err(ImportError::new("it is an empty XML file", next));
    };
    let Some(native) = root.table("NativeProfile") else {
        let what = if root.has("PluginProfile") {
            "it is for a plugin, and not of Windows' own kinds"
        } else {
            "it has no NativeProfile"
        };
        return Err(ImportError::new(what, next));
    };
    let strategy = strategy(native);
    let unknown = strategy.is_none();
    let strategy = strategy.unwrap_or_else(|| Strategy::only(Kind::Ikev2));
    let called = root.text("ProfileName").unwrap_or(context.stem).to_owned();
    let mut draft = Draft::new(context, &called, &strategy, "NativeProfile.NativeProtocolType");
    if unknown {
        draft.missing(
            "NativeProfile.NativeProtocolType is none of Windows' own",
            "IKEv2, L2tp, Pptp, Sstp, Automatic or ProtocolList",
        );
    }
    servers(&mut draft, native);
    authentication(&mut draft, native);
    routing(&mut draft, native, &root);
    if let Some(suite) = native.table("CryptographySuite") {
        cryptography(&mut draft, suite);
    }
    l2tp(&mut draft, native);
    if root.flag("DisableMobility") == Some(true) || native.flag("DisableMobility") == Some(true) {
        draft.flag("mobility", false, "DisableMobility");
    }
    if let Some(seconds) = native.text("NetworkOutageTime").or_else(|| root.text("NetworkOutageTime")) {
        match draft.kind {
            Kind::Ikev2 => draft.duration("outage-time", seconds, "NetworkOutageTime"),
            _ => draft.left("NetworkOutageTime", Some(seconds), "only IKEv2 follows its host"),
        }
    }
    if let Some(seconds) = native.text("IdleDisconnectSeconds").or_else(|| root.text("IdleDisconnectSeconds"))
    {
        draft.duration("idle", seconds, "IdleDisconnectSeconds");
    }
    draft.leave(native, "NativeProfile", NATIVE);
    draft.leave(&root, "", LEFT);
    draft.leftovers(&root, "");
    Ok(Found { drafts: vec![draft], ..Found::default() })
}

fn strategy(native: &Table) -> Option<Strategy> {
    let word = native.text("NativeProtocolType").unwrap_or("Automatic");
    if !word.eq_ignore_ascii_case("ProtocolList") {
        return Strategy::of_profile_xml(word);
    }
    let list = native.table("ProtocolList")?;
    let inside = list.tables("NativeProtocolList");
    let mut words = list.texts("NativeProtocolList");
    words.extend(list.texts("Type"));
    words.extend(inside.iter().flat_map(|table| table.texts("Type")));
    Strategy::of_list(&words)
}

/// `vpn1.example.com;its name,vpn2.example.com`.
fn servers(draft: &mut Draft<'_>, native: &Table) {
    for server in native.text("Servers").unwrap_or("").split(',') {
        let host = server.split(';').next().unwrap_or("").trim();
        if !host.is_empty() {
            draft.server(host, "NativeProfile.Servers");
        }
    }
}

fn authentication(draft: &mut Draft<'_>, native: &Table) {
    let none = Table::default();
    let table = native.table("Authentication").unwrap_or(&none);
    let user = table.text("UserMethod").map(str::to_ascii_lowercase);
    let machine = table.text("MachineMethod").map(str::to_ascii_lowercase);
    let from = "NativeProfile.Authentication";
    let ikev2 = draft.kind == Kind::Ikev2;
    match (user.as_deref(), machine.as_deref()) {
        (Some("eap"), _) => {
            if ikev2 {
                draft.text("auth", "eap", &format!("{from}.UserMethod"));
            }
            match table.table("Eap").and_then(|eap| eap.table("Configuration")) {
                Some(configuration) => eap_xml::eap(draft, configuration, &format!("{from}.Eap")),
                None => eap_xml::method(draft, "26", &format!("{from}.UserMethod")),
            }
        }
        (Some("mschapv2"), _) if !ikev2 => {
            draft.set("ppp-auth", Value::List(vec!["mschapv2".into()]), &format!("{from}.UserMethod"));
        }
        (Some("chap"), _) if !ikev2 => draft.weakens(&format!("{from}.UserMethod"), Weakening::Chap),
        (Some("pap"), _) => draft.weakens_needed(&format!("{from}.UserMethod"), Weakening::Pap),
        (_, Some("certificate")) if ikev2 => {
            draft.text("auth", "certificate", &format!("{from}.MachineMethod"));
            draft.needs_own = Some(format!("{from}.MachineMethod"));
        }
        (None, None) if ikev2 => {
            draft.missing(format!("{from}: nothing says who you are"), "add UserMethod or MachineMethod")
        }
        (Some(other), _) => {
            draft.missing(
                format!("{from}.UserMethod = {}", clean(other)),
                "Adit has Eap, and Mschapv2 in PPP",
            );
        }
        (None, _) => {}
    }
    if table.has("Certificate") {
        table.take_named("Certificate");
        draft.left(
            &format!("{from}.Certificate"),
            None,
            "a certificate is named by its file: certificate and key",
        );
    }
}

fn routing(draft: &mut Draft<'_>, native: &Table, root: &Table) {
    let split = native.text("RoutingPolicyType").is_some_and(|word| word.eq_ignore_ascii_case("SplitTunnel"));
    draft.text("traffic", if split { "split" } else { "full" }, "NativeProfile.RoutingPolicyType");
    for route in root.tables("Route") {
        let (Some(address), size) = (route.text("Address"), route.text("PrefixSize")) else { continue };
        let network = size.map_or_else(|| address.to_owned(), |size| format!("{address}/{size}"));
        if route.flag("ExclusionRoute") == Some(true) {
            draft.left(
                "Route",
                Some(&network),
                "no network is left out of a tunnel here: name those that go into it",
            );
        } else if split {
            draft.subnet("remote-subnets", &network, "Route.Address");
            draft.carries("Route.PrefixSize", "remote-subnets");
        } else {
            draft.carries("Route.Address", "traffic");
        }
        if let Some(metric) = route.text("Metric") {
            draft.left("Route.Metric", Some(metric), "routes have no metric of their own here");
        }
    }
    if split && !draft.has("remote-subnets") {
        match draft.kind {
            // As Windows asks its own servers.
            Kind::Ikev2 => draft.flag("routes-by-dhcp", true, "NativeProfile.RoutingPolicyType"),
            _ => draft
                .notes
                .push("only what the server itself has goes into the tunnel: add remote-subnets".into()),
        }
    }
}

fn cryptography(draft: &mut Draft<'_>, suite: &Table) {
    let from = "NativeProfile.CryptographySuite";
    if draft.kind == Kind::Sstp || draft.kind == Kind::Pptp {
        suite.take_all();
        return draft.left(from, None, "it is IPsec's");
    }
    let word = |key: &str| suite.text(key).unwrap_or("").to_ascii_lowercase();
    let encryption = cipher(&word("EncryptionMethod"));
    let integrity = hash(&word("IntegrityCheckMethod"));
    let group = group(&word("DHGroup"));
    if let (Some(encryption), Some(group)) = (encryption, group) {
        let text = format!("{encryption}-{}-{group}", integrity.unwrap_or("sha256"));
        draft.proposals("ike", [text.as_str()], &format!("{from}.EncryptionMethod"));
    } else {
        draft.left(
            &format!("{from}.EncryptionMethod"),
            Some(&word("EncryptionMethod")),
            "Adit does not have it",
        );
    }
    let transform = word("CipherTransformConstants");
    let authentication = hash(&word("AuthenticationTransformConstants"));
    let pfs = match word("PfsGroup").as_str() {
        "" | "none" => None,
        "pfs1" => Some("modp768"),
        "pfs2" => Some("modp1024"),
        "pfs2048" => Some("modp2048"),
        "pfsmm" => group,
        other => self::group(other),
    };
    if let Some(cipher) = cipher(&transform) {
        let text =
            [Some(cipher), authentication.or(Some("sha256")), pfs].into_iter().flatten().collect::<Vec<_>>();
        draft.proposals("esp", [text.join("-").as_str()], &format!("{from}.CipherTransformConstants"));
    } else {
        draft.left(&format!("{from}.CipherTransformConstants"), Some(&transform), "Adit does not have it");
    }
    for key in ["IntegrityCheckMethod", "DHGroup"] {
        draft.carries(&format!("{from}.{key}"), "ike");
    }
    for key in ["AuthenticationTransformConstants", "PfsGroup"] {
        draft.carries(&format!("{from}.{key}"), "esp");
    }
}

fn cipher(word: &str) -> Option<&'static str> {
    Some(match word {
        "des" => "des",
        "des3" => "3des",
        "aes128" => "aes128",
        "aes192" => "aes192",
        "aes256" => "aes256",
        "gcmaes128" | "aes_gcm_128" => "aes128gcm16",
        "gcmaes192" => "aes192gcm16",
        "gcmaes256" | "aes_gcm_256" => "aes256gcm16",
        _ => return None,
    })
}

fn hash(word: &str) -> Option<&'static str> {
    Some(match word {
        "md5" | "md596" => "md5",
        "sha1" | "sha196" => "sha1",
        "sha256" | "sha256128" => "sha256",
        "sha384" => "sha384",
        _ => return None,
    })
}

fn group(word: &str) -> Option<&'static str> {
    Some(match word {
        "group1" => "modp768",
        "group2" => "modp1024",
        "group14" => "modp2048",
        "ecp256" => "ecp256",
        "ecp384" => "ecp384",
        "group24" | "pfs24" => "modp2048s256",
        _ => return None,
    })
}

fn l2tp(draft: &mut Draft<'_>, native: &Table) {
    let from = "NativeProfile.L2tpPsk";
    let written = native.exact("L2tpPsk");
    if draft.kind != Kind::L2tp {
        if written.is_some() {
            draft.left(from, None, "it is L2TP's");
        }
        return;
    }
    let (from, psk) = match (written, draft.context.psk) {
        (Some(written), _) => (from, written.as_bytes()),
        (None, Some(said)) => ("(--psk-file)", said.expose()),
        (None, None) => return,
    };
    if draft.weak_needed(from, Weakening::GroupPsk) {
        draft.psk(psk, from);
    }
}
