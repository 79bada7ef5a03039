//! Our end of a case: an `Endpoint`, a driver that answers at once, and the transcript.

use std::sync::Arc;

use adit_core::{
    Entropy, Failure, FailureCode, Instant, Path, Prefix, Secret, Step as At, TrafficSelector, Transmit,
};
use adit_ikev2::Endpoint;
use adit_ikev2::api::{
    Answer, Ask, ChildId, ChildMode, Event, InitiatorConfig, Input, Lease, LocalAuth, Output, PpkRule,
    PpkUse, RemoteAuth, ResponderConfig, ResponderDefaults, SaId, Timer, Timing, Uniqueness,
};
use adit_isakmp::ExchangeType;
use adit_isakmp::crypto::CryptoProvider;
use adit_isakmp::proposal::{EspProposal, IkeProposal};
use adit_sim::crypto::ToyCrypto;

use crate::case::{Case, Role, Step};
use crate::peer::{Peer, Protection};
use crate::{told, words};

const CLIENT: &str = "192.0.2.7";
const SERVER: &str = "198.51.100.1";
const PSK: &[u8] = b"a good key";
const PPK_ID: &[u8] = b"staff";

/// Bytes that are the same in every run.
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

/// What a case needs of its file again and again.
struct Settings {
    role: Role,
    ike: Vec<IkeProposal>,
    esp: Vec<EspProposal>,
    local_ts: Vec<TrafficSelector>,
    remote_ts: Vec<TrafficSelector>,
    request_v4: bool,
    request_v6: bool,
    request_domains: bool,
    addresses: bool,
    force_encapsulation: bool,
    ppk: PpkUse,
    refuse: String,
}

/// Our end.
pub(crate) struct End {
    endpoint: Endpoint,
    crypto: Arc<ToyCrypto>,
    settings: Settings,
    peer: Peer,
    /// From the peer to us.
    path: Path,
    now: Instant,
    sa: Option<SaId>,
    child: Option<ChildId>,
    spi: u32,
    /// Everything that the peer has sent.
    sent: Vec<(Path, Vec<u8>)>,
    out: String,
}

impl End {
    pub(crate) fn new(case: &Case) -> Result<Self, String> {
        let settings = Settings::read(case)?;
        let crypto = Arc::new(ToyCrypto::new(5));
        let provider = Arc::clone(&crypto) as Arc<dyn CryptoProvider>;
        let defaults = ResponderDefaults {
            ike: settings.ike.clone(),
            cookie_threshold: case.cookie_threshold,
            half_open_limit: 20,
            fragment_size: adit_ikev2::api::FRAGMENT_SIZE,
            half_open_per_address: 5,
            limit: 100,
            authorities: Vec::new(),
            ppk: settings.ppk != PpkUse::Off,
            timing: Timing::default(),
        };
        let (peer_is, from, to) = match case.role {
            Role::Responder => (Role::Initiator, CLIENT, SERVER),
            Role::Initiator => (Role::Responder, SERVER, CLIENT),
        };
        let defaults = (case.role == Role::Responder).then_some(defaults);
        Ok(Self {
            endpoint: Endpoint::new(provider, Box::new(Counting(5)), defaults),
            crypto,
            settings,
            peer: Peer::new(peer_is),
            path: Path { local: address(from)?, remote: address(to)? },
            now: Instant::ZERO,
            sa: None,
            child: None,
            spi: 0x0505_0000,
            sent: Vec::new(),
            out: String::new(),
        })
    }

    /// One step of the case.
    pub(crate) fn step(&mut self, step: &Step) -> Result<(), String> {
        if let Some(act) = &step.act {
            return self.act_of_person(act);
        }
        if let Some(count) = step.wake {
            for _ in 0..count {
                let Some((at, why)) = self.endpoint.deadline() else {
                    return Err("there is no deadline".into());
                };
                self.now = at;
                // Retransmission and rekeys have random times.
                let exact = !matches!(why, Timer::Retransmit | Timer::Rekey);
                let seconds = exact.then(|| format!(", {} s", at.since(Instant::ZERO).as_secs()));
                self.line(&format!("time: {why:?}{}", seconds.unwrap_or_default()));
                self.endpoint.handle(at, Input::Wake);
                self.drain()?;
            }
            return Ok(());
        }
        let mut path = self.path;
        if let Some(from) = &step.from {
            path.local = from.parse().map_err(|_| format!("{from:?} is no address"))?;
        }
        if let Some(port) = step.to_port {
            path.remote.set_port(port);
        }
        let (shown, datagrams) = self.datagrams(step, path)?;
        self.line(&format!("peer: {shown}"));
        for bytes in datagrams {
            self.sent.push((path, bytes.clone()));
            self.arrives(path, bytes)?;
        }
        Ok(())
    }

