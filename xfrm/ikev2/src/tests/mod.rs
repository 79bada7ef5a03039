//! Both roles against each other, and each against a scripted peer that has the keys and no manners.

mod abuse;
mod certificates;
mod create_child;
mod create_ike;
mod eap;
mod established;
mod exchanges;
mod followup;
mod fragments;
mod handshake;
mod hostile_initiator;
mod hostile_responder;
mod intermediate;
mod intermediate_keys;
mod lifetimes;
mod limits;
mod messages;
mod mobike;
mod ppk;
mod rekey_child;
mod rekey_ike;
mod resume;
mod script;
mod session;
mod several;
mod snapshot;
mod uniqueness;

use std::sync::Arc;

use core::net::SocketAddr;
use core::time::Duration;

use adit_core::{
    Entropy, Failure, FailureCode, Identity, Instant, Path, Prefix, Secret, SignatureScheme, Step,
    TrafficSelector, Transmit,
};
use adit_isakmp::crypto::CryptoProvider;
use adit_sim::crypto::ToyCrypto;

use crate::Endpoint;
use crate::api::*;

/// Bytes that count.
struct Counting(u64);

impl Entropy for Counting {
    fn public(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = self.0.to_be_bytes()[0];
        }
    }

    fn secret(&mut self, out: &mut [u8]) {
        self.public(out);
    }
}

fn name(text: &str) -> Identity {
    text.parse().unwrap()
}

fn ts(text: &str) -> TrafficSelector {
    text.parse::<Prefix>().unwrap().into()
}

const CLIENT: &str = "192.0.2.7:500";
const SERVER: &str = "198.51.100.1:500";
const IKE: &str = "aes256gcm16-prfsha256-x25519";

fn refused(text: &str) -> Failure {
    Failure::new(FailureCode::KernelRefused, Step::Kernel, text)
}

/// One end with a driver that answers at once.
struct Node {
    endpoint: Endpoint,
    crypto: Arc<ToyCrypto>,
    address: SocketAddr,
    psk: &'static [u8],
    /// For peers that nobody knows.
    unknown_psk: &'static [u8],
    /// Its certificates, whose keys are the same to the toy.
    certificates: &'static [&'static [u8]],
    /// The postquantum preshared keys that it has, by name.
    ppks: &'static [(&'static str, &'static str)],
    /// The name of an Ask to say no to.
    refuse: &'static str,
    /// The name of an Ask not to answer by itself.
    silent: &'static str,
    connection: fn() -> ResponderConfig,
    /// The EAP method that it speaks.
    eap: eap::Toy,
    /// The last Ask that was not answered, and what would have been said.
    held: Option<(AskId, Answer)>,
    /// Whether it was told to close something.
    ends: bool,
    asked: Vec<String>,
    verified: Vec<Vec<Vec<u8>>>,
    /// What each [`Ask::Agree`] gave.
    agreed: Vec<Secret>,
    children: Vec<ChildSa>,
    events: Vec<(SaId, Event)>,
    sent: Vec<Transmit>,
    spi: u32,
}

impl Node {
    fn new(address: &str, seed: u64, responder: Option<ResponderDefaults>) -> Self {
        let crypto = Arc::new(ToyCrypto::new(seed));
        let provider = Arc::clone(&crypto) as Arc<dyn CryptoProvider>;
        Self {
            endpoint: Endpoint::new(provider, Box::new(Counting(seed)), responder),
            crypto,
            address: address.parse().unwrap(),
            psk: b"a good key",
            unknown_psk: b"a key that nobody has",
            certificates: if address == SERVER { &[b"server cert"] } else { &[b"client cert"] },
            ppks: &[],
            refuse: "",
            silent: "",
            connection,
            eap: eap::Toy::default(),
            held: None,
            ends: false,
            asked: Vec::new(),
            verified: Vec::new(),
            agreed: Vec::new(),
            children: Vec::new(),
            events: Vec::new(),
            sent: Vec::new(),
            spi: u32::try_from(seed).unwrap() * 0x1_0000,
        }
    }

    fn client() -> Self {
        Self::new(CLIENT, 1, None)
    }

    fn server() -> Self {
        Self::new(SERVER, 2, Some(defaults()))
    }

    fn give(&mut self, now: Instant, input: Input) {
        self.ends |= matches!(input, Input::Close { .. });
        self.endpoint.handle(now, input);
        self.drain(now);
    }

