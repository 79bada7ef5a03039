//! Windows' phone books (`rasphone.pbk`): one section a connection. What the values mean is from Microsoft's public
//! documents ([MS-RRASM], the RAS API, `Set-VpnConnection`) and public samples; what is in none of them is told as left out.

use crate::draft::{Context, Draft, Value};
use crate::eap_xml::method;
use crate::ini::{self, Style};
use crate::report::ImportError;
use crate::strategy::{Kind, Strategy};
use crate::tree::{Node, Table};
use crate::weakening::Weakening;
use crate::{Found, LeftOut};

const BOOKS: &str = "Windows' own books";
const DIALLING: &str = "it is for modems, or for Windows' dialogs";
const BLOB: &str = "Windows keeps it in a form of its own";
const DNS: &str = "Adit uses the DNS servers and domains that the server gives";
const SERVER_GIVES: &str = "addresses are the server's choice";
const AGAIN: &str = "a connection that is lost comes back by itself";

const LEFT: &[(&str, &[&str])] = &[
    (
        BOOKS,
        &[
            "Encoding",
            "PBVersion",
            "LowDateTime",
            "HighDateTime",
            "DialParamsUID",
            "Guid",
            "SecurityDescriptor",
            "MEDIA",
            "Port",
            "Device",
            "NETCOMPONENTS",
            "ms_msclient",
            "ms_server",
            "ms_psched",
            "AutoTiggerCapable",
            "AutoTriggerCapable",
            "NumAppIds",
            "NumClassicAppIds",
            "ShareMsFilePrint",
            "BindMsNetClient",
            "RouteVersion",
            "ProvisionType",
            "DeviceComplianceEnabled",
            "DeviceComplianceSsoEnabled",
            "DeviceComplianceSsoEku",
            "DeviceComplianceSsoIssuer",
            "WebAuthEnabled",
            "WebAuthClientId",
            "FlagsSet",
            "Options",
            "ImsConfig",
            "IDI",
            "IDR",
            "IdiType",
            "IdrType",
            "CacheCredentials",
            "NumEku",
            "NumNrptRules",
            "NumRoutes",
            "NumCustomPolicy",
            "NumServers",
            "UseFlags",
            "AuthenticateServer",
            "ForceSecureCompartment",
            "ExcludedProtocols",
            "ProtocolListRetryTimeInHours",
        ],
    ),
    (
        DIALLING,
        &[
            "LcpExtensions",
            "SwCompression",
            "NegotiateMultilinkAlways",
            "SkipDoubleDialDialog",
            "DialMode",
            "OverridePref",
            "CallbackMode",
            "CustomDialDll",
            "CustomDialFunc",
            "CustomRasDialDll",
            "SharedPhoneNumbers",
            "GlobalDeviceSettings",
            "PrerequisiteEntry",
            "PrerequisitePbk",
            "PreferredPort",
            "PreferredDevice",
            "PreferredBps",
            "PreferredHwFlow",
            "PreferredProtocol",
            "PreferredCompression",
            "PreferredSpeaker",
            "PreferredMdmProtocol",
            "PreviewUserPw",
            "PreviewDomain",
            "PreviewPhoneNumber",
            "ShowDialingProgress",
            "ShowMonitorIconInTaskBar",
            "AreaCode",
            "CountryCode",
            "CountryID",
            "UseDialingRules",
            "Comment",
            "FriendlyName",
            "LastSelectedPhone",
            "PromoteAlternates",
            "TryNextAlternateOnFail",
            "IpHeaderCompression",
            "TcpWindowSize",
            "DialPercent",
            "DialSeconds",
            "HangUpPercent",
            "HangUpSeconds",
        ],
    ),
    (
        DNS,
        &[
            "IpDnsAddress",
            "IpDns2Address",
            "IpWinsAddress",
            "IpWins2Address",
            "IpNameAssign",
            "IpDnsFlags",
            "IpNBTFlags",
            "IpDnsSuffix",
            "Ipv6DnsAddress",
            "Ipv6Dns2Address",
            "Ipv6NameAssign",
        ],
    ),
    (
        SERVER_GIVES,
        &[
            "IpAssign",
            "IpAddress",
            "Ipv6Assign",
            "Ipv6Address",
            "Ipv6PrefixLength",
            "Ipv6Prefix",
            "Ipv6InterfaceId",
            "IpInterfaceMetric",
            "Ipv6InterfaceMetric",
        ],
    ),
    (AGAIN, &["RedialAttempts", "RedialSeconds", "RedialOnLinkFailure"]),
    (BLOB, &["CustomAuthData", "CustomIPSecPolicies", "Routes", "EkuList"]),
    ("logging in by Windows' own password is Windows' own", &["AutoLogon", "UseRasCredentials"]),
    ("what encrypts is said by ike, esp and mppe", &["DataEncryption"]),
    ("messages go in fragments where they are too long: fragment-size", &["Disable_IKEv2_Fragmentation"]),
    ("usages are always checked", &["DisableIKENameEkuCheck"]),
    (
        "traffic = \"split\" takes what the server offers",
        &["PlumbIKEv2TSAsRoutes", "DisableClassBasedDefaultRoute"],
    ),
    ("authorities are named by their certificates: ca", &["UseMachineRootCert", "MachineRootCertThumbprint"]),
    ("IPv6 goes the way of IPv4", &["Ipv6PrioritizeRemote"]),
];