    fn datagrams(&mut self, step: &Step, path: Path) -> Result<(String, Vec<Vec<u8>>), String> {
        if let Some(back) = step.again {
            let at = self.sent.len().checked_sub(back.saturating_add(1)).and_then(|i| self.sent.get(i));
            let (_, bytes) = at.ok_or("the peer has not sent so much")?;
            return Ok(("the same again".into(), vec![bytes.clone()]));
        }
        if let Some(hex) = &step.hex {
            let bytes = words::hex(hex)?;
            return Ok((format!("{} bytes", bytes.len()), vec![bytes]));
        }
        let name = step.send.as_ref().ok_or("a step is send, hex, again, act or wake")?;
        let exchange = ExchangeType::NAMED.iter().copied().find(|e| e.name() == Some(name));
        let exchange = match exchange {
            Some(exchange) => exchange,
            None => ExchangeType(name.parse().map_err(|_| format!("no exchange {name:?}"))?),
        };
        let mut payloads = Vec::new();
        for line in &step.payloads {
            payloads.extend(words::payloads(&mut self.peer, path, PSK, line)?);
        }
        let kind = if step.response { "response" } else { "request" };
        let odd = if step.bytes.is_empty() && step.cut.is_none() { "" } else { ", damaged" };
        let clear = if step.clear { ", in clear" } else { "" };
        let shown = format!("{name} {kind}{clear}{odd}: {}", step.payloads.join("; "));
        let protection = if step.clear { Protection::Clear } else { Protection::of(step.fragment) };
        let mut datagrams = self.peer.message(exchange, step.response, step.id, protection, payloads)?;
        let cut = (datagrams.len() > 1).then(|| format!(" ({} fragments)", datagrams.len()));
        for bytes in &mut datagrams {
            for (at, value) in &step.bytes {
                *bytes.get_mut(*at).ok_or("the message is shorter")? = *value;
            }
            bytes.truncate(step.cut.unwrap_or(usize::MAX));
        }
        Ok((shown + &cut.unwrap_or_default(), datagrams))
    }

    fn arrives(&mut self, path: Path, payload: Vec<u8>) -> Result<(), String> {
        let path = Path { local: path.remote, remote: path.local };
        self.endpoint.handle(self.now, Input::Datagram { path, payload });
        self.drain()
    }

    fn act_of_person(&mut self, act: &str) -> Result<(), String> {
        self.line(&format!("person: {act}"));
        if act == "dial" {
            let path = Path { local: self.path.remote, remote: self.path.local };
            self.sa = Some(self.endpoint.initiate(self.now, self.settings.initiator(path)?));
            return self.drain();
        }
        let sa = self.sa.ok_or("there is no IKE_SA")?;
        let child = self.child;
        let input = match act {
            "close" => Input::Close { sa },
            "close-child" => Input::CloseChild { sa, child: child.ok_or("there is no CHILD_SA")? },
            "rekey-ike" => Input::Rekey { sa, child: None },
            "rekey-child" => Input::Rekey { sa, child: Some(child.ok_or("there is no CHILD_SA")?) },
            _ => return Err(format!("no act {act:?}")),
        };
        self.endpoint.handle(self.now, input);
        self.drain()
    }

    fn drain(&mut self) -> Result<(), String> {
        while let Some(output) = self.endpoint.poll() {
            match output {
                Output::Transmit(transmit) => self.transmit(&transmit),
                Output::Event { sa, event } => self.event(sa, &event),
                Output::Ask { id, ask, .. } => {
                    let name = format!("{ask:?}");
                    self.line(&format!("adit: asks {name}"));
                    let answer = self.answer(ask, name == self.settings.refuse)?;
                    self.endpoint.handle(self.now, Input::Answer { id, answer });
                }
            }
        }
        Ok(())
    }

    fn transmit(&mut self, transmit: &Transmit) {
        let shown = if transmit.payload == [0xff] {
            "a NAT keepalive".into()
        } else {
            match self.peer.hears(&transmit.payload) {
                Ok(message) => told::message(&message),
                Err(why) => format!("{} bytes that the peer can't read: {why}", transmit.payload.len()),
            }
        };
        self.line(&format!("adit: sends {} > {} {shown}", transmit.path.local, transmit.path.remote));
    }