    fn dial(&mut self, now: Instant, config: InitiatorConfig) -> SaId {
        let sa = self.endpoint.initiate(now, config);
        self.drain(now);
        sa
    }

    fn drain(&mut self, now: Instant) {
        while let Some(output) = self.endpoint.poll() {
            match output {
                Output::Transmit(transmit) => self.sent.push(transmit),
                Output::Event { sa, event } => {
                    self.no_gap(&event);
                    self.events.push((sa, event));
                }
                Output::Ask { id, ask, .. } => {
                    let name = format!("{ask:?}");
                    let refuse = name == self.refuse;
                    let silent = name == self.silent;
                    self.asked.push(name);
                    let answer = self.act(ask, refuse);
                    if silent {
                        self.held = Some((id, answer));
                    } else {
                        self.endpoint.handle(now, Input::Answer { id, answer });
                    }
                }
            }
        }
    }

    /// What carries in a CHILD_SA's place can send before that one goes.
    fn no_gap(&self, event: &Event) {
        let Event::ChildClosed { child, replaced_by: Some(heir), .. } = event else {
            return;
        };
        let sends = |id: &ChildId| self.children.iter().any(|c| c.child == *id && c.outbound.is_some());
        assert!(
            self.ends || sends(heir) || !sends(child),
            "nothing can be sent between {child:?} and {heir:?}"
        );
    }

    fn act(&mut self, ask: Ask, refuse: bool) -> Answer {
        let crypto = Arc::clone(&self.crypto);
        let no = || refused("no");
        match ask {
            Ask::Generate(method) => Answer::Generated(crypto.generate(method)),
            Ask::Agree { key, peer } => {
                let shared = key.agree(&peer);
                self.agreed.extend(shared.iter().map(|s| Secret::from(s.expose())));
                Answer::Agreed(shared)
            }
            Ask::Encapsulate { method, peer } => Answer::Encapsulated(crypto.encapsulate(method, &peer)),
            Ask::Connection { .. } | Ask::Resume { .. } => Answer::Connection(self.chosen(refuse)),
            Ask::Eap { .. } if refuse => Answer::Eap(Err(no())),
            Ask::Eap { packet } => Answer::Eap(Ok(self.eap.step(packet.as_deref(), self.connection))),
            Ask::Psk { .. } if refuse => Answer::Psk(Err(no())),
            Ask::Psk { local, remote } => {
                let known = [&local, &remote].iter().all(|id| !id.to_string().starts_with("nobody"));
                Answer::Psk(Ok(Secret::from(if known { self.psk } else { self.unknown_psk })))
            }
            Ask::Ppk { .. } if refuse => Answer::Ppk(Err(no())),
            Ask::Ppk { id, .. } => {
                let found = self.ppks.iter().find(|(name, _)| name.as_bytes() == id);
                Answer::Ppk(Ok(found.map(|(_, key)| Secret::from(key.as_bytes()))))
            }
            Ask::Verify { certificates, message, signature, .. } => {
                let good = signature == self.signature(&certificates[0], &message) && !refuse;
                self.verified.push(certificates);
                Answer::Verified(if good { Ok(()) } else { Err(no()) })
            }
            Ask::Sign { .. } if refuse => Answer::Signed(Err(no())),
            Ask::Sign { certificate, schemes, message, .. } => {
                let by = self.certificates[certificate];
                Answer::Signed(Ok((schemes[0], self.signature(by, &message))))
            }
            Ask::Lease { .. } if refuse => Answer::Leased(Err(no())),
            Ask::Lease { v4, v6, .. } => {
                let mut lease = lease();
                lease.domains = vec!["corp.example.com".into(), "lab.example.org".into()];
                lease.v4 = v4.filter(|a| !a.is_unspecified()).or(lease.v4);
                let asked = v6.filter(|a| !a.is_unspecified());
                lease.v6 = asked.map(|a| (a, 128)).or(lease.v6);
                Answer::Leased(Ok(lease))
            }
            Ask::AllocateSpi { .. } if refuse => Answer::Spi(Err(no())),
            Ask::AllocateSpi { .. } => {
                self.spi += 1;
                Answer::Spi(Ok(self.spi))
            }
            Ask::Install(_) if refuse => Answer::Installed(Err(no())),
            Ask::Install(child) => {
                self.children.push(*child);
                Answer::Installed(Ok(()))
            }
            Ask::InstallOutbound { .. } if refuse => Answer::Installed(Err(no())),
            Ask::InstallOutbound { child, keys } => {
                let pair = self.children.iter_mut().find(|c| c.child == child).expect("installed before");
                assert!(pair.outbound.replace(keys).is_none(), "twice");
                Answer::Installed(Ok(()))
            }
        }
    }

