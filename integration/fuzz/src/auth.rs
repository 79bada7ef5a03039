//! What comes from whoever wants in, or says that it lets us in: EAP packets, TLS within EAP, RADIUS.

use adit_auth::eap::{
    Authenticator, AuthenticatorConfig, AuthenticatorStep, Binding, Code, InnerConfig, Method, Packet, Peer,
    PeerConfig, PeerStep, TlsAnswer, TlsVersion, TtlsInner, Tunnel, emit,
};
use adit_auth::radius::{Client, Input, Packet as Radius, Query, QueryId, Server, ServerId, dynamic};
use adit_core::{Entropy, Instant, Secret};

struct Zero;

impl Entropy for Zero {
    fn public(&mut self, out: &mut [u8]) {
        out.fill(0);
    }

    fn secret(&mut self, out: &mut [u8]) {
        out.fill(0);
    }
}

/// An EAP packet, and what both sides make of it.
pub fn eap_packet(data: &[u8]) {
    if let Ok(packet) = Packet::parse(data) {
        let written = emit(packet.code, packet.identifier, packet.method, packet.data);
        assert_eq!(Packet::parse(&written), Ok(packet));
    }
    let every = [Method::MSCHAPV2, Method::MD5, Method::GTC, Method::TLS, Method::TTLS, Method::PEAP];
    let mut peer = peer(&every, TtlsInner::MsChapV2);
    take(&mut peer, data, &[]);
    let (mut server, _) = Authenticator::begin(&mut Zero, config(&every));
    serve(&mut server, data, &[]);
}

/// A conversation of a method that runs TLS: what comes outside, in fragments, and what an engine says came inside.
///
/// The first octet chooses; then each turn is a length, what is outside, a length, what is inside.
pub fn eap_tls(data: &[u8]) {
    let Some((choice, mut rest)) = data.split_first() else { return };
    let method = [Method::TLS, Method::TTLS, Method::PEAP][usize::from(choice & 3) % 3];
    let ttls = [TtlsInner::MsChapV2, TtlsInner::Pap, TtlsInner::Eap][usize::from(choice >> 2 & 3) % 3];
    let version = if choice & 0x10 == 0 { TlsVersion::Tls12 } else { TlsVersion::Tls13 };
    let mut peer = peer(&[method], ttls);
    let (mut server, first) = Authenticator::begin(&mut Zero, config(&[method]));
    let identifier = first.get(1).copied().unwrap_or_default();
    serve(&mut server, &emit(Code::Response, identifier, Some(Method::IDENTITY), b"ann"), &[]);
    take(&mut peer, &emit(Code::Request, 1, Some(method), &[0x20]), &[(version, Vec::new())]);
    for n in 0..40_u8 {
        let Some(outside) = part(&mut rest) else { return };
        let inside = part(&mut rest).unwrap_or_default();
        let answers = [(version, inside.to_vec())];
        take(&mut peer, &emit(Code::Request, n.wrapping_add(2), Some(method), outside), &answers);
        let response =
            emit(Code::Response, identifier.wrapping_add(n).wrapping_add(1), Some(method), outside);
        serve(&mut server, &response, &answers);
    }
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first()?;
    let (part, after) = after.split_at(usize::from(*length).min(after.len()));
    *rest = after;
    Some(part)
}

fn inner(ttls: TtlsInner) -> InnerConfig {
    let methods = vec![Method::MSCHAPV2, Method::GTC, Method::MD5];
    InnerConfig { methods, ttls, binding: Binding::Offered }
}

fn peer(methods: &[Method], ttls: TtlsInner) -> Peer {
    let (identity, user) = ("anonymous".to_owned(), "ann".to_owned());
    Peer::new(PeerConfig { identity, user, methods: methods.to_vec(), inner: inner(ttls) })
}

fn config(methods: &[Method]) -> AuthenticatorConfig {
    let inner = inner(TtlsInner::MsChapV2);
    AuthenticatorConfig { methods: methods.to_vec(), inner, ..AuthenticatorConfig::new("vpn") }
}

type Inside = (TlsVersion, Vec<u8>);

/// An engine whose handshake is complete at once.
fn engine(answers: &[Inside]) -> TlsAnswer {
    let Some((version, said)) = answers.first() else { return TlsAnswer::default() };
    TlsAnswer {
        records: vec![7; 3000],
        plaintext: vec![Secret::from(&said[..])],
        exported: vec![Secret::from(&[1; 128][..]), Secret::from(&[2; 17][..])],
        tunnel: Some(Tunnel { version: *version, names: vec!["ann@example.com".to_owned()] }),
        failure: None,
    }
}

fn take(peer: &mut Peer, packet: &[u8], answers: &[Inside]) {
    let mut step = peer.packet(packet);
    for _ in 0..8 {
        step = match step {
            PeerStep::Ask(_) => peer.answer(&mut Zero, Ok(Secret::from(&b"secret"[..]))),
            PeerStep::Tls(_) => peer.tls(&mut Zero, engine(answers)),
            PeerStep::Send(packet) => {
                assert!(packet.len() <= 4000 && Packet::parse(&packet).is_ok());
                return;
            }
            PeerStep::Ended(_) | PeerStep::Ignore => return,
        };
    }
}

fn serve(server: &mut Authenticator, packet: &[u8], answers: &[Inside]) {
    let mut step = server.packet(&mut Zero, packet);
    for _ in 0..8 {
        step = match step {
            AuthenticatorStep::Ask(_) => server.user(&mut Zero, Ok(None)),
            AuthenticatorStep::Tls(_) => server.tls(&mut Zero, engine(answers)),
            AuthenticatorStep::Send(packet) => {
                assert!(packet.len() <= 4000 && Packet::parse(&packet).is_ok());
                return;
            }
            AuthenticatorStep::Ended(_, verdict) => {
                // A name that nobody knows gets in by a certificate only.
                assert!(verdict.is_err() || verdict.is_ok_and(|e| e.method == Method::TLS));
                return;
            }
            AuthenticatorStep::Ignore => return,
        };
    }
}

/// A RADIUS datagram: as an answer to a question of ours.
pub fn radius(data: &[u8]) {
    let _ = adit_auth::radius::Stream::default().feed(data);
    if let Ok(packet) = Radius::parse(data) {
        let total: usize = packet.attributes().map(|(_, _, value)| value.len() + 2).sum();
        assert!(total <= data.len());
    }
    let servers = vec![Server { name: "one".to_owned(), secret: Secret::from(&b"secret"[..]) }];
    let mut client = Client::new(servers, Box::new(Zero));
    let eap = Some(vec![2, 0, 0, 5, 1]);
    let query = Query::Access { attributes: Vec::new(), eap, password: None, state: None };
    client.handle(Instant::ZERO, Input::Ask(QueryId(1), Box::new(query)));
    let datagram = Input::Datagram { server: ServerId(0), socket: 0, payload: data };
    client.handle(Instant::ZERO, datagram);
    while client.poll().is_some() {}
    assert_eq!(client.open(), 1, "nobody without the secret answers");
    let asked = dynamic::Request::read(data, &Secret::from(&b"secret"[..]));
    assert!(!matches!(asked, Ok(Some(_))), "nobody without the secret asks");
}
