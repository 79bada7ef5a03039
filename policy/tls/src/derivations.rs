//! What an engine exports is what the RFCs derive: computed here from TLS's own secrets, which rustls gives to a log.

use std::sync::{Arc, Mutex};

use adit_auth::eap::TlsVersion;
use hmac::{Hmac, KeyInit, Mac};
use rustls::{ClientConnection, KeyLog};
use sha2::{Digest, Sha384};

use crate::{Engine, Versions, client};

#[path = "../tests/common/pki.rs"]
mod pki;

/// Label, the client's random, the secret.
type Line = (String, Vec<u8>, Vec<u8>);

#[derive(Default, Debug)]
struct Log(Mutex<Vec<Line>>);

impl KeyLog for Log {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        self.0.lock().unwrap().push((label.to_owned(), client_random.to_vec(), secret.to_vec()));
    }
}

struct Session {
    client: Engine,
    client_random: Vec<u8>,
    server_random: Vec<u8>,
    secret: Vec<u8>,
}

fn session(versions: Versions, label: &str) -> Session {
    let world = pki::world(versions, true);
    let log = Arc::new(Log::default());
    let (mut config, verifier) = client::config(&world.client).unwrap();
    config.key_log = Arc::clone(&log) as Arc<dyn KeyLog>;
    let connection =
        ClientConnection::new(Arc::new(config), client::server_name(&world.client.name)).unwrap();
    let mut client = Engine::new(connection.into(), Arc::clone(verifier.verdict()));
    let mut server = Engine::server(&world.server).unwrap();
    let mut server_random = None;
    for _ in 0..4 {
        server.feed(&client.records()).unwrap();
        let records = server.records();
        // Record header, handshake header, version; then the ServerHello's random.
        server_random = server_random.or_else(|| records.get(11..43).map(<[u8]>::to_vec));
        client.feed(&records).unwrap();
    }
    let log = log.0.lock().unwrap();
    let (_, client_random, secret) = log.iter().find(|(l, _, _)| l == label).unwrap().clone();
    Session { client, client_random, server_random: server_random.unwrap(), secret }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = <Hmac<Sha384> as KeyInit>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// P_SHA384 (RFC 5246 §5).
fn prf(secret: &[u8], seed: &[u8], length: usize) -> Vec<u8> {
    let (mut a, mut out) = (hmac(secret, &[seed]), Vec::new());
    while out.len() < length {
        out.extend(hmac(secret, &[&a, seed]));
        a = hmac(secret, &[&a]);
    }
    out.truncate(length);
    out
}

/// HKDF-Expand-Label (RFC 8446 §7.1).
fn expand_label(secret: &[u8], label: &str, context: &[u8], length: usize) -> Vec<u8> {
    let mut info = u16::try_from(length).unwrap().to_be_bytes().to_vec();
    info.push(u8::try_from(label.len() + 6).unwrap());
    info.extend(b"tls13 ");
    info.extend(label.as_bytes());
    info.push(u8::try_from(context.len()).unwrap());
    info.extend(context);
    let (mut out, mut last) = (Vec::new(), Vec::new());
    for n in 1_u8.. {
        if out.len() >= length {
            break;
        }
        last = hmac(secret, &[&last, &info, &[n]]);
        out.extend(&last);
    }
    out.truncate(length);
    out
}

#[test]
fn tls_1_2_as_rfc_5216_and_rfc_5281_have_it() {
    let session = session(Versions::Only12, "CLIENT_RANDOM");
    assert_eq!(session.client.tunnel().unwrap().version, TlsVersion::Tls12);
    for (label, length) in
        [("client EAP encryption", 128), ("ttls keying material", 128), ("ttls challenge", 17)]
    {
        let seed = [label.as_bytes(), &session.client_random, &session.server_random].concat();
        let ours = session.client.export(label, None, length).unwrap();
        assert!(ours.equals(&prf(&session.secret, &seed, length)), "{label}");
    }
}

#[test]
fn tls_1_3_as_rfc_9190_and_rfc_9427_have_it() {
    let session = session(Versions::Only13, "EXPORTER_SECRET");
    assert_eq!(session.client.tunnel().unwrap().version, TlsVersion::Tls13);
    // TLS-Exporter (RFC 8446 §7.5), for EAP-TLS, TTLS and PEAP by their Types.
    let exporter = |label: &str, context: &[u8], length| {
        let derived = expand_label(&session.secret, label, &Sha384::digest(b""), 48);
        expand_label(&derived, "exporter", &Sha384::digest(context), length)
    };
    for kind in [13, 21, 25] {
        let label = "EXPORTER_EAP_TLS_Key_Material";
        let ours = session.client.export(label, Some(&[kind]), 128).unwrap();
        assert!(ours.equals(&exporter(label, &[kind], 128)), "type {kind}");
    }
    let challenge = session.client.export("ttls challenge", None, 17).unwrap();
    assert!(challenge.equals(&exporter("ttls challenge", b"", 17)));
}
