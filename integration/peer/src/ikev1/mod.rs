//! `adit-peer --ikev1 FILE`: Adit's IKEv1 core on real sockets and a real kernel, without L2TP. It dials, or waits to be
//! dialled, with one pre-shared key; puts what comes up into the kernel by `ip`; and says what happens, a line each. It ends by
//! SIGTERM, or when the connection does.

mod kernel;

use std::{
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path as File,
    sync::Arc,
    time::{Duration, Instant as Clock},
};

use adit_core::{Entropy as _, Failure, FailureCode, Instant, Path, Prefix, Secret, Step, TrafficSelector};
use adit_crypto::{OsEntropy, Provider};
use adit_ikev1::{
    Endpoint,
    api::{
        Answer, Ask, Auth, AuthMethod, ChildMode, Event, InitiatorConfig, Input, Output, ResponderConfig,
        ResponderDefaults, Timing,
    },
};
use adit_isakmp::{
    crypto::CryptoProvider as _,
    proposal::{EspProposal, IkeProposal},
};
use nix::sys::signalfd::SignalFd;
use serde::Deserialize;

use kernel::Kernel;

/// What the file may say.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Script {
    /// Our address.
    local: IpAddr,
    /// Whom to dial; nobody where absent.
    server: Option<IpAddr>,
    /// Phase 1 proposals, legacy ones too.
    ike: Vec<String>,
    /// Phase 2 proposals.
    esp: Vec<String>,
    /// Who we are.
    local_id: String,
    /// Who the server has to be.
    remote_id: Option<String>,
    /// File with the pre-shared key.
    psk_file: String,
    /// Aggressive Mode.
    #[serde(default)]
    aggressive: bool,
    /// Transport mode's protocol: 1 is ICMP, 17 with port 1701 L2TP.
    protocol: u8,
    /// Its port at both ends; 0: any.
    #[serde(default)]
    port: u16,
    /// Seconds after which a CHILD_SA and the ISAKMP SA are rekeyed; 0: never.
    #[serde(default)]
    rekey_child: u64,
    /// The same of the ISAKMP SA.
    #[serde(default)]
    rekey_ike: u64,
}

impl Script {
    fn timing(&self) -> Timing {
        Timing {
            rekey_child: Duration::from_secs(self.rekey_child),
            rekey_ike: Duration::from_secs(self.rekey_ike),
            retransmit: Duration::from_secs(4),
            ..Timing::default()
        }
    }

    fn selector(&self) -> TrafficSelector {
        let any = if self.local.is_ipv4() { Prefix::ANY_V4 } else { Prefix::ANY_V6 };
        let last = if self.port == 0 { u16::MAX } else { self.port };
        let (protocol, first_port, last_port) = (self.protocol, self.port, last);
        TrafficSelector { protocol, first_port, last_port, ..any.into() }
    }

    fn proposals(&self) -> Result<(Vec<IkeProposal>, Vec<EspProposal>), String> {
        let ike = self.ike.iter().map(|p| IkeProposal::read(p, true).map_err(|e| e.to_string()));
        let esp = self.esp.iter().map(|p| EspProposal::read(p, true).map_err(|e| e.to_string()));
        Ok((ike.collect::<Result<_, _>>()?, esp.collect::<Result<_, _>>()?))
    }

    fn id(text: &str) -> Result<adit_core::Identity, String> {
        text.parse().map_err(|_| format!("{text:?}: no identity"))
    }

    fn initiator(&self, server: IpAddr) -> Result<InitiatorConfig, String> {
        let (ike, esp) = self.proposals()?;
        Ok(InitiatorConfig {
            path: Path { local: SocketAddr::new(self.local, 500), remote: SocketAddr::new(server, 500) },
            ike,
            esp,
            local_id: Self::id(&self.local_id)?,
            remote_id: self.remote_id.as_deref().map(Self::id).transpose()?,
            auth: Auth::Psk,
            aggressive: self.aggressive,
            mode: ChildMode::Transport,
            local_ts: self.selector(),
            remote_ts: self.selector(),
            fragment_size: 1280,
            force_encapsulation: false,
            nat_port: 4500,
            local_nat_port: 4500,
            timing: self.timing(),
        })
    }