    fn event(&mut self, sa: SaId, event: &Event) {
        let text = match event {
            Event::Progress(_) => return,
            Event::Incoming { path } => format!("incoming from {}", path.remote),
            Event::Established(e) => {
                (self.sa, self.child) = (Some(sa), Some(e.child));
                let ts = |list: &[TrafficSelector]| {
                    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
                };
                let nat = [(e.nat_local, ", behind a NAT"), (e.nat_remote, ", the peer behind a NAT")];
                let nat: String = nat.iter().filter(|(is, _)| *is).map(|(_, text)| *text).collect();
                let ppk = if e.ppk { " with a PPK" } else { "" };
                let esp = if e.encapsulated { "ESP in UDP" } else { "ESP" };
                format!(
                    "up: {} is {}; {}{ppk}; {}; {} to {}; {esp}{nat}",
                    e.path.remote,
                    e.remote_id,
                    e.ike,
                    e.esp,
                    ts(&e.local_ts),
                    ts(&e.remote_ts)
                )
            }
            Event::PathChanged { path, .. } => format!("the peer is now at {}", path.remote),
            // The algorithms stand in "up".
            Event::PathProbed { .. } | Event::Unanswered { .. } | Event::Agreed(_) => return,
            Event::PathRefused { path } => format!("the peer is not to be had at {}", path.remote),
            Event::PathDead => "the path is dead".into(),
            Event::PeerAddresses { addresses } => format!("the peer can be had at {addresses:?}"),
            Event::ChildClosed { inbound_spi, outbound_spi, replaced_by, .. } => {
                let why = if replaced_by.is_some() { "replaced" } else { "closed" };
                format!("CHILD_SA {inbound_spi:08x} {outbound_spi:08x} is {why}")
            }
            Event::ChildUp(c) => {
                self.child = Some(c.child);
                let place = if c.replaces.is_some() { ", in another's place" } else { "" };
                format!("CHILD_SA up: {}{place}", c.esp)
            }
            Event::ChildRefused { name, why } => format!("no CHILD_SA {name}: {}", why.text),
            Event::RekeyRefused { child, why } => {
                let what = if child.is_some() { "CHILD_SA" } else { "IKE_SA" };
                format!("{what} not rekeyed: {}", why.text)
            }
            Event::Rekeyed { ike } => format!("rekeyed: {ike}"),
            Event::ReauthenticationDue => "reauthentication is due".into(),
            Event::Ticket(_) => "a ticket came".into(),
            Event::NotResumed(why) => format!("not resumed: {}", why.text),
            Event::Released(_) => "the addresses are free".into(),
            Event::Closed(Ok(())) => "closed".into(),
            Event::Closed(Err(why)) => format!("failed: {} [{:?}]", without_seconds(&why.text), why.code),
        };
        self.line(&format!("adit: {text}"));
    }

    fn answer(&mut self, ask: Ask, refuse: bool) -> Result<Answer, String> {
        let crypto = Arc::clone(&self.crypto);
        let no = || Failure::new(FailureCode::KernelRefused, At::Kernel, "the case says no");
        Ok(match ask {
            Ask::Generate(method) => Answer::Generated(crypto.generate(method)),
            Ask::Agree { key, peer } => Answer::Agreed(key.agree(&peer)),
            Ask::Encapsulate { method, peer } => Answer::Encapsulated(crypto.encapsulate(method, &peer)),
            Ask::Connection { .. } | Ask::Resume { .. } if refuse => Answer::Connection(Err(no())),
            Ask::Connection { .. } | Ask::Resume { .. } => {
                Answer::Connection(Ok(Box::new(self.settings.responder()?)))
            }
            Ask::Eap { .. } => Answer::Eap(Err(no())),
            Ask::Psk { .. } if refuse => Answer::Psk(Err(no())),
            Ask::Psk { .. } => Answer::Psk(Ok(Secret::from(PSK))),
            Ask::Ppk { id, .. } => Answer::Ppk(Ok((id == PPK_ID).then(|| Secret::from(words::PPK)))),
            Ask::Verify { .. } => Answer::Verified(Err(no())),
            Ask::Sign { .. } => Answer::Signed(Err(no())),
            Ask::Lease { .. } if refuse => Answer::Leased(Err(no())),
            Ask::Lease { v4, v6, .. } => Answer::Leased(Ok(Lease {
                v4: v4.map(|_| [10, 9, 0, 7].into()),
                v6: v6.map(|_| ([0x2001, 0xdb8, 9, 0, 0, 0, 0, 7].into(), 64)),
                dns: vec![[10, 9, 0, 1].into()],
                domains: vec!["corp.example.com".into(), "lab.example.org".into()],
                subnets: Vec::new(),
            })),
            Ask::AllocateSpi { .. } if refuse => Answer::Spi(Err(no())),
            Ask::AllocateSpi { .. } => {
                self.spi = self.spi.wrapping_add(1);
                Answer::Spi(Ok(self.spi))
            }
            Ask::Install(_) if refuse => Answer::Installed(Err(no())),
            Ask::Install(_) | Ask::InstallOutbound { .. } => Answer::Installed(Ok(())),
        })
    }

