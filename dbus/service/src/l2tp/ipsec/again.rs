//! What a process before has put around a tunnel, and who goes on with it.

use std::sync::Arc;

use adit_core::{Failure, FailureCode, Path, Step};
use adit_profile::{Ipsec, Profile, ServerName};
use tokio::sync::mpsc;
use tracing::warn;
use zeroize::Zeroizing;

use super::{Certificates, Context, News, Protection, config, gone, guard};
use crate::blocking::blocking;
use crate::daemon::Daemon;
use crate::esp::Numbers;
use crate::ike::Ports;
use crate::l2tp::agreed::Agreed;
use crate::l2tp::{Leaves, Reqids, by_ikev2};
use crate::registry::ConnectionId;

/// Goes on with what a process before has put around the tunnel between these ends, with a pre-shared key, or by certificates.
///
/// # Errors
/// Nobody can. Nothing of it is left then: neither SAs nor policies.
pub(crate) async fn protect_again(
    (daemon, id): (&Arc<Daemon>, ConnectionId),
    (profile, gateway): (&Arc<Profile>, &ServerName),
    certificates: Option<Certificates>,
    path: Path,
    (reqids, snapshot): (Reqids, &[u8]),
) -> Result<(Protection, Agreed), Failure> {
    let ike = daemon.ike(Ports::default(), false).await?;
    let sad = daemon.sad().clone();
    let text = "what was handed over has no numbers of ours";
    let no = || Failure::new(FailureCode::Internal, Step::Kernel, text);
    let [of_trap, of_sas] = [reqids.trap, reqids.sas].map(Numbers::of_reqid);
    let (of_trap, of_sas) = (of_trap.ok_or_else(no)?, of_sas.ok_or_else(no)?);
    sad.trap_again(&guard(path, reqids.trap))?;
    let (told, events) = mpsc::unbounded_channel();
    let leaves = Arc::new(Leaves::protected(reqids));
    let context = Arc::new(Context {
        profile: Arc::clone(profile),
        files: daemon.files().clone(),
        sad: sad.clone(),
        numbers: of_sas,
        trap: reqids.trap,
        certificates,
        told,
        leaves: Arc::clone(&leaves),
    });
    let (ports, snapshot) = (ike.sockets().ports(), Zeroizing::new(snapshot.to_vec()));
    let rule = profile.ppp.as_ref().and_then(|ppp| ppp.l2tp.as_ref());
    let (by, restored) = match rule.map(|rule| rule.ipsec) {
        Some(Ipsec::Ikev2) => {
            let config = by_ikev2::config(profile, gateway, path, ports);
            ("IKEv2", ike.restore(snapshot, config, context).await.and_then(|up| Agreed::again_v2(&up)))
        }
        _ => {
            let config = config(profile, (context.certificates.as_ref(), gateway), path, ports);
            ("IKEv1", ike.restore_v1(snapshot, config, context).await.and_then(|up| Agreed::again_v1(&up)))
        }
    };
    let mut protection = Protection {
        daemon: Arc::clone(daemon),
        id,
        ike,
        sad,
        sa: restored.as_ref().map(|(sa, _)| *sa),
        trap: Some(reqids.trap),
        path,
        events,
        dial: None,
        by,
        numbers: of_trap,
        leaves,
    };
    daemon.protected(id, protection.sa);
    match protection.stands(restored.map(|(_, agreed)| agreed), ports) {
        Ok(agreed) => Ok((protection, agreed)),
        Err(failure) => {
            protection.end().await;
            remove_left(daemon, reqids.sas).await;
            Err(failure)
        }
    }
}

/// Nobody goes on with what a process before has put around the tunnel between these ends.
pub(crate) async fn forget(daemon: &Arc<Daemon>, path: Path, reqids: Reqids) {
    if daemon.sad().trap_again(&guard(path, reqids.trap)).is_ok() {
        for error in daemon.sad().remove_trap(reqids.trap).await {
            warn!(%error, "L2TP: not removed");
        }
    }
    remove_left(daemon, reqids.sas).await;
}

async fn remove_left(daemon: &Arc<Daemon>, reqid: u32) {
    let sad = daemon.sad().clone();
    let removed = blocking(Step::Kernel, "removing SAs", move || sad.remove_left_with(reqid)).await;
    for error in removed.into_iter().flatten() {
        warn!(%error, "L2TP: not removed");
    }
}

impl Protection {
    /// What was restored, if its SAs are in the kernel and its ends are ours.
    fn stands(&mut self, restored: Option<Agreed>, ports: Ports) -> Result<Agreed, Failure> {
        let no = |text: &str| Failure::new(FailureCode::PeerLost, Step::Established, text.to_owned());
        let restored = restored.ok_or_else(|| no("the SAs that were handed over cannot be gone on with"))?;
        if let Ok(News::Over(why)) = self.events.try_recv() {
            return Err(why.err().unwrap_or_else(|| gone(self.by)));
        }
        let bound = [ports.ike, ports.nat].contains(&restored.path.local.port());
        if !bound || restored.path.local.ip() != self.path.local.ip() {
            return Err(no("the SAs that were handed over are between other ends"));
        }
        Ok(restored)
    }
}