    fn responder(&self) -> Result<(ResponderDefaults, ResponderConfig), String> {
        let (ike, esp) = self.proposals()?;
        let timing = self.timing();
        let defaults = ResponderDefaults {
            ike,
            auths: vec![AuthMethod::Psk],
            authorities: Vec::new(),
            addresses: Vec::new(),
            half_open_limit: 100,
            half_open_per_address: 10,
            limit: 100,
            fragment_size: 1280,
            timing,
        };
        let config = ResponderConfig {
            name: "lab".into(),
            local_id: Self::id(&self.local_id)?,
            own: Vec::new(),
            esp,
            mode: ChildMode::Transport,
            local_ts: vec![self.selector()],
            remote_ts: vec![self.selector()],
            timing,
        };
        Ok((defaults, config))
    }
}

struct Peer {
    endpoint: Endpoint,
    crypto: Arc<Provider>,
    entropy: OsEntropy,
    psk: Vec<u8>,
    config: ResponderConfig,
    sockets: [(u16, UdpSocket); 2],
    local: IpAddr,
    kernel: Kernel,
    begun: Clock,
    dialled: bool,
    over: Option<Result<(), String>>,
}

/// Runs until it is over.
pub(crate) fn run(file: &File, end: &SignalFd) -> Result<(), String> {
    let at = |why: String| format!("{}: {why}", file.display());
    let text = fs::read_to_string(file).map_err(|e| at(e.to_string()))?;
    let script: Script = toml::from_str(&text).map_err(|e| at(e.to_string()))?;
    let psk = fs::read_to_string(&script.psk_file).map_err(|e| format!("{}: {e}", script.psk_file))?;
    let (defaults, config) = script.responder()?;
    let socket = |port| -> Result<(u16, UdpSocket), String> {
        let why = |e: std::io::Error| format!("UDP port {port}: {e}");
        let socket = UdpSocket::bind(SocketAddr::new(script.local, port)).map_err(why)?;
        socket.set_read_timeout(Some(Duration::from_millis(20))).map_err(why)?;
        Ok((port, socket))
    };
    let crypto = Arc::new(Provider::new());
    let mut peer = Peer {
        endpoint: Endpoint::new(crypto.clone(), Box::new(OsEntropy::new()), Some(defaults)),
        crypto,
        entropy: OsEntropy::new(),
        psk: psk.trim_end().as_bytes().to_vec(),
        config,
        sockets: [socket(500)?, socket(4500)?],
        local: script.local,
        kernel: Kernel::default(),
        begun: Clock::now(),
        dialled: script.server.is_some(),
        over: None,
    };
    let sa = match script.server {
        Some(server) => Some(peer.endpoint.initiate(peer.now(), script.initiator(server)?)),
        None => {
            println!("listening");
            None
        }
    };
    peer.drain()?;
    while peer.over.is_none() {
        if matches!(end.read_signal(), Ok(Some(_))) {
            if let Some(sa) = sa {
                peer.give(Input::Close { sa })?;
            }
            break;
        }
        peer.receive()?;
        let now = peer.now();
        if peer.endpoint.deadline().is_some_and(|(at, _)| at <= now) {
            peer.give(Input::Wake)?;
        }
    }
    peer.kernel.clear()?;
    println!("down");
    peer.over.unwrap_or(Ok(()))
}

