use std::path::Path;

use adit_dbus_api::{DoctorCheck, DoctorStatus, ManagerProxy};

use crate::args::BusChoice;
use crate::ended::Ended;
use crate::exit::Status;
use crate::json::{self, CheckJson};
use crate::output::Output;
use crate::render;
use crate::session;
use crate::steps::Steps;

/// `ctl doctor`: the daemon's checks, of a profile where one is named, or, where the daemon cannot be asked, what can be seen
/// without it.
pub(crate) async fn doctor(name: Option<&str>, bus: BusChoice, output: Output) -> Result<(), Ended> {
    let checks = match ask(name, bus, output).await {
        Ok(checks) => checks,
        Err(ended @ Ended::Failure { status, .. })
            if name.is_some() && ![Status::NOT_RUNNING, Status::NOT_AUTHORIZED].contains(&status) =>
        {
            return Err(ended);
        }
        Err(Ended::Failure { failure, .. }) => {
            let hint = failure.hint.unwrap_or_default();
            let mut checks = vec![check("daemon", DoctorStatus::Fail, &failure.text, &hint)];
            checks.extend(local());
            checks
        }
        Err(said @ Ended::Said(_)) => return Err(said),
    };
    if output.json {
        let all: Vec<CheckJson<'_>> = checks.iter().map(CheckJson::from).collect();
        output.line(&json::document("checks", &all))?;
    } else {
        output.say(&render::checks(&checks, output.out, output.width))?;
    }
    let failed = checks
        .iter()
        .any(|c| !matches!(DoctorStatus::from_word(&c.status), Some(DoctorStatus::Ok | DoctorStatus::Warn)));
    if failed { Err(Ended::Said(Status::UNKNOWN)) } else { Ok(()) }
}

async fn ask(name: Option<&str>, bus: BusChoice, output: Output) -> Result<Vec<DoctorCheck>, Ended> {
    let about = name.unwrap_or_default();
    let connection = session::open(bus).await?;
    let call = |e: zbus::Error| Ended::call(about, &e);
    let manager = ManagerProxy::new(&connection).await.map_err(call)?;
    let Some(name) = name else { return manager.doctor().await.map_err(call) };
    let mut steps = Steps::new(output);
    if output.live {
        steps.step(&format!("asking the servers of {name}"))?;
    }
    let checks = manager.diagnose(name).await;
    steps.end(checks.is_ok());
    checks.map_err(call)
}

pub(crate) fn local() -> Vec<DoctorCheck> {
    vec![installed(), unit(), runtime_directory(), membership()]
}

/// Where packages, and people who build it, put the daemon.
pub(crate) const DAEMON_PLACES: [&str; 4] =
    ["/usr/sbin/aditd", "/usr/bin/aditd", "/usr/local/sbin/aditd", "/usr/local/bin/aditd"];

fn installed() -> DoctorCheck {
    match DAEMON_PLACES.iter().find(|p| Path::new(p).exists()) {
        Some(place) => {
            check("daemon-installed", DoctorStatus::Ok, &format!("aditd is installed: {place}"), "")
        }
        None => {
            let text = "aditd is in none of the usual places (/usr/sbin, /usr/bin, /usr/local)";
            check("daemon-installed", DoctorStatus::Warn, text, "install the package aditd")
        }
    }
}

fn unit() -> DoctorCheck {
    if !Path::new("/run/systemd/system").exists() {
        let text = "this host does not run systemd: whatever starts services must start aditd";
        return check("unit", DoctorStatus::Warn, text, "sudo aditd");
    }
    let places = [
        "/etc/systemd/system",
        "/usr/local/lib/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
    ];
    match places.iter().find(|p| Path::new(p).join("aditd.service").exists()) {
        Some(place) => {
            let text = format!("the unit aditd.service is installed in {place}");
            check("unit", DoctorStatus::Ok, &text, "")
        }
        None => check(
            "unit",
            DoctorStatus::Fail,
            "the unit aditd.service is not installed",
            "install the package aditd",
        ),
    }
}

fn runtime_directory() -> DoctorCheck {
    if Path::new("/run/adit").exists() {
        check("runtime-directory", DoctorStatus::Ok, "/run/adit is there", "")
    } else {
        let text = "/run/adit is not there: aditd has not run since this host started";
        check("runtime-directory", DoctorStatus::Warn, text, "sudo systemctl start aditd")
    }
}

fn membership() -> DoctorCheck {
    if nix::unistd::geteuid().is_root() {
        return check("rights", DoctorStatus::Ok, "you are root", "");
    }
    let Some(group) = crate::profile_file::adit_group() else {
        return check("rights", DoctorStatus::Fail, "there is no group adit", "sudo systemd-sysusers");
    };
    let member = nix::unistd::getegid() == group.gid
        || nix::unistd::getgroups().is_ok_and(|groups| groups.contains(&group.gid));
    if member {
        check("rights", DoctorStatus::Ok, "you are in the group adit", "")
    } else {
        let hint = "sudo usermod -aG adit $USER, then log in again";
        check("rights", DoctorStatus::Fail, "you are neither root nor in the group adit", hint)
    }
}

fn check(id: &str, status: DoctorStatus, text: &str, hint: &str) -> DoctorCheck {
    DoctorCheck { id: id.into(), status: status.as_str().into(), text: text.into(), hint: hint.into() }
}
