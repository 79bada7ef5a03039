//! Payloads in words.
//!
//! | words | payload |
//! |---|---|
//! | `SA ike aes256-sha256-modp1024, …` | as initiator an offer, as responder the choice among Adit's |
//! | `SA ike+spi aes256-sha1-modp1024, …` | the same with the SPI of a new IKE_SA |
//! | `SA esp aes256gcm16, …` | likewise, with the SPI 08080808, then 09090909 …; `SA esp+ke …` with key exchange methods |
//! | `KE x25519` `KE raw 31 00ff` `NONCE` `NONCE 15` | a key of that method; a nonce of that length |
//! | `NATD` `NATD behind` | both NAT_DETECTION notifies, true or as behind a NAT |
//! | `IDi ann@example.com` `IDr …` `AUTH` `AUTH wrong` `AUTH 13 00ff` | |
//! | `AUTH ppk` `NO_PPK_AUTH` | AUTH with the postquantum preshared key, and the notify beside it |
//! | `CP request v4 v6` `CP reply 10.9.0.7 dns=10.9.0.1 domain=corp.example.com` `CP raw 1 KIND=HEX …` | |
//! | `TSi 0.0.0.0/0 ::/0` `TSr …` | |
//! | `N NO_PROPOSAL_CHOSEN 00ff` `N 40000` `N esp SPI REKEY_SA` | |
//! | `D ike` `D esp 08080808` `D ah …` | |
//! | `CERTREQ 40` | so many hashes |
//! | `V 00ff` `RAW 200 00ff` `CRITICAL 200 00ff` | |

use adit_core::{Identity, Path, Prefix, Secret, TrafficSelector};
use adit_isakmp::KeMethod;
use adit_isakmp::crypto::CryptoProvider;
use adit_isakmp::keys::{mix_ppk, nat_detection_hash, psk_auth, signed_octets};
use adit_isakmp::payload::{
    AuthMethod, Authentication, CertificateRequest, ConfigAttribute, ConfigType, Configuration, Delete,
    Identification, KeyExchangeData, Notify, NotifyType, Payload, PayloadType, Protocol, TrafficSelectors,
};
use adit_isakmp::proposal::{EspProposal, IkeProposal, choose_esp, choose_ike, offer_esp, offer_ike};

use crate::case::Role;
use crate::peer::Peer;

/// The postquantum preshared key `staff`.
pub(crate) const PPK: &[u8] = b"a key that outlives quantum computers";

/// What the peer receives on: 08080808 first, then 09090909 and so on.
const ESP_SPI: u32 = 0x0808_0808;
const NEXT_ESP_SPI: u32 = 0x0101_0101;
/// Of an IKE_SA that takes another's place.
const NEW_SPI: [u8; 8] = [7; 8];

/// The payloads of one line.
pub(crate) fn payloads(peer: &mut Peer, path: Path, psk: &[u8], line: &str) -> Result<Vec<Payload>, String> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim();
    let one = match word {
        "NATD" => return Ok(natd(peer, path, rest == "behind")),
        "SA" => security_association(peer, rest)?,
        "KE" => key_exchange(peer, rest)?,
        "NONCE" => nonce(peer, rest)?,
        "IDi" | "IDr" => identity(peer, word == "IDi", rest)?,
        "AUTH" => authentication(peer, psk, rest)?,
        "NO_PPK_AUTH" => Payload::Notify(Notify::new(NotifyType::NO_PPK_AUTH, proof(peer, psk, false)?)),
        "CP" => configuration(rest)?,
        "TSi" => Payload::TsI(selectors(rest)?),
        "TSr" => Payload::TsR(selectors(rest)?),
        "N" => notify(rest)?,
        "D" => delete(rest)?,
        "CERTREQ" => Payload::CertReq(CertificateRequest::x509(&vec![[9; 20]; number(rest)?])),
        "V" => Payload::Vendor(hex(rest)?),
        "RAW" | "CRITICAL" => {
            let (kind, body) = rest.split_once(' ').unwrap_or((rest, ""));
            let kind = PayloadType(number(kind)?);
            Payload::Unknown { kind, critical: word == "CRITICAL", body: hex(body)? }
        }
        _ => return Err(format!("no payload {word:?}")),
    };
    Ok(vec![one])
}

fn number<T: core::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

/// Hexadecimal digits as bytes.
pub(crate) fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16))
        .collect::<Result<_, _>>()
        .map_err(|_| format!("{text:?} is not hexadecimal"))
}

