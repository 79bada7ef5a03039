//! `ctl add`: a profile for a server of which only the name is known. The daemon asks it by every type of tunnel, up to where it
//! would log in; what answers is what the profile has.

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::{DoctorCheck, DoctorStatus, ManagerProxy};
use adit_import::check_suite;
use adit_profile::{ProfileName, Source, parse_profile};

use crate::args::{Add, BusChoice};
use crate::ended::Ended;
use crate::json::{self, AddedJson};
use crate::output::Output;
use crate::place::{Placed, place};
use crate::render;
use crate::session;
use crate::steps::Steps;

/// The types that are asked for, best first: those that need no more than a name and a password, and L2TP with a group's key where
/// that is said.
fn types(args: &Add) -> Vec<&'static str> {
    let all = ["ikev2", "sstp", "l2tp", "pptp"];
    all.into_iter().filter(|kind| *kind != "l2tp" || args.psk_file.is_some()).collect()
}

/// Those whose server proves nothing that only it can.
const WEAK: [&str; 2] = ["l2tp", "pptp"];

/// `ctl add`.
pub(crate) async fn add(args: &Add, bus: BusChoice, output: Output) -> Result<(), Ended> {
    let name = name(args)?;
    let types = types(args);
    let asked = toml(args, &types, true);
    check(&name, &asked)?;
    let checks = ask(&name, &asked, bus, output).await?;
    if !output.json {
        let shown = render::checks(&checks, output.out, output.width);
        if args.print { output.complain(&shown) } else { output.say(&shown)? }
    }
    let answered: Vec<&str> = types.into_iter().filter(|kind| is_good(&checks, kind)).collect();
    let kept = without_weak(&name, args, &answered)?;
    let text = toml(args, &kept, args.weak);
    check(&name, &text)?;
    let path = args.folder.profile(&name);
    if args.print {
        return output.say(&text);
    }
    let file = Placed { path: path.clone(), content: text.as_bytes(), public: false };
    place(&[file], args.replace).map_err(|failure| Ended::failed(name.as_str(), failure))?;
    crate::reload::quietly(bus).await;
    if output.json {
        let wrote = path.display().to_string();
        return output.line(&json::document("added", &AddedJson::new(name.as_str(), &wrote, &kept, &checks)));
    }
    output.line(&render::says::added(name.as_str(), &path, output.out))
}

fn mistake(about: &str, text: String, hint: impl Into<String>) -> Ended {
    Ended::failed(about, Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text).hint(hint))
}

/// `--name`, or the first label of the server's name.
fn name(args: &Add) -> Result<ProfileName, Ended> {
    let host = args.server.split([':', ']']).next().unwrap_or_default();
    let label =
        host.split('.').next().filter(|label| label.contains(char::is_alphabetic)).unwrap_or_default();
    let name = args.name.as_deref().unwrap_or(label);
    name.parse().map_err(|error: adit_profile::NameError| {
        mistake(&args.server, error.why, format!("say how to call it:  ctl add {} --name NAME", args.server))
    })
}

/// A profile of these types.
fn toml(args: &Add, types: &[&str], weak: bool) -> String {
    let mut text = format!("server = {}\n", quoted(&args.server));
    match types {
        ["ikev2"] => text.push_str("auth = \"eap\"\n"),
        [one] => text.push_str(&format!("tunnel = \"{one}\"\n")),
        several => {
            let all: Vec<String> = several.iter().map(|kind| format!("\"{kind}\"")).collect();
            text.push_str(&format!("tunnel = [{}]\n", all.join(", ")));
            if weak && several.iter().any(|kind| WEAK.contains(kind)) {
                text.push_str("weak = true\n");
            }
        }
    }
    text.push_str(&format!("user = {}\n", quoted(&args.user)));
    if let (Some(file), true) = (&args.psk_file, types.contains(&"l2tp")) {
        text.push_str(&format!("psk-file = {}\n", quoted(file)));
    }
    if !args.ca.is_empty() && !types.iter().all(|kind| WEAK.contains(kind)) {
        let all: Vec<String> = args.ca.iter().map(|file| quoted(file)).collect();
        text.push_str(&format!("ca = [{}]\n", all.join(", ")));
    }
    text
}

/// A basic string of TOML's.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace(char::is_control, "\u{fffd}"))
}

/// Whatever was typed, a profile is valid or is none.
fn check(name: &ProfileName, text: &str) -> Result<(), Ended> {
    let source = Source { file: "(the profile to be)", text, access: None };
    parse_profile(name, &source, &check_suite)
        .map(drop)
        .map_err(|errors| Ended::failed(name.as_str(), Failure::from(errors)))
}

