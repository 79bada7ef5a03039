//! A configuration profile of Apple's systems.

use adit_profile::{AuthMethod, EapType, Profile, Tunnel, TunnelKind};

use super::{Held, Parts, base64, host, text};
use crate::report::ImportError;

/// A property list under construction.
struct List {
    out: String,
}

impl List {
    fn tag(&mut self, key: &str, tag: &str, value: &str) {
        self.out.push_str(&format!("<key>{key}</key><{tag}>{}</{tag}>\n", escaped(value)));
    }

    fn string(&mut self, key: &str, value: &str) {
        self.tag(key, "string", value);
    }

    fn integer(&mut self, key: &str, value: u32) {
        self.tag(key, "integer", &value.to_string());
    }

    fn open(&mut self, key: &str, tag: &str) {
        self.out.push_str(&format!("<key>{key}</key><{tag}>\n"));
    }

    fn text(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// What every payload has.
    fn payload(&mut self, kind: &str, uuid: &str, n: u8) {
        self.string("PayloadType", kind);
        self.string("PayloadIdentifier", &format!("org.adit1.{}", numbered(uuid, n)));
        self.string("PayloadUUID", &numbered(uuid, n));
        self.integer("PayloadVersion", 1);
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A UUID of its own for each payload, from the file's.
fn numbered(uuid: &str, n: u8) -> String {
    let plain: String = uuid.chars().take(34).collect();
    format!("{plain}{n:02X}").to_uppercase()
}

const OWN: u8 = 2;
const FIRST_CA: u8 = 16;

pub(super) fn write(profile: &Profile, parts: &Parts<'_>, held: &mut Held) -> Result<String, ImportError> {
    let kind = match profile.kind {
        TunnelKind::Ikev2 => "IKEv2",
        TunnelKind::L2tp => "L2TP",
        TunnelKind::Pptp => "PPTP",
        TunnelKind::Sstp => {
            let next = "Apple's systems have IKEv2 and L2TP";
            return Err(ImportError::new("Apple's systems have no SSTP", next));
        }
    };
    let mut list = List {
        out: String::from(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\"><dict>\n",
        ),
    };
    list.payload("Configuration", parts.uuid, 0);
    list.string("PayloadDisplayName", profile.name.as_str());
    list.open("PayloadContent", "array");
    certificates(&mut list, parts, held);
    list.text("<dict>\n");
    list.payload("com.apple.vpn.managed", parts.uuid, 1);
    list.string("UserDefinedName", profile.name.as_str());
    list.string("VPNType", kind);
    match profile.kind {
        TunnelKind::Ikev2 => ikev2(&mut list, profile, parts, held)?,
        _ => ppp(&mut list, profile, parts, held),
    }
    list.open("IPv4", "dict");
    list.integer("OverridePrimary", u32::from(profile.tunnel == Tunnel::Full));
    held.key("traffic");
    list.text("</dict>\n</dict>\n</array>\n</dict></plist>\n");
    Ok(list.out)
}

fn certificates(list: &mut List, parts: &Parts<'_>, held: &mut Held) {
    for (n, ca) in (FIRST_CA..u8::MAX).zip(parts.ca) {
        list.text("<dict>\n");
        list.payload("com.apple.security.root", parts.uuid, n);
        list.tag("PayloadContent", "data", &base64(ca));
        list.text("</dict>\n");
        held.key("ca");
    }
    if let Some(own) = parts.pkcs12 {
        list.text("<dict>\n");
        list.payload("com.apple.security.pkcs12", parts.uuid, OWN);
        list.tag("PayloadContent", "data", &base64(own.expose()));
        if let Some(password) = text(parts.key_password) {
            list.string("Password", &password);
        }
        list.text("</dict>\n");
        held.keys.extend(["key", "certificate", "key-password-file"]);
    }
}

fn ikev2(list: &mut List, profile: &Profile, parts: &Parts<'_>, held: &mut Held) -> Result<(), ImportError> {
    list.open("IKEv2", "dict");
    list.string("RemoteAddress", &host(profile));
    let remote = profile.remote_id.as_ref().map_or_else(|| host(profile), ToString::to_string);
    list.string("RemoteIdentifier", &remote);
    let local = profile.local_id.as_ref().map(ToString::to_string).or_else(|| profile.user.clone());
    list.string("LocalIdentifier", &local.unwrap_or_default());
    held.keys.extend([
        "remote-id",
        "local-id",
        "auth",
        "user",
        "psk",
        "psk-file",
        "password",
        "password-file",
    ]);
    let by_tls = profile.eap.methods == [EapType::Tls];
    match profile.auth {
        AuthMethod::Psk => {
            list.string("AuthenticationMethod", "SharedSecret");
            match text(parts.psk) {
                Some(psk) => list.string("SharedSecret", &psk),
                None => held.left("psk", "secrets go out only by  --secrets, and only as text"),
            }
        }
        AuthMethod::Eap if !by_tls => {
            list.string("AuthenticationMethod", "None");
            list.integer("ExtendedAuthEnabled", 1);
            list.string("AuthName", profile.user.as_deref().unwrap_or_default());
            match text(parts.password) {
                Some(password) => list.string("AuthPassword", &password),
                None => held.left("password", "secrets go out only by  --secrets"),
            }
        }
        AuthMethod::Certificate | AuthMethod::Eap => {
            if parts.pkcs12.is_none() {
                let next = "a key goes out as PKCS#12 and by  --secrets  only: key = \"NAME.p12\"";
                return Err(ImportError::new(
                    "Apple's systems take our certificate and key as PKCS#12",
                    next,
                ));
            }
            list.string("AuthenticationMethod", if by_tls { "None" } else { "Certificate" });
            list.integer("ExtendedAuthEnabled", u32::from(by_tls && profile.auth == AuthMethod::Eap));
            list.string("PayloadCertificateUUID", &numbered(parts.uuid, OWN));
            held.key("eap-methods");
        }
    }
    list.integer("DisableMOBIKE", u32::from(!profile.mobility));
    held.key("mobility");
    if let Some(mtu) = profile.mtu {
        list.integer("MTU", mtu.into());
        held.key("mtu");
    }
    parameters(list, profile, held);
    list.text("</dict>\n");
    Ok(())
}

/// Apple's systems propose what is said and nothing else; where nothing is, 3DES with MODP-1024, so that it is said.
fn parameters(list: &mut List, profile: &Profile, held: &mut Held) {
    let ike = profile.ike.iter().find_map(|suite| algorithms(&suite.text));
    let esp = profile.esp.iter().find_map(|suite| algorithms(&suite.text));
    for (all, found, key) in [(&profile.ike, &ike, "ike"), (&profile.esp, &esp, "esp")] {
        match (all.len(), found) {
            (0 | 1, Some(_)) => held.key(key),
            (0, None) => {}
            (_, Some(_)) => {
                held.key(key);
                held.left(key, "Apple's systems take one proposal");
            }
            (_, None) => held.left(
                key,
                "Apple's systems have no such algorithms: AES-256, SHA-256 and group 14 stand there",
            ),
        }
    }
    let plain = ("AES-256", "SHA2-256", Some(14));
    let (ike, esp) = (ike.unwrap_or(plain), esp.unwrap_or((plain.0, plain.1, None)));
    list.integer("EnablePFS", u32::from(esp.2.is_some()));
    for (key, (encryption, integrity, group)) in
        [("IKESecurityAssociationParameters", ike), ("ChildSecurityAssociationParameters", esp)]
    {
        list.open(key, "dict");
        list.string("EncryptionAlgorithm", encryption);
        list.string("IntegrityAlgorithm", integrity);
        list.integer("DiffieHellmanGroup", group.unwrap_or(14));
        list.text("</dict>\n");
    }
}

type Algorithms = (&'static str, &'static str, Option<u32>);

/// A proposal's words as Apple's systems call them.
fn algorithms(text: &str) -> Option<Algorithms> {
    let find = |known: &[(&str, &'static str)]| {
        text.split('-')
            .find_map(|word| known.iter().find(|(ours, _)| *ours == word).map(|(_, theirs)| *theirs))
    };
    let encryption = find(&[
        ("aes128", "AES-128"),
        ("aes256", "AES-256"),
        ("aes128gcm16", "AES-128-GCM"),
        ("aes256gcm16", "AES-256-GCM"),
        ("chacha20poly1305", "ChaCha20Poly1305"),
    ])?;
    let integrity = find(&[
        ("sha256", "SHA2-256"),
        ("sha384", "SHA2-384"),
        ("sha512", "SHA2-512"),
        ("prfsha256", "SHA2-256"),
        ("prfsha384", "SHA2-384"),
        ("prfsha512", "SHA2-512"),
    ]);
    let group = text.split('-').find_map(|word| match word {
        "modp2048" => Some(14),
        "modp3072" => Some(15),
        "modp4096" => Some(16),
        "ecp256" => Some(19),
        "ecp384" => Some(20),
        "ecp521" => Some(21),
        "x25519" => Some(31),
        _ => None,
    });
    Some((encryption, integrity.unwrap_or("SHA2-256"), group))
}

fn ppp(list: &mut List, profile: &Profile, parts: &Parts<'_>, held: &mut Held) {
    held.keys.extend(["user", "psk", "psk-file", "password", "password-file", "require-mppe", "ppp-auth"]);
    list.open("PPP", "dict");
    list.string("CommRemoteAddress", &host(profile));
    list.string("AuthName", profile.user.as_deref().unwrap_or_default());
    match text(parts.password) {
        Some(password) => list.string("AuthPassword", &password),
        None => held.left("password", "secrets go out only by  --secrets"),
    }
    list.text("<key>AuthProtocol</key><array><string>MSCHAP2</string></array>\n");
    if profile.kind == TunnelKind::Pptp {
        list.integer("CCPEnabled", 1);
        list.integer("CCPMPPE128Enabled", 1);
    }
    list.text("</dict>\n");
    if profile.kind == TunnelKind::L2tp {
        list.open("IPSec", "dict");
        list.string("AuthenticationMethod", "SharedSecret");
        match parts.psk {
            Some(psk) => list.tag("SharedSecret", "data", &base64(psk.expose())),
            None => held.left("psk", "secrets go out only by  --secrets"),
        }
        list.text("</dict>\n");
    }
}
