//! Many clients of one server of PPP's carriers, from one process: how they come up, and what the server's process takes for them.

use std::future::pending;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use adit_core::{Failure, FailureCode, Instant, Secret, Step};
use adit_ppp::{
    Addresses, Answer, Ask, AuthMethod, EapConfig, Link, LinkConfig, Mppe, NameServers, NetworkPlan, Timing,
};
use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use crate::clock;
use crate::figures::say;
use crate::process::memory_of;

/// How long one client may take, in an emulated machine too.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
/// The longest packet of a link, as Adit's own clients have it.
const MTU: u16 = 1400;

/// Whom to dial, and how often.
#[derive(clap::Args, Debug)]
pub struct Crowd {
    /// The server
    #[arg(long)]
    pub(crate) server: Ipv4Addr,
    /// Addresses of this host to dial from, in turn
    #[arg(long, value_delimiter = ',', required = true)]
    from: Vec<Ipv4Addr>,
    /// Everybody's name
    #[arg(long)]
    user: String,
    /// The file with everybody's password
    #[arg(long, value_name = "FILE")]
    secret: PathBuf,
    /// How many
    #[arg(long)]
    count: usize,
    /// How many are on their way at a time
    #[arg(long, default_value_t = 16)]
    window: usize,
    /// The number of the server's process: what it takes for them is said, and they go away again
    #[arg(long)]
    process: Option<u32>,
}

/// One that comes up from that address, says so, and stays until the server ends it.
pub(crate) type Dialled = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// Brings them up, says so, and answers for them until SIGTERM, or until the server's part has been measured.
///
/// # Errors
/// That not all came up.
pub(crate) fn run(
    arguments: &Crowd,
    one: impl Fn(Arc<Client>, Ipv4Addr, UnboundedSender<()>) -> Dialled,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(dial(arguments, one))
}

async fn dial(
    arguments: &Crowd,
    one: impl Fn(Arc<Client>, Ipv4Addr, UnboundedSender<()>) -> Dialled,
) -> anyhow::Result<()> {
    let mut end = signal(SignalKind::terminate())?;
    let secret = std::fs::read(&arguments.secret).with_context(|| arguments.secret.display().to_string())?;
    let before = arguments.process.map(|id| anyhow::Ok((memory_of(id)?, clock::cpu_of(id)?))).transpose()?;
    let client = Arc::new(Client {
        server: arguments.server,
        user: arguments.user.clone(),
        secret: secret.trim_ascii().to_vec(),
        began: tokio::time::Instant::now(),
        window: Semaphore::new(arguments.window),
    });
    let (up, mut came_up) = tokio::sync::mpsc::unbounded_channel();
    let mut all = JoinSet::new();
    for (_, from) in (0..arguments.count).zip(arguments.from.iter().cycle()) {
        all.spawn(one(Arc::clone(&client), *from, up.clone()));
    }
    for count in 0..arguments.count {
        tokio::select! {
            Some(()) = came_up.recv() => {}
            Some(ended) = all.join_next() => match ended? {
                Ok(()) => bail!("one of {count} went away"),
                Err(why) => return Err(why.context(format!("{count} of {} are up", arguments.count))),
            },
        }
    }
    let wall = client.began.elapsed().as_secs_f64();
    let rate = arguments.count as f64 / wall.max(1e-9);
    println!("{} clients are up: {wall:.1} s, {rate:.0} a second", arguments.count);
    if let (Some((memory, cpu)), Some(id)) = (before, arguments.process) {
        let each = |total: f64| total / arguments.count as f64;
        let grown = memory_of(id)?.private.saturating_sub(memory.private);
        let cpu = clock::cpu_of(id)?.saturating_sub(cpu);
        say("idle, MB resident", &format!("{:.1}", memory.resident as f64 / 1e6));
        say("sessions a second", &format!("{rate:.1}"));
        say("the daemon's CPU a session, ms", &format!("{:.2}", each(cpu.as_secs_f64() * 1e3)));
        say("the daemon's memory a session, kB", &format!("{:.1}", each(grown as f64 / 1e3)));
        return Ok(());
    }
    let mut why = None;
    loop {
        tokio::select! {
            _ = end.recv() => break,
            Some(ended) = all.join_next() => {
                why = ended?.err().or(why);
                if let (true, Some(why)) = (all.is_empty(), &why) {
                    println!("all have gone, the last because of this: {why:#}");
                }
            }
        }
    }
    println!("{} clients are left", all.len());
    Ok(())
}

/// What all have in common.
pub(crate) struct Client {
    pub(crate) server: Ipv4Addr,
    user: String,
    secret: Vec<u8>,
    began: tokio::time::Instant,
    pub(crate) window: Semaphore,
}

impl Client {
    pub(crate) fn now(&self) -> Instant {
        Instant::ZERO + self.began.elapsed()
    }

    /// Until the first of these moments; without any, for ever.
    pub(crate) async fn until(&self, deadlines: [Option<Instant>; 2]) {
        match deadlines.into_iter().flatten().min() {
            Some(at) => tokio::time::sleep(at.since(self.now())).await,
            None => pending().await,
        }
    }

    pub(crate) fn config(&self, mppe: Mppe) -> LinkConfig {
        LinkConfig {
            mru: MTU,
            compress_header: true,
            prove: vec![AuthMethod::MsChapV2],
            demand: Vec::new(),
            name: self.user.clone(),
            eap: EapConfig::default(),
            mppe,
            ipv4: true,
            ipv6: false,
            addresses: Addresses::FromPeer { wanted: None, servers: NameServers::ALL },
            timing: Timing::default(),
        }
    }

    /// There is no unit: what would be encrypted, or routed, never comes.
    pub(crate) fn answer(&self, ask: Ask) -> Answer {
        match ask {
            Ask::Password { again: None, .. } => Answer::Secret(Ok(Secret::from(&*self.secret))),
            Ask::Network { .. } => Answer::Network(Ok(NetworkPlan::default())),
            Ask::Compress(_) | Ask::Encrypted(_) => Answer::Compressed(Ok(())),
            Ask::Install(_) => Answer::Installed(Ok(())),
            _ => {
                let text = "a question that has no answer here";
                Answer::Secret(Err(Failure::new(FailureCode::Internal, Step::Authenticate, text)))
            }
        }
    }
}

pub(crate) fn of_link(link: &Link) -> Option<Instant> {
    link.deadline().map(|(at, _)| at)
}