async fn ask(
    name: &ProfileName,
    toml: &str,
    bus: BusChoice,
    output: Output,
) -> Result<Vec<DoctorCheck>, Ended> {
    let call = |error: zbus::Error| Ended::call(name.as_str(), &error);
    let connection = session::open(bus).await?;
    let manager = ManagerProxy::new(&connection).await.map_err(call)?;
    let mut steps = Steps::new(output);
    if output.live {
        steps.step("asking the server what it has")?;
    }
    let checks = manager.diagnose_content(name.as_str(), toml).await;
    steps.end(checks.is_ok());
    checks.map_err(call)
}

fn is_good(checks: &[DoctorCheck], kind: &str) -> bool {
    let of_kind = |check: &&DoctorCheck| check.id == format!("tunnel-{kind}");
    checks.iter().filter(of_kind).any(|check| check.status == DoctorStatus::Ok.as_str())
}

/// What answers, without what proves nothing of the server where nobody has said that this will do.
fn without_weak<'a>(name: &ProfileName, args: &Add, answered: &[&'a str]) -> Result<Vec<&'a str>, Ended> {
    let kept: Vec<&str> = answered.iter().copied().filter(|kind| args.weak || !WEAK.contains(kind)).collect();
    let failed = |text: &str, hint: String| {
        let failure = Failure::new(FailureCode::ServerUnreachable, Step::Call, text).hint(hint);
        Err(Ended::failed(name.as_str(), failure))
    };
    match (kept.is_empty(), answered.is_empty()) {
        (false, _) => Ok(kept),
        (true, false) => failed(
            &match answered {
                ["pptp"] => "only PPTP answers, whose server proves nothing before the password's proof leaves".to_owned(),
                _ => "only what proves nothing of the server answers: PPTP, and L2TP with a key that others have, too".to_owned(),
            },
            format!("ask for IKEv2 or SSTP there; to take it all the same:  ctl add {} --weak", args.server),
        ),
        (true, true) => failed(
            "no type of tunnel came as far as logging in; the lines above say why",
            "a certificate of an authority of one's own:  --ca FILE, where FILE is in /etc/adit/certs; a pre-shared key of \
             L2TP's:  --psk-file FILE, where FILE is in /etc/adit/secrets; a key or a certificate of yours: write the profile \
             by hand (man adit-profiles)"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Folder;

    fn args(server: &str, user: &str) -> Add {
        Add {
            server: server.into(),
            user: user.into(),
            name: None,
            ca: vec!["corp-ca.pem".into()],
            psk_file: Some("group.psk".into()),
            weak: false,
            print: false,
            replace: false,
            folder: Folder { config: "/etc/adit".into() },
        }
    }

    #[test]
    fn what_is_written_is_a_profile_whatever_was_typed() {
        for user in ["ann", "CORP\\ann", "a\"b", "x\ntunnel = \"pptp\""] {
            let all = types(&args("vpn.example.com", user));
            for types in [&["ikev2"][..], &["sstp"], &["l2tp"], &["pptp"], &["ikev2", "sstp"], &all] {
                let text = toml(&args("vpn.example.com", user), types, true);
                let parsed = check(&"vpn".parse().unwrap(), &text);
                assert!(parsed.is_ok(), "{text}: {parsed:?}");
                assert!(
                    text.lines().all(|line| !line.starts_with("tunnel = \"pptp\"") || types == ["pptp"]),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn it_is_called_as_the_server_is() {
        let called = |server: &str| name(&args(server, "ann")).ok().map(|name| name.to_string());
        assert_eq!(called("vpn.example.com").as_deref(), Some("vpn"));
        assert_eq!(called("vpn.example.com:4500").as_deref(), Some("vpn"));
        assert_eq!(called("203.0.113.1"), None);
        assert_eq!(called("[2001:db8::1]"), None);
    }

    #[test]
    fn pptp_is_taken_with_the_persons_word_only() {
        let (name, mut args) = ("vpn".parse().unwrap(), args("vpn.example.com", "ann"));
        assert_eq!(without_weak(&name, &args, &["ikev2", "pptp"]).unwrap(), ["ikev2"]);
        let Err(Ended::Failure { failure, .. }) = without_weak(&name, &args, &["pptp"]) else {
            panic!("taken")
        };
        assert!(failure.hint.is_some_and(|hint| hint.contains("--weak")));
        assert!(without_weak(&name, &args, &["l2tp", "pptp"]).is_err());
        args.weak = true;
        assert_eq!(without_weak(&name, &args, &["pptp"]).unwrap(), ["pptp"]);
        assert_eq!(without_weak(&name, &args, &["sstp", "l2tp"]).unwrap(), ["sstp", "l2tp"]);
        assert!(without_weak(&name, &args, &[]).is_err());
    }
}