    /// The transcript, with what is left at the end.
    pub(crate) fn finish(mut self) -> String {
        let c = self.endpoint.counters();
        let state = format!(
            "end: {} IKE_SAs, {} half-open, {} up; stray {}, forged {}, ignored {}, refused {}, cookies {}, repeated {}",
            self.endpoint.len(),
            self.endpoint.half_open(),
            self.endpoint.established(),
            c.stray,
            c.forged,
            c.ignored,
            c.refused,
            c.cookies,
            c.repeated
        );
        self.line(&state);
        self.out
    }

    fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }
}

impl Settings {
    fn read(case: &Case) -> Result<Self, String> {
        let ike: Result<Vec<_>, _> = case.ike.iter().map(|t| IkeProposal::read(t, true)).collect();
        let esp: Result<Vec<_>, _> = case.esp.iter().map(|t| EspProposal::read(t, true)).collect();
        let ts = |list: &[String]| -> Result<Vec<TrafficSelector>, String> {
            let one =
                |t: &String| t.parse::<Prefix>().map(Into::into).map_err(|_| format!("no prefix {t:?}"));
            list.iter().map(one).collect()
        };
        Ok(Self {
            role: case.role,
            ike: ike.map_err(|e| e.to_string())?,
            esp: esp.map_err(|e| e.to_string())?,
            local_ts: ts(&case.local_ts)?,
            remote_ts: ts(&case.remote_ts)?,
            request_v4: case.request.iter().any(|r| r == "v4"),
            request_v6: case.request.iter().any(|r| r == "v6"),
            request_domains: case.request.iter().any(|r| r == "domains"),
            addresses: case.addresses,
            force_encapsulation: case.force_encapsulation,
            ppk: match case.ppk.as_str() {
                "" => PpkUse::Off,
                "optional" => PpkUse::Optional,
                "required" => PpkUse::Required,
                other => return Err(format!("no ppk {other:?}")),
            },
            refuse: case.refuse.clone(),
        })
    }

    fn initiator(&self, path: Path) -> Result<InitiatorConfig, String> {
        if self.role != Role::Initiator {
            return Err("in this case Adit is the responder".into());
        }
        Ok(InitiatorConfig {
            path,
            ike: self.ike.clone(),
            esp: self.esp.clone(),
            local_id: name("ann@example.com")?,
            remote_id: name("vpn.example.com")?,
            local_auth: LocalAuth::Psk,
            remote_auth: RemoteAuth::Psk,
            ppk: (self.ppk != PpkUse::Off)
                .then(|| PpkRule { id: PPK_ID.to_vec(), required: self.ppk == PpkUse::Required }),
            resumable: false,
            ticket: None,
            request_v4: self.request_v4,
            request_v6: self.request_v6,
            request_domains: self.request_domains,
            request_subnets: false,
            former: Default::default(),
            mode: ChildMode::Tunnel,
            more_children: Vec::new(),
            local_ts: self.local_ts.clone(),
            remote_ts: self.remote_ts.clone(),
            shared_identity: false,
            force_encapsulation: self.force_encapsulation,
            mobike: None,
            fragment_size: adit_ikev2::api::FRAGMENT_SIZE,
            nat_port: 4500,
            local_nat_port: 4500,
            timing: Timing::default(),
        })
    }

    fn responder(&self) -> Result<ResponderConfig, String> {
        Ok(ResponderConfig {
            name: "clients".into(),
            local_id: name("vpn.example.com")?,
            local_auth: LocalAuth::Psk,
            remote_auth: RemoteAuth::Psk,
            ppk: self.ppk,
            esp: self.esp.clone(),
            local_ts: self.local_ts.clone(),
            remote_ts: self.remote_ts.clone(),
            addresses: self.addresses,
            transport: false,
            uniqueness: Uniqueness::default(),
            ticket_lifetime: core::time::Duration::ZERO,
            mobike: None,
            timing: Timing::default(),
        })
    }
}

/// "for 97 s" depends on random times.
fn without_seconds(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let is_number = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_digit());
    let is_unit = |w: Option<&&str>| w.is_some_and(|w| w.trim_end_matches(')') == "s");
    let shown = words
        .iter()
        .enumerate()
        .map(|(i, word)| if is_number(word) && is_unit(words.get(i.saturating_add(1))) { "…" } else { word });
    shown.collect::<Vec<_>>().join(" ")
}

fn name(text: &str) -> Result<adit_core::Identity, String> {
    text.parse().map_err(|_| format!("no identity {text:?}"))
}

fn address(text: &str) -> Result<core::net::SocketAddr, String> {
    Ok(core::net::SocketAddr::new(text.parse().map_err(|_| format!("no address {text:?}"))?, 500))
}
