//! Both roles with the product's own cryptography: every algorithm that it has, once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's own driver may fail loudly"
)]

use std::sync::Arc;

use adit_core::{Identity, Instant, Path, Prefix, Secret, TrafficSelector};
use adit_crypto::{OsEntropy, Provider};
use adit_ikev2::Endpoint;
use adit_ikev2::api::*;
use adit_isakmp::crypto::CryptoProvider;

struct Node {
    endpoint: Endpoint,
    crypto: Arc<Provider>,
    children: Vec<ChildSa>,
    established: Option<Established>,
}

impl Node {
    fn new(responder: Option<ResponderDefaults>) -> Self {
        let crypto = Arc::new(Provider::new());
        let provider = Arc::clone(&crypto) as Arc<dyn CryptoProvider>;
        Self {
            endpoint: Endpoint::new(provider, Box::new(OsEntropy::new()), responder),
            crypto,
            children: Vec::new(),
            established: None,
        }
    }

    /// Answers everything, and returns what is sent, as it arrives.
    fn drain(&mut self, esp: &str) -> Vec<Input> {
        let mut sent = Vec::new();
        while let Some(output) = self.endpoint.poll() {
            match output {
                Output::Transmit(t) => {
                    let path = Path { local: t.path.remote, remote: t.path.local };
                    sent.push(Input::Datagram { path, payload: t.payload });
                }
                Output::Ask { id, ask, .. } => {
                    let answer = self.answer(ask, esp);
                    self.endpoint.handle(Instant::ZERO, Input::Answer { id, answer });
                }
                Output::Event { event: Event::Established(e), .. } => self.established = Some(*e),
                Output::Event { .. } => {}
            }
        }
        sent
    }

    fn answer(&mut self, ask: Ask, esp: &str) -> Answer {
        match ask {
            Ask::Generate(method) => Answer::Generated(self.crypto.generate(method)),
            Ask::Agree { key, peer } => Answer::Agreed(key.agree(&peer)),
            Ask::Encapsulate { method, peer } => Answer::Encapsulated(self.crypto.encapsulate(method, &peer)),
            Ask::Connection { .. } => Answer::Connection(Ok(Box::new(connection(esp)))),
            Ask::Psk { .. } => Answer::Psk(Ok(Secret::from(&b"key"[..]))),
            Ask::AllocateSpi { .. } => Answer::Spi(Ok(0x1234_5678)),
            Ask::Install(child) => {
                self.children.push(*child);
                Answer::Installed(Ok(()))
            }
            Ask::InstallOutbound { .. } => Answer::Installed(Ok(())),
            other => panic!("{other:?}"),
        }
    }
}

fn any() -> Vec<TrafficSelector> {
    vec![Prefix::ANY_V4.into()]
}

fn name(text: &str) -> Identity {
    text.parse().unwrap()
}

fn connection(esp: &str) -> ResponderConfig {
    ResponderConfig {
        name: "all".into(),
        local_id: name("b.example.com"),
        local_auth: LocalAuth::Psk,
        remote_auth: RemoteAuth::Psk,
        ppk: PpkUse::Off,
        esp: vec![adit_isakmp::proposal::EspProposal::read(esp, true).unwrap()],
        local_ts: any(),
        remote_ts: any(),
        addresses: false,
        transport: false,
        uniqueness: Uniqueness::default(),
        mobike: None,
        ticket_lifetime: core::time::Duration::ZERO,
        timing: Timing::default(),
    }
}

fn up(ike: &str, esp: &str) -> (Node, Node) {
    let mut server = Node::new(Some(ResponderDefaults {
        ike: vec![adit_isakmp::proposal::IkeProposal::read(ike, true).unwrap()],
        cookie_threshold: 0,
        half_open_limit: 10,
        half_open_per_address: 10,
        limit: 10,
        authorities: Vec::new(),
        ppk: false,
        fragment_size: FRAGMENT_SIZE,
        timing: Timing::default(),
    }));
    let mut client = Node::new(None);
    let config = InitiatorConfig {
        path: Path { local: "192.0.2.1:500".parse().unwrap(), remote: "192.0.2.2:500".parse().unwrap() },
        ike: vec![adit_isakmp::proposal::IkeProposal::read(ike, true).unwrap()],
        esp: vec![adit_isakmp::proposal::EspProposal::read(esp, true).unwrap()],
        local_id: name("a.example.com"),
        remote_id: name("b.example.com"),
        local_auth: LocalAuth::Psk,
        remote_auth: RemoteAuth::Psk,
        ppk: None,
        request_v4: false,
        request_v6: false,
        request_domains: false,
        request_subnets: false,
        former: Default::default(),
        mode: ChildMode::Tunnel,
        more_children: Vec::new(),
        local_ts: any(),
        remote_ts: any(),
        shared_identity: false,
        resumable: false,
        ticket: None,
        force_encapsulation: false,
        mobike: None,
        fragment_size: FRAGMENT_SIZE,
        nat_port: 4500,
        local_nat_port: 4500,
        timing: Timing::default(),
    };
    client.endpoint.initiate(Instant::ZERO, config);
    loop {
        let up = client.drain(esp);
        let down = server.drain(esp);
        if up.is_empty() && down.is_empty() {
            return (client, server);
        }
        up.into_iter().for_each(|input| server.endpoint.handle(Instant::ZERO, input));
        down.into_iter().for_each(|input| client.endpoint.handle(Instant::ZERO, input));
    }
}

#[test]
fn every_algorithm_of_the_product_brings_a_tunnel_up() {
    let suites = [
        ("aes256gcm16-prfsha256-x25519", "aes256gcm16"),
        ("aes128gcm16-prfsha384-ecp256", "aes128gcm16"),
        ("chacha20poly1305-prfsha512-ecp384", "chacha20poly1305"),
        ("aes128-sha256-modp2048", "aes128-sha256"),
        ("aes256-sha384-modp3072", "aes256-sha384"),
        ("aes256-sha512-x25519", "aes256-sha512"),
        ("aes192-sha256-modp4096", "aes192-sha256"),
        ("aes192gcm16-prfsha256-ecp521", "aes192gcm16"),
        ("aes256gcm16-prfsha384-mlkem768", "aes256gcm16"),
        ("aes256gcm16-prfsha384-x25519-ke1_mlkem768", "aes256gcm16"),
        ("aes256-sha256-ecp256-ke1_mlkem1024-ke2_x25519", "aes256-sha256"),
        ("aes256-sha1-modp8192", "aes256-sha1"),
        ("3des-sha1-modp1024", "3des-sha1"),
    ];
    for (ike, esp) in suites {
        let (client, server) = up(ike, esp);
        let (c, s) = (client.established.expect(ike), server.established.expect(ike));
        assert_eq!((c.ike, c.esp), (s.ike, s.esp));
        let (c, s) = (&client.children[0], &server.children[0]);
        for (ours, theirs) in
            [(&c.inbound, s.outbound.as_ref().unwrap()), (c.outbound.as_ref().unwrap(), &s.inbound)]
        {
            assert!(ours.encryption.equals(theirs.encryption.expose()), "{ike}");
            assert!(ours.integrity.equals(theirs.integrity.expose()), "{ike}");
            assert!(!ours.encryption.is_empty());
        }
    }
}