    fn chosen(&self, refuse: bool) -> Result<Box<ResponderConfig>, Failure> {
        if refuse { Err(refused("no")) } else { Ok(Box::new((self.connection)())) }
    }

    fn signature(&self, certificate: &[u8], message: &Secret) -> Vec<u8> {
        let mut out = vec![0; 32];
        self.crypto.prf(adit_isakmp::Prf::HmacSha256, certificate, &[message.expose()], &mut out);
        out
    }

    /// The CHILD_SAs that are up, as (inbound SPI, outbound SPI).
    fn up(&self) -> Vec<(u32, u32)> {
        let closed = |id| self.closed_children().iter().any(|(child, _)| *child == id);
        let up = self.children.iter().filter(|c| !closed(c.child));
        up.map(|c| (c.inbound_spi, c.outbound_spi)).collect()
    }

    /// The CHILD_SAs that are closed, and what replaced them.
    fn closed_children(&self) -> Vec<(ChildId, Option<ChildId>)> {
        let closed = |(_, e): &(SaId, Event)| match e {
            Event::ChildClosed { child, replaced_by, .. } => Some((*child, *replaced_by)),
            _ => None,
        };
        self.events.iter().filter_map(closed).collect()
    }

    /// The CHILD_SAs after the first one that came up, and what they replace.
    fn ups(&self) -> Vec<(ChildId, Option<ChildId>)> {
        let up = |(_, e): &(SaId, Event)| match e {
            Event::ChildUp(up) => Some((up.child, up.replaces)),
            _ => None,
        };
        self.events.iter().filter_map(up).collect()
    }

    /// How often its IKE_SA was rekeyed.
    fn rekeyed(&self) -> usize {
        self.events.iter().filter(|(_, e)| matches!(e, Event::Rekeyed { .. })).count()
    }

    /// Asks for a rekey of the IKE_SA.
    fn rekey_ike(&mut self, now: Instant) {
        let sa = self.sa();
        self.give(now, Input::Rekey { sa, child: None });
    }

    /// Its IKE_SA.
    fn sa(&self) -> SaId {
        self.events[0].0
    }

    /// Asks for a rekey of the newest CHILD_SA.
    fn rekey(&mut self, now: Instant) {
        let (sa, child) = (self.sa(), self.children.last().map(|c| c.child));
        self.give(now, Input::Rekey { sa, child });
    }

    /// Everything that was sent since the last time.
    fn sent(&mut self) -> Vec<Transmit> {
        core::mem::take(&mut self.sent)
    }