pub(crate) fn read<'c>(text: &str, context: &'c Context<'c>) -> Result<Found<'c>, ImportError> {
    let root = ini::read(text, Style::Windows)?;
    let mut found = Found::default();
    for (name, node) in root.entries() {
        let Node::Table(entry) = node else { continue };
        if entry.text("Type").is_some_and(|kind| kind != "2") {
            let why = "it is no VPN but a connection by modem or PPPoE".to_owned();
            found.left_out.push(LeftOut { key: crate::draft::clean(name), why });
            continue;
        }
        found.drafts.push(connection(name, entry, context));
    }
    Ok(found)
}

fn connection<'c>(name: &str, entry: &Table, context: &'c Context<'c>) -> Draft<'c> {
    let strategy =
        entry.text("VpnStrategy").map_or_else(|| Strategy::of_phone_book("0"), Strategy::of_phone_book);
    let unknown = strategy.is_none();
    let strategy = strategy.unwrap_or_else(|| Strategy::only(Kind::Ikev2));
    let mut draft = Draft::new(context, name, &strategy, "VpnStrategy");
    if unknown {
        let next = "write one of 0 to 8 or 14 there";
        draft.missing("VpnStrategy is a number that no public document tells of", next);
    }
    protocol_lists(&mut draft, entry);
    if let Some(server) = entry.text("PhoneNumber") {
        draft.server(server, "PhoneNumber");
    }
    login(&mut draft, entry);
    match entry.flag("IpPrioritizeRemote") {
        Some(false) => {
            draft.text("traffic", "split", "IpPrioritizeRemote");
            if draft.kind == Kind::Ikev2 {
                // As Windows asks its own servers.
                draft.flag("routes-by-dhcp", true, "IpPrioritizeRemote");
            } else {
                draft.notes.push(
                    "routes of the connection are not in this file in a readable form: add remote-subnets"
                        .into(),
                );
            }
        }
        _ => draft.text("traffic", "full", "IpPrioritizeRemote"),
    }
    if let Some(seconds) = entry.text("IdleDisconnectSeconds").filter(|s| *s != "0") {
        draft.duration("idle", seconds, "IdleDisconnectSeconds");
    } else {
        draft.carries("IdleDisconnectSeconds", "idle");
    }
    if draft.kind == Kind::Ikev2 {
        if entry.flag("DisableMobility") == Some(true) {
            draft.flag("mobility", false, "DisableMobility");
        }
        if let Some(seconds) = entry.text("NetworkOutageTime") {
            draft.duration("outage-time", seconds, "NetworkOutageTime");
        }
    } else {
        for key in ["DisableMobility", "NetworkOutageTime"] {
            if let Some(value) = entry.text(key) {
                draft.left(key, Some(value), "only IKEv2 follows its host");
            }
        }
    }
    for (why, keys) in LEFT {
        keys.iter().for_each(|key| draft.leave(entry, "", &[(*key, *why)]));
    }
    draft.leftovers(entry, "");
    draft
}

/// `ProtocolList…` of Windows 11 says the order once more.
fn protocol_lists(draft: &mut Draft<'_>, entry: &Table) {
    let keys: Vec<String> = entry.entries().map(|(key, _)| key.to_owned()).collect();
    for key in keys.iter().filter(|key| key.starts_with("ProtocolList") || key.starts_with("NumProtocolList"))
    {
        if let Some(value) = entry.text(key) {
            draft.left(key, Some(value), "the order is VpnStrategy's");
        }
    }
}

fn login(draft: &mut Draft<'_>, entry: &Table) {
    let restrictions = entry.text("AuthRestrictions").map(str::to_owned);
    let number = entry.text("CustomAuthKey").filter(|key| *key != "0").map(str::to_owned);
    if draft.kind == Kind::Ikev2 {
        match &number {
            Some(number) => {
                draft.text("auth", "eap", "AuthRestrictions");
                method(draft, number, "CustomAuthKey");
            }
            None => {
                draft.text("auth", "certificate", "AuthRestrictions");
                draft.needs_own = Some("CustomAuthKey".to_owned());
            }
        }
    } else {
        match (restrictions.as_deref(), &number) {
            (Some("128"), Some(number)) => method(draft, number, "CustomAuthKey"),
            (Some("512"), _) => {
                draft.set("ppp-auth", Value::List(vec!["mschapv2".into()]), "AuthRestrictions")
            }
            (Some(other), _) => draft.left("AuthRestrictions", Some(other), "Adit has EAP and MS-CHAPv2"),
            (None, _) => {}
        }
    }
    if draft.kind == Kind::L2tp {
        pre_shared_key(draft);
    }
    for key in ["IpSecFlags", "PreSharedKey"] {
        if let Some(value) = entry.text(key) {
            match draft.kind {
                Kind::L2tp => draft.carries(key, "psk-file"),
                _ => draft.left(key, Some(value), "it is L2TP's"),
            }
        }
    }
}

/// Windows keeps it elsewhere, so that it comes from the command line.
fn pre_shared_key(draft: &mut Draft<'_>) {
    let Some(psk) = draft.context.psk else {
        let next = "write it into a file of your own, and name that:  ctl import PROFILE --psk-file FILE";
        draft.missing("the pre-shared key is not in the file: Windows keeps it elsewhere", next);
        return;
    };
    if draft.weak_needed("(--psk-file)", Weakening::GroupPsk) {
        draft.psk(psk.expose(), "(--psk-file)");
    }
}