impl Peer {
    fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn receive(&mut self) -> Result<(), String> {
        let mut buffer = vec![0; 65_535];
        for at in 0..self.sockets.len() {
            let Some((port, socket)) = self.sockets.get(at) else { continue };
            let port = *port;
            let Ok((count, remote)) = socket.recv_from(&mut buffer) else { continue };
            let bytes = buffer.get(..count).unwrap_or_default();
            let payload = if port == 4500 { bytes.strip_prefix(&[0; 4]) } else { Some(bytes) };
            // The core is IKEv1's: what has another major version is not for it.
            if let Some(payload) = payload.filter(|p| p.get(17).is_some_and(|version| version >> 4 == 1)) {
                let path = Path { local: SocketAddr::new(self.local, port), remote };
                let payload = payload.to_vec();
                self.give(Input::Datagram { path, payload })?;
            }
        }
        Ok(())
    }

    fn give(&mut self, input: Input) -> Result<(), String> {
        self.endpoint.handle(self.now(), input);
        self.drain()
    }

    fn drain(&mut self) -> Result<(), String> {
        while let Some(output) = self.endpoint.poll() {
            match output {
                Output::Transmit(t) => {
                    let marker: &[u8] = if t.path.local.port() == 4500 { &[0; 4] } else { &[] };
                    let bytes = if t.payload == [0xff] { t.payload } else { [marker, &t.payload].concat() };
                    let socket = self.sockets.iter().find(|(port, _)| *port == t.path.local.port());
                    // What can't be sent is sent again.
                    _ = socket.map(|(_, socket)| socket.send_to(&bytes, t.path.remote));
                }
                Output::Ask { id, ask, .. } => {
                    let answer = self.answer(ask);
                    self.endpoint.handle(self.now(), Input::Answer { id, answer });
                }
                Output::Event { event, .. } => self.event(event)?,
            }
        }
        Ok(())
    }

    fn answer(&mut self, ask: Ask) -> Answer {
        let refused = |text: String| Failure::new(FailureCode::KernelRefused, Step::Child, text);
        match ask {
            Ask::Generate(method) => Answer::Generated(self.crypto.generate(method)),
            Ask::Agree { key, peer } => Answer::Agreed(key.agree(&peer)),
            Ask::Encapsulate { method, peer } => Answer::Encapsulated(self.crypto.encapsulate(method, &peer)),
            Ask::Psk { .. } => Answer::Psk(Ok(Secret::from(self.psk.as_slice()))),
            Ask::Connection { .. } => Answer::Connection(Ok(Box::new(self.config.clone()))),
            Ask::Verify { .. } => Answer::Verified(Err(refused("no certificates here".into()))),
            Ask::Sign { .. } => Answer::Signed(Err(refused("no certificates here".into()))),
            Ask::AllocateSpi { .. } => {
                let number = self.entropy.public_u64();
                Answer::Spi(Ok(u32::try_from(number >> 32).unwrap_or(0) | 0x8000_0000))
            }
            Ask::Install(sa) => Answer::Installed(self.kernel.install(*sa).map_err(refused)),
            Ask::InstallOutbound { child, keys } => {
                Answer::Installed(self.kernel.outbound(child, &keys).map_err(refused))
            }
        }
    }

    fn event(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Established(e) => {
                println!("IKE: {} ({}), with {}", e.ike, e.auth, e.vendor.unwrap_or("a peer"));
                println!("peer: {} at {}", e.remote_id, e.path.remote);
                println!("ESP: {}, {} to {}", e.child.esp, e.child.local_ts, e.child.remote_ts);
                println!("up");
            }
            Event::ChildUp(up) => println!("CHILD_SA rekeyed: {}", up.esp),
            Event::Rekeyed { ike } => println!("ISAKMP SA rekeyed: {ike}"),
            Event::ChildClosed { child, .. } => self.kernel.remove(child)?,
            Event::Closed(Err(failure)) => {
                println!(
                    "closed: {failure}{}",
                    failure.peer.as_ref().map(|p| format!(" [{p}]")).unwrap_or_default()
                );
                if self.dialled {
                    self.over = Some(Err("over".into()));
                }
            }
            Event::Closed(Ok(())) => {}
            other => println!("{other:?}"),
        }
        Ok(())
    }
}