    fn one(&mut self) -> Transmit {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    fn established(&self) -> Option<&Established> {
        self.events.iter().find_map(|(_, e)| match e {
            Event::Established(e) => Some(&**e),
            _ => None,
        })
    }

    fn closed(&self) -> Option<&Result<(), Failure>> {
        self.events.iter().find_map(|(_, e)| match e {
            Event::Closed(result) => Some(result),
            _ => None,
        })
    }

    fn failure(&self) -> &Failure {
        self.closed().expect("closed").as_ref().expect_err("a failure")
    }

    fn released(&self) -> usize {
        self.events.iter().filter(|(_, e)| matches!(e, Event::Released(_))).count()
    }

    /// Lets time pass to the next deadline.
    fn wake(&mut self) -> Instant {
        let (at, _) = self.endpoint.deadline().expect("a deadline");
        self.give(at, Input::Wake);
        at
    }
}

/// A transmit as it arrives.
fn arrives(transmit: &Transmit) -> Input {
    Input::Datagram {
        path: Path { local: transmit.path.remote, remote: transmit.path.local },
        payload: transmit.payload.clone(),
    }
}

/// Carries datagrams both ways until nobody sends any more.
fn carry(now: Instant, a: &mut Node, b: &mut Node) {
    loop {
        let (from_a, from_b) = (a.sent(), b.sent());
        if from_a.is_empty() && from_b.is_empty() {
            return;
        }
        from_a.iter().for_each(|t| b.give(now, arrives(t)));
        from_b.iter().for_each(|t| a.give(now, arrives(t)));
    }
}

/// Lets both live on until `until`.
fn live(a: &mut Node, b: &mut Node, until: Instant) {
    while let Some((at, a_first)) = [(a.endpoint.deadline(), true), (b.endpoint.deadline(), false)]
        .into_iter()
        .filter_map(|(d, which)| Some((d?.0, which)))
        .min()
        .filter(|(at, _)| *at <= until)
    {
        let node = if a_first { &mut *a } else { &mut *b };
        node.give(at, Input::Wake);
        carry(at, a, b);
    }
}

/// A client and a server that are up.
fn up() -> (Node, Node, SaId) {
    let (mut client, mut server) = (Node::client(), Node::server());
    let sa = client.dial(Instant::ZERO, config());
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(client.established().is_some(), "{:?}", client.events);
    assert!(server.established().is_some(), "{:?}", server.events);
    (client, server, sa)
}

fn lease() -> Lease {
    Lease {
        v4: Some("10.9.0.7".parse().unwrap()),
        v6: Some(("2001:db8:9::7".parse().unwrap(), 64)),
        dns: vec!["10.9.0.1".parse().unwrap(), "2001:db8:9::1".parse().unwrap()],
        domains: Vec::new(),
        subnets: Vec::new(),
    }
}

fn defaults() -> ResponderDefaults {
    ResponderDefaults {
        ike: vec![IKE.parse().unwrap()],
        cookie_threshold: 10,
        half_open_limit: 20,
        half_open_per_address: 5,
        limit: 100,
        authorities: Vec::new(),
        ppk: false,
        fragment_size: FRAGMENT_SIZE,
        timing: Timing::default(),
    }
}

fn connection() -> ResponderConfig {
    ResponderConfig {
        name: "clients".into(),
        local_id: name("vpn.example.com"),
        local_auth: LocalAuth::Psk,
        remote_auth: RemoteAuth::Psk,
        ppk: PpkUse::Off,
        esp: vec!["aes256gcm16".parse().unwrap()],
        local_ts: vec![ts("0.0.0.0/0"), ts("::/0")],
        remote_ts: Vec::new(),
        addresses: true,
        transport: false,
        uniqueness: Uniqueness::default(),
        mobike: None,
        ticket_lifetime: Duration::ZERO,
        timing: Timing::default(),
    }
}

fn config() -> InitiatorConfig {
    InitiatorConfig {
        path: Path { local: CLIENT.parse().unwrap(), remote: SERVER.parse().unwrap() },
        ike: vec![IKE.parse().unwrap()],
        esp: vec!["aes256gcm16".parse().unwrap()],
        local_id: name("ann@example.com"),
        remote_id: name("vpn.example.com"),
        local_auth: LocalAuth::Psk,
        remote_auth: RemoteAuth::Psk,
        ppk: None,
        request_v4: true,
        request_v6: true,
        request_domains: false,
        request_subnets: false,
        former: Default::default(),
        mode: ChildMode::Tunnel,
        more_children: Vec::new(),
        local_ts: vec![ts("0.0.0.0/0"), ts("::/0")],
        remote_ts: vec![ts("0.0.0.0/0"), ts("::/0")],
        shared_identity: false,
        force_encapsulation: false,
        mobike: None,
        resumable: false,
        ticket: None,
        fragment_size: FRAGMENT_SIZE,
        nat_port: 4500,
        local_nat_port: 4500,
        timing: Timing::default(),
    }
}

fn own_chain(owner: &[u8], schemes: &[SignatureScheme], authority: [u8; 20]) -> OwnChain {
    OwnChain {
        certificates: vec![owner.to_vec(), b"intermediate".to_vec()],
        schemes: schemes.to_vec(),
        authorities: vec![authority],
    }
}

fn by_certificate(owner: &[u8], schemes: &[SignatureScheme]) -> (LocalAuth, RemoteAuth) {
    let own = own_chain(owner, schemes, [9; 20]);
    let local = LocalAuth::Signature { own: vec![own] };
    let remote = RemoteAuth::Certificate { authorities: vec![[7; 20]] };
    (local, remote)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}
