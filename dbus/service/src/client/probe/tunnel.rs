//! One type of tunnel to one address, up to where it would log in.

use std::sync::Arc;
use std::time::Duration;

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::DoctorCheck;
use adit_profile::{AuthMethod, TunnelKind};
use futures_util::FutureExt;
use tokio::sync::{Notify, mpsc, watch};

use super::failed;
use crate::client::handle::{OneWay, Part};
use crate::client::login::{LogIn, Said, Shown};
use crate::client::new_passwords;
use crate::client::strategy::way::{Client, Place};
use crate::clock;
use crate::daemon::Daemon;
use crate::doctor;

/// How long one may take; IKEv2 gives up by itself before.
const PATIENCE: Duration = Duration::from_secs(25);
/// A certificate that ends so soon is told of.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// How far it came.
struct Came {
    /// Why no further; `None`: it would have logged in.
    why: Option<Failure>,
    /// What the server has shown.
    certificate: Option<Vec<u8>>,
    /// What that means, where it came as far as it goes.
    answers: String,
}

/// Its checks: the tunnel, and the server's certificate where there is one. `port`: which one was called.
pub(super) async fn check(daemon: &Arc<Daemon>, place: Place, port: &str) -> Vec<DoctorCheck> {
    let kind = place.kind();
    let lead = format!("{}{port}", place.name());
    let id = format!("tunnel-{}", kind.as_str());
    let host = place.gateway.host.to_string();
    let came = probe(daemon, place).await;
    let mut out = vec![match &came.why {
        None => doctor::check(&id, "ok", format!("{lead}: {}", came.answers), ""),
        Some(why) => failed(&id, &format!("{lead}: "), why),
    }];
    let about = came.certificate.and_then(|der| adit_pki::summarize(&der).ok());
    if let Some(about) = about.filter(|_| came.why.is_none()) {
        let text = format!(
            "the certificate of {host} is good: {}, issued by {}, until {}",
            about.subject,
            about.issuer,
            adit_pki::date(about.not_after)
        );
        let left = about.not_after.0.saturating_sub(clock::wall().0);
        out.push(match left < SOON.as_secs() {
            true => {
                let hint = "whoever runs the server has to renew it before";
                doctor::check("certificate", "warn", format!("{text}, which is soon"), hint)
            }
            false => doctor::check("certificate", "ok", text, ""),
        });
    }
    out
}

/// What it means that a tunnel came as far as that, with these algorithms.
fn answers(place: &Place, with: Option<&str>) -> String {
    let with = with.map(|with| format!(" ({with})")).unwrap_or_default();
    match (place.kind(), place.profile.auth) {
        (TunnelKind::Ikev2, AuthMethod::Eap) => {
            format!("it answers, takes our algorithms{with}, has proven who it is, and would let us log in")
        }
        (TunnelKind::Ikev2, _) => {
            format!(
                "it answers and takes our algorithms{with}; who is who is proven by logging in only: ctl up"
            )
        }
        (TunnelKind::Sstp, _) => format!("it answers{with}, has proven who it is, and would let us log in"),
        (TunnelKind::Pptp, _) => "it answers, GRE gets through, and it would let us log in".to_owned(),
        (TunnelKind::L2tp, _) => format!("it answers, IPsec stands{with}, and it would let us log in"),
    }
}

async fn probe(daemon: &Arc<Daemon>, place: Place) -> Came {
    let (told, mut says) = mpsc::unbounded_channel();
    let (shows, mut shown) = mpsc::unbounded_channel();
    let (_stop, stopped) = watch::channel(false);
    let id = daemon.registry().number();
    let way = OneWay {
        gateway: place.gateway.clone(),
        remote: place.remote,
        // None is ever made.
        interface: String::new(),
        login: LogIn::probe(&told, &shows),
    };
    let mut client = Client::new(Part {
        id,
        profile: Arc::clone(&place.profile),
        daemon: Arc::clone(daemon),
        persistent: false,
        stopped,
        passwords: new_passwords(id, &place.profile, daemon),
        asked: Arc::new(Notify::new()),
        way: Some(way),
    });
    let why = {
        let connect = client.connect();
        let patience = tokio::time::sleep(PATIENCE);
        tokio::pin!(connect, patience);
        let mut answered = false;
        loop {
            tokio::select! {
                biased;
                Some((_, said)) = says.recv() => match said {
                    Said::Verified => {
                        // What was agreed on has been told before, and may not have been heard yet.
                        let _ = connect.as_mut().now_or_never();
                        break None;
                    }
                    Said::Answered => answered = true,
                    Said::Called => {}
                },
                result = &mut connect => break result.err(),
                () = &mut patience => break Some(silent(&place, answered)),
            }
        }
    };
    client.let_go();
    if let Err(error) = client.take_down().await {
        tracing::warn!(%error, "a probe, and not everything of it");
    }
    let (mut certificate, mut algorithms) = (None, None);
    while let Ok(shown) = shown.try_recv() {
        match shown {
            Shown::Certificate(der) => certificate = certificate.or(Some(der)),
            Shown::Algorithms(with) => algorithms = Some(with),
        }
    }
    Came { why, certificate, answers: answers(&place, algorithms.as_deref()) }
}

fn silent(place: &Place, answered: bool) -> Failure {
    let seconds = PATIENCE.as_secs();
    let (text, hint) = match (answered, place.kind()) {
        (false, _) => {
            (format!("no answer in {seconds} s"), "check the server's address, and the firewalls on the way")
        }
        (true, TunnelKind::Ikev2 | TunnelKind::L2tp) => (
            format!("it has answered, and then nothing more came in {seconds} s"),
            "check that firewalls let UDP 4500 through, and fragments: with  fragmentation  on no message of IKE needs any",
        ),
        (true, TunnelKind::Pptp | TunnelKind::Sstp) => (
            format!("it has answered, and then nothing more came in {seconds} s"),
            "look into the server's log",
        ),
    };
    Failure::new(FailureCode::ServerUnreachable, Step::Call, text).hint(hint)
}