fn natd(peer: &Peer, path: Path, behind: bool) -> Vec<Payload> {
    let hash = |end| nat_detection_hash(&peer.crypto, peer.spi_i, peer.spi_r, end).to_vec();
    let source = if behind { vec![0; 20] } else { hash(path.local) };
    vec![
        Payload::Notify(Notify::new(NotifyType::NAT_DETECTION_SOURCE_IP, source)),
        Payload::Notify(Notify::new(NotifyType::NAT_DETECTION_DESTINATION_IP, hash(path.remote))),
    ]
}

fn security_association(peer: &mut Peer, rest: &str) -> Result<Payload, String> {
    let (kind, list) = rest.split_once(' ').ok_or("SA ike … or SA esp …")?;
    let with_ke = kind == "esp+ke";
    let words = list.split(',').map(str::trim);
    if kind.starts_with("ike") {
        let spi = if kind == "ike+spi" { &NEW_SPI[..] } else { &[] };
        let list: Result<Vec<_>, _> = words.map(|w| IkeProposal::read(w, true)).collect();
        let list = list.map_err(|e| e.to_string())?;
        if peer.role == Role::Initiator {
            return Ok(Payload::Sa(offer_ike(&list, spi)));
        }
        let chosen = choose_ike(&list, &peer.theirs, spi).map_err(|e| e.to_string())?;
        peer.suite = Some(chosen.suite);
        return Ok(Payload::Sa(chosen.reply));
    }
    let list: Result<Vec<_>, _> = words.map(|w| EspProposal::read(w, true)).collect();
    let list = list.map_err(|e| e.to_string())?;
    let spi = ESP_SPI.wrapping_add(peer.spis.wrapping_mul(NEXT_ESP_SPI));
    peer.spis = peer.spis.wrapping_add(1);
    if peer.role == Role::Initiator {
        return Ok(Payload::Sa(offer_esp(&list, spi, with_ke)));
    }
    let chosen = choose_esp(&list, &peer.theirs, spi, with_ke).map_err(|e| e.to_string())?;
    Ok(Payload::Sa(chosen.reply))
}

fn key_exchange(peer: &mut Peer, rest: &str) -> Result<Payload, String> {
    if let Some(raw) = rest.strip_prefix("raw ") {
        let (method, data) = raw.split_once(' ').unwrap_or((raw, ""));
        return Ok(Payload::Ke(KeyExchangeData { method: number(method)?, data: hex(data)? }));
    }
    let method = KeMethod::ALL.iter().copied().find(|m| m.keyword() == rest);
    let method = method.ok_or(format!("no key exchange method {rest:?}"))?;
    let public = if peer.role == Role::Initiator {
        let key = peer.crypto.generate(method).map_err(|e| e.to_string())?;
        let public = key.public().to_vec();
        peer.key = Some(key);
        public
    } else {
        let theirs = peer.their_key.as_ref().ok_or("Adit sent no KE")?;
        let made = peer.crypto.encapsulate(method, &theirs.data).map_err(|e| e.to_string())?;
        peer.shared = Some(made.1);
        made.0
    };
    Ok(Payload::Ke(KeyExchangeData::new(method, public)))
}

fn nonce(peer: &mut Peer, rest: &str) -> Result<Payload, String> {
    let length = if rest.is_empty() { 32 } else { number(rest)? };
    let byte = if peer.role == Role::Initiator { 0xa5 } else { 0x5a };
    let nonce = vec![byte; length];
    if peer.keys.is_none() {
        if peer.role == Role::Initiator {
            peer.nonce_i.clone_from(&nonce);
        } else {
            peer.nonce_r.clone_from(&nonce);
        }
    }
    Ok(Payload::Nonce(nonce))
}

fn identity(peer: &mut Peer, of_initiator: bool, rest: &str) -> Result<Payload, String> {
    let identity: Identity = rest.parse().map_err(|_| format!("no identity {rest:?}"))?;
    let id = Identification::from(&identity);
    let own = of_initiator == (peer.role == Role::Initiator);
    if own {
        peer.id_body = id.body();
    }
    Ok(if of_initiator { Payload::IdI(id) } else { Payload::IdR(id) })
}

