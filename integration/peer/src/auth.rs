//! IKE_AUTH as the peer does it.

use std::{
    fs,
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use adit_core::{AddressRange, Identity, Secret, SignatureScheme, TrafficSelector, WallTime};
use adit_crypto::Provider;
use adit_isakmp::{
    ExchangeType, Payload, keys,
    payload::{
        AuthMethod, Authentication, Certificate, CertificateRequest, ConfigAttribute, ConfigType,
        Configuration, Identification, Protocol, Selector, TrafficSelectors,
    },
    signature,
};
use adit_pki::{EcdsaEncoding, FileSigner, Signer as _, TrustAnchors};

use crate::{
    channel::Channel,
    child::{self, Child},
    initial::{self, Covered},
    script::Script,
    words,
};

/// SIGNATURE_HASH_ALGORITHMS: who sends it can do RFC 7427.
const RFC7427: &str = "16431";

/// IKE_AUTH: the first CHILD_SA and our addresses.
pub(crate) fn exchange(
    script: &Script,
    crypto: &Provider,
    channel: &mut Channel,
    covered: &Covered,
) -> Result<(Child, Vec<IpAddr>), String> {
    let spi = child::spi(channel);
    let payloads = request(script, crypto, channel, covered, spi)?;
    let answer = channel.exchange(ExchangeType::IKE_AUTH, &payloads)?;
    // An IKE_SA may be up without its CHILD_SA; we want both.
    initial::refused(&answer)?;
    authenticated(script, crypto, channel, covered, &answer)?;
    let child = child::first(crypto, channel, covered, spi, &answer)?;
    let attributes =
        answer.iter().find_map(|p| if let Payload::Configuration(c) = p { Some(c) } else { None });
    let attributes = attributes.map(|c| c.attributes.as_slice()).unwrap_or_default();
    let addresses = attributes.iter().filter_map(|attribute| match attribute {
        ConfigAttribute::Ip4Address(Some(address)) => Some(IpAddr::V4(*address)),
        ConfigAttribute::Ip6Address(Some((address, _))) => Some(IpAddr::V6(*address)),
        _ => None,
    });
    Ok((child, addresses.collect()))
}

fn request(
    script: &Script,
    crypto: &Provider,
    channel: &Channel,
    covered: &Covered,
    spi: u32,
) -> Result<Vec<Payload>, String> {
    let certificates = certificates(script.certificate.as_ref())?;
    let id = identification(&local_id(script, channel, certificates.first())?);
    let mut payloads = vec![Payload::IdI(id.clone())];
    payloads.extend(certificates.iter().map(|der| Payload::Cert(Certificate::x509(der.clone()))));
    if let Some(request) = certificate_request(script)? {
        payloads.push(Payload::CertReq(request));
    }
    if let Some(name) = &script.sends_id {
        payloads
            .push(Payload::IdR(identification(&name.parse().map_err(|_| format!("{name:?}: no identity"))?)));
    }
    payloads.push(Payload::Auth(own(script, crypto, channel, covered, &id, certificates.first())?));
    for notify in &script.auth_notifies {
        payloads.push(Payload::Notify(words::notify(notify)?));
    }
    let attributes =
        script.request.iter().map(|kind| ConfigAttribute::Unknown { kind: *kind, value: Vec::new() });
    payloads.push(Payload::Configuration(Configuration {
        kind: ConfigType::CFG_REQUEST,
        attributes: attributes.collect(),
    }));
    payloads.push(Payload::Sa(words::offer(&script.esp, Protocol::ESP, &spi.to_be_bytes())?));
    payloads.push(Payload::TsI(everything(script)?));
    payloads.push(Payload::TsR(everything(script)?));
    Ok(payloads)
}

/// All addresses.
pub(crate) fn everything(script: &Script) -> Result<TrafficSelectors, String> {
    let mut ranges = vec![("0.0.0.0", "255.255.255.255")];
    if script.ipv6 {
        ranges.push(("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
    }
    let address = |text: &str| text.parse::<IpAddr>().map_err(|e| e.to_string());
    let selectors = ranges.into_iter().map(|(first, last)| {
        let addresses = AddressRange { first: address(first)?, last: address(last)? };
        Ok(Selector::Range(TrafficSelector::any_of(addresses)))
    });
    Ok(TrafficSelectors(selectors.collect::<Result<_, String>>()?))
}

fn local_id(script: &Script, channel: &Channel, leaf: Option<&Vec<u8>>) -> Result<Identity, String> {
    match script.local_id.as_str() {
        "address" => Ok(Identity::Address(own_address(channel)?)),
        "subject" => {
            let leaf = leaf.ok_or("local-id = \"subject\" needs a certificate")?;
            let all = adit_pki::identities(leaf).map_err(|e| e.to_string())?;
            let subject = all.into_iter().find(|id| matches!(id, Identity::DistinguishedName(_)));
            subject.ok_or_else(|| "the certificate has no subject".to_owned())
        }
        text => text.parse().map_err(|_| format!("{text:?}: no identity")),
    }
}

/// The address that packets to the server leave with.
fn own_address(channel: &Channel) -> Result<IpAddr, String> {
    channel.ends().map(|(ours, _)| ours.ip())
}

fn identification(id: &Identity) -> Identification {
    Identification { id_type: id.id_type(), reserved: [0; 3], data: id.data() }
}

fn certificates(file: Option<&String>) -> Result<Vec<Vec<u8>>, String> {
    let Some(file) = file else { return Ok(Vec::new()) };
    let content = fs::read(file).map_err(|e| format!("{file}: {e}"))?;
    adit_pki::read_certificates(&content).map_err(|e| format!("{file}: {e}"))
}

/// The real authority's hash last, behind those that nobody else knows.
fn certificate_request(script: &Script) -> Result<Option<CertificateRequest>, String> {
    let Some(file) = script.ca.as_ref().filter(|_| script.asks_for_certificates) else { return Ok(None) };
    let mut hashes: Vec<[u8; 20]> = (0..script.foreign_authorities)
        .map(|number| [u8::try_from(number % 251).unwrap_or_default(); 20])
        .collect();
    hashes.extend(anchors(file)?.key_hashes());
    Ok(Some(CertificateRequest::x509(&hashes)))
}

fn anchors(file: &str) -> Result<TrustAnchors, String> {
    let content = fs::read(file).map_err(|e| format!("{file}: {e}"))?;
    TrustAnchors::from_content(&content).map_err(|e| format!("{file}: {e}"))
}

fn octets(
    crypto: &Provider,
    channel: &Channel,
    covered: &Covered,
    ours: bool,
    id: &Identification,
) -> Result<Secret, String> {
    let protection = channel.protection.as_ref().ok_or("no keys yet")?;
    let (message, nonce, key) = if ours {
        (&covered.request, &covered.nr, &protection.keys.pi)
    } else {
        (&covered.response, &covered.ni, &protection.keys.pr)
    };
    Ok(keys::signed_octets(crypto, protection.suite.prf, message, nonce, key, &id.body()))
}

fn mic(script: &Script, crypto: &Provider, channel: &Channel, octets: &Secret) -> Result<Secret, String> {
    let file = script.psk_file.as_ref().ok_or("no psk-file")?;
    let psk = fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    let prf = channel.protection.as_ref().ok_or("no keys yet")?.suite.prf;
    Ok(keys::psk_auth(crypto, prf, &Secret::new(psk.trim_end().into()), octets))
}

/// Our AUTH: the PSK's, or the certificate's by RFC 7427 if we announced it, else by RFC 4754.
fn own(
    script: &Script,
    crypto: &Provider,
    channel: &Channel,
    covered: &Covered,
    id: &Identification,
    leaf: Option<&Vec<u8>>,
) -> Result<Authentication, String> {
    let octets = octets(crypto, channel, covered, true, id)?;
    let (Some(leaf), Some(file)) = (leaf, &script.key) else {
        return Ok(Authentication::shared_key(mic(script, crypto, channel, &octets)?.expose()));
    };
    let content = fs::read(file).map_err(|e| format!("{file}: {e}"))?;
    let signer =
        FileSigner::new(Secret::new(content), leaf, crypto.random()).map_err(|e| format!("{file}: {e}"))?;
    let scheme = *signer.schemes().first().ok_or("the key signs with nothing")?;
    let sign =
        |encoding| signer.sign(scheme, octets.expose(), encoding, crypto.random()).map_err(|e| e.to_string());
    if script.init_notifies.iter().any(|notify| notify.starts_with(RFC7427)) {
        return Authentication::digital_signature(scheme, &sign(EcdsaEncoding::Der)?)
            .map_err(|e| e.to_string());
    }
    let method = match scheme {
        SignatureScheme::EcdsaP256Sha256 => AuthMethod::ECDSA_P256_SHA256,
        SignatureScheme::EcdsaP384Sha384 => AuthMethod::ECDSA_P384_SHA384,
        other => return Err(format!("{other:?} needs RFC 7427")),
    };
    Ok(Authentication { method, data: sign(EcdsaEncoding::Fixed)? })
}

/// Whether the server is who it must be.
fn authenticated(
    script: &Script,
    crypto: &Provider,
    channel: &Channel,
    covered: &Covered,
    answer: &[Payload],
) -> Result<(), String> {
    let id =
        answer.iter().find_map(|p| if let Payload::IdR(id) = p { Some(id) } else { None }).ok_or("no IDr")?;
    let named: Identity =
        script.remote_id.parse().map_err(|_| format!("{:?}: no identity", script.remote_id))?;
    if !id.identity().is_some_and(|got| got.matches(&named)) {
        return Err(format!("the server calls itself {:?}, not {named}", id.identity()));
    }
    let auth =
        answer.iter().find_map(|p| if let Payload::Auth(a) = p { Some(a) } else { None }).ok_or("no AUTH")?;
    let octets = octets(crypto, channel, covered, false, id)?;
    if auth.method == AuthMethod::SHARED_KEY {
        let right = mic(script, crypto, channel, &octets)?.equals(&auth.data);
        println!("the server's AUTH: shared key");
        return right.then_some(()).ok_or_else(|| "the server's AUTH is wrong".to_owned());
    }
    let chain =
        answer.iter().filter_map(|p| if let Payload::Cert(c) = p { Some(c.data.clone()) } else { None });
    let chain: Vec<Vec<u8>> = chain.collect();
    let anchors = anchors(script.ca.as_ref().ok_or("no ca")?)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let key = adit_pki::verify_server(&chain, &anchors, &named, WallTime(now)).map_err(|e| e.to_string())?;
    let (schemes, data, encoding): (&[SignatureScheme], &[u8], EcdsaEncoding) = match auth.method {
        AuthMethod::ECDSA_P256_SHA256 => {
            (&[SignatureScheme::EcdsaP256Sha256], &auth.data, EcdsaEncoding::Fixed)
        }
        AuthMethod::ECDSA_P384_SHA384 => {
            (&[SignatureScheme::EcdsaP384Sha384], &auth.data, EcdsaEncoding::Fixed)
        }
        AuthMethod::DIGITAL_SIGNATURE => {
            let (identifier, signature) = auth.as_digital_signature().map_err(|e| e.to_string())?;
            (signature::schemes(identifier), signature, EcdsaEncoding::Der)
        }
        other => return Err(format!("the server's AUTH is of method {}", other.0)),
    };
    let is_right = |scheme: &&SignatureScheme| key.verify(**scheme, octets.expose(), data, encoding).is_ok();
    let scheme = schemes.iter().find(is_right).ok_or("the server's signature is wrong")?;
    println!("the server's AUTH: method {}, {scheme:?}, {} certificates", auth.method.0, chain.len());
    Ok(())
}
