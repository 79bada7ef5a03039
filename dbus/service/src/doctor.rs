//! What this host lacks, and what to type.

use adit_dbus_api::DoctorCheck;
use adit_profile::TunnelKind;
use adit_xfrm_kernel::Support;

use crate::daemon::Daemon;
use crate::host;
use crate::l2tp::ONE_BEHIND_A_NAT;

/// Every check, in a fixed order.
pub async fn checks(daemon: &Daemon) -> Vec<DoctorCheck> {
    let mut out = kernel(daemon).await;
    out.extend(ppp().await);
    out.push(nft());
    out.extend(profiles(daemon));
    out.push(server(daemon));
    out
}

/// What this host needs for tunnels of these types: of what they need nothing may be missing.
pub(crate) async fn needs(daemon: &Daemon, kinds: &[TunnelKind]) -> Vec<DoctorCheck> {
    let ipsec = kinds.iter().any(|kind| matches!(kind, TunnelKind::Ikev2 | TunnelKind::L2tp));
    let mut out = if ipsec { kernel(daemon).await } else { Vec::new() };
    let needed = |id: &str| match id {
        "kernel-ppp" => kinds.contains(&TunnelKind::Pptp) || kinds.contains(&TunnelKind::L2tp),
        "kernel-pptp" => kinds.contains(&TunnelKind::Pptp),
        "kernel-tun" => kinds.contains(&TunnelKind::Sstp),
        "kernel-l2tp" => kinds.contains(&TunnelKind::L2tp),
        _ => false,
    };
    let of_ppp = ppp().await.into_iter().filter(|check| needed(&check.id));
    out.extend(of_ppp.map(|check| match check.status.as_str() {
        "warn" => DoctorCheck { status: "fail".to_owned(), ..check },
        _ => check,
    }));
    out.push(nft());
    out
}

pub(crate) fn check(id: &str, status: &str, text: impl Into<String>, hint: impl Into<String>) -> DoctorCheck {
    DoctorCheck { id: id.to_owned(), status: status.to_owned(), text: text.into(), hint: hint.into() }
}

async fn kernel(daemon: &Daemon) -> Vec<DoctorCheck> {
    let xfrm = daemon.xfrm();
    let asked = tokio::task::spawn_blocking(move || xfrm.capabilities()).await;
    let capabilities = match asked {
        Ok(Ok(capabilities)) => capabilities,
        Ok(Err(e)) => return vec![check("kernel", "fail", e.to_string(), "aditd needs CAP_NET_ADMIN")],
        Err(_) => return vec![check("kernel", "fail", "the kernel could not be asked", "")],
    };
    let one = |c: adit_xfrm_kernel::Capability| {
        let id = format!("kernel-{:?}", c.feature).to_ascii_lowercase();
        let id: String = id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let id = id.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
        match c.support {
            Support::Present => check(&id, "ok", c.feature.to_string(), ""),
            Support::Missing(why) => check(&id, "fail", format!("{}: {why}", c.feature), c.feature.remedy()),
        }
    };
    capabilities.0.into_iter().map(one).collect()
}

/// Who needs what.
const PPTP: &str = "tunnel = \"pptp\" and [pptp] need it";
const TUN: &str = "tunnel = \"sstp\" and [sstp] need it";
const FEED: &str = "tunnel = \"sstp\" and [sstp] with interface = \"ppp\" need it";
const L2TP: &str = "tunnel = \"l2tp\" and [l2tp] need it";

/// What PPTP, SSTP and L2TP need. A host that does not use them can do without.
async fn ppp() -> Vec<DoctorCheck> {
    let probe = || {
        let ppp = adit_ppp_kernel::probe().map_err(|e| e.failure());
        let pptp = adit_pptp_kernel::probe().map_err(|e| e.failure());
        let l2tp = adit_ppp_kernel::probe_l2tp().map_err(|e| e.failure());
        let tun = adit_ppp_kernel::Tun::probe().map_err(|e| e.failure());
        let feed = adit_ppp_kernel::Feed::probe().map_err(|e| e.failure());
        [
            ("kernel-ppp", "PPP", PPTP, ppp),
            ("kernel-pptp", "PPTP", PPTP, pptp),
            ("kernel-tun", "TUN", TUN, tun),
            ("kernel-ppp-l2tp", "PPP over L2TP", FEED, feed),
            ("kernel-l2tp", "L2TP", L2TP, l2tp),
        ]
    };
    let Ok(found) = tokio::task::spawn_blocking(probe).await else { return Vec::new() };
    let one = |(id, name, who, result): (&str, &str, &str, Result<(), adit_core::Failure>)| match result {
        Ok(()) => check(id, "ok", name, ""),
        Err(why) => {
            let text = format!("{} (only {who})", why.text);
            check(id, "warn", text, why.hint.unwrap_or_default())
        }
    };
    found.into_iter().map(one).chain([l2tp_behind_nat()]).collect()
}

fn l2tp_behind_nat() -> DoctorCheck {
    match adit_ppp_kernel::finds_sessions_by_ids() {
        true => check("kernel-l2tp-nat", "ok", "L2TP: several clients behind one NAT", ""),
        false => {
            let text = format!("L2TP: {ONE_BEHIND_A_NAT} (only [l2tp] with IPsec needs it)");
            check("kernel-l2tp-nat", "warn", text, "boot a kernel of Linux 6.11 or later")
        }
    }
}

fn nft() -> DoctorCheck {
    match host::nft_program() {
        Some(path) => check("program-nft", "ok", format!("nftables ({path})"), ""),
        None => {
            let text = "there is no nft program: full tunnels and a server's NAT cannot be set up";
            check("program-nft", "fail", text, "apt install nftables")
        }
    }
}

fn profiles(daemon: &Daemon) -> Vec<DoctorCheck> {
    let files = daemon.profiles();
    let broken = files.iter().filter_map(|f| Some((f, f.content.as_ref().err()?.first()?)));
    let mut out: Vec<DoctorCheck> = broken
        .map(|(file, (_, place, text, hint))| {
            let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
            check(&format!("profile-{}", file.name), "fail", format!("{place}{text}"), hint)
        })
        .collect();
    if out.is_empty() {
        out.push(check("profiles", "ok", format!("{} profiles, none with a mistake", files.len()), ""));
    }
    out
}

fn server(daemon: &Daemon) -> DoctorCheck {
    let listening = daemon.listening();
    match (daemon.server_problem(), listening.is_empty()) {
        (Some(failure), _) => check("server", "fail", failure.text, failure.hint.unwrap_or_default()),
        (None, true) => check("server", "ok", "no server.toml: this host only dials", ""),
        (None, false) => check("server", "ok", format!("listening on {}", listening.join(", ")), ""),
    }
}