fn authentication(peer: &Peer, psk: &[u8], rest: &str) -> Result<Payload, String> {
    if let Some((method, data)) = rest.split_once(' ') {
        let method = AuthMethod(number(method)?);
        return Ok(Payload::Auth(Authentication { method, data: hex(data)? }));
    }
    let psk = if rest == "wrong" { b"another key" } else { psk };
    let mic = proof(peer, psk, rest == "ppk")?;
    Ok(Payload::Auth(Authentication::shared_key(&mic)))
}

/// AUTH of the peer by the PSK, with the PPK or without.
fn proof(peer: &Peer, psk: &[u8], ppk: bool) -> Result<Vec<u8>, String> {
    let keys = peer.keys.as_ref().ok_or("there are no keys yet")?;
    let suite = peer.suite.ok_or("there is no suite yet")?;
    let (message, nonce, key) = match peer.role {
        Role::Initiator => (&peer.message_i, &peer.nonce_r, &keys.pi),
        Role::Responder => (&peer.message_r, &peer.nonce_i, &keys.pr),
    };
    let mixed = mix_ppk(&peer.crypto, suite.prf, &Secret::from(PPK), key);
    let key = if ppk { &mixed } else { key };
    let octets = signed_octets(&peer.crypto, suite.prf, message, nonce, key, &peer.id_body);
    Ok(psk_auth(&peer.crypto, suite.prf, &Secret::from(psk), &octets).expose().to_vec())
}

fn configuration(rest: &str) -> Result<Payload, String> {
    let mut words = rest.split(' ');
    let kind = words.next().unwrap_or_default();
    let mut attributes = Vec::new();
    let kind = match kind {
        "request" => ConfigType::CFG_REQUEST,
        "reply" => ConfigType::CFG_REPLY,
        "raw" => ConfigType(number(words.next().unwrap_or_default())?),
        _ => return Err(format!("no configuration {kind:?}")),
    };
    for word in words {
        attributes.push(match word {
            "v4" => ConfigAttribute::Ip4Address(None),
            "v6" => ConfigAttribute::Ip6Address(None),
            "dns4" => ConfigAttribute::Ip4Dns(None),
            "dns6" => ConfigAttribute::Ip6Dns(None),
            "domains" => ConfigAttribute::DnsDomain(None),
            _ => match word.split_once('=') {
                Some(("domain", name)) => ConfigAttribute::DnsDomain(Some(name.into())),
                Some(("dns", server)) => ConfigAttribute::Ip4Dns(Some(number(server)?)),
                Some((kind, value)) => ConfigAttribute::Unknown { kind: number(kind)?, value: hex(value)? },
                None => ConfigAttribute::Ip4Address(Some(number(word)?)),
            },
        });
    }
    Ok(Payload::Configuration(Configuration { kind, attributes }))
}

fn selectors(rest: &str) -> Result<TrafficSelectors, String> {
    rest.split(' ')
        .filter(|w| !w.is_empty())
        .map(|word| {
            word.parse::<Prefix>().map(TrafficSelector::from).map_err(|_| format!("no prefix {word:?}"))
        })
        .collect()
}

fn notify(rest: &str) -> Result<Payload, String> {
    let (spi, rest) = match rest.strip_prefix("esp ").and_then(|r| r.split_once(' ')) {
        Some((spi, rest)) => (Some(spi), rest),
        None => (None, rest),
    };
    let (name, data) = rest.split_once(' ').unwrap_or((rest, ""));
    let named = NotifyType::NAMED.iter().copied().find(|k| k.name() == Some(name));
    let kind = match named {
        Some(kind) => kind,
        None => NotifyType(number(name)?),
    };
    let mut notify = Notify::new(kind, hex(data)?);
    if let Some(spi) = spi {
        notify.spi = hex(spi)?;
        notify.protocol = Protocol::ESP;
    }
    Ok(Payload::Notify(notify))
}

fn delete(rest: &str) -> Result<Payload, String> {
    if rest == "ike" {
        return Ok(Payload::Delete(Delete::Ike));
    }
    let (protocol, list) = rest.split_once(' ').ok_or("D ike, or D esp SPI …")?;
    let protocol = if protocol == "ah" { Protocol::AH } else { Protocol::ESP };
    let spis: Result<Vec<u32>, _> = list.split(' ').map(|s| u32::from_str_radix(s, 16)).collect();
    let spis = spis.map_err(|_| format!("{list:?} are no SPIs"))?;
    Ok(Payload::Delete(Delete::Child { protocol, spis }))
}
