//! The binary against a service of `org.adit1`'s shape on a private socket: what it prints, and what it ends with.

#![allow(clippy::unwrap_used, reason = "a test")]

mod published;
mod service;

use std::path::Path;
use std::process::Stdio;

use adit_core::{Failure, FailureCode, Step};
use service::{Service, Tunnel, command, said};
use tokio::io::{AsyncBufReadExt, BufReader};
use zbus::object_server::SignalEmitter;

const STEPS: &str = "IKEv2: resolving vpn.example.com\nIKEv2: authenticating\n";

#[tokio::test]
async fn up_prints_its_steps_line_by_line() {
    let service = Service::start();
    for name in ["corp", "quick"] {
        let (status, out, err) = service.ctl(&["up", name]).await;
        let end = format!(
            "kernel: tunnel up on adit0, 172.23.91.1\n{name} is up: adit0, 172.23.91.1, to 198.51.100.1:4500, ESP in UDP\n"
        );
        assert_eq!((status, out, err), (0, format!("{STEPS}{end}"), String::new()));
    }
}

#[tokio::test]
async fn a_question_is_put_once_however_often_it_is_told() {
    let service = Service::start();
    let typed = service.directory.path().join("typed");
    std::fs::write(&typed, "open sesame\n").unwrap();
    for name in ["asks-early", "asks-late"] {
        let mut command = command(&service.socket(), &["up", name, "--password-fd", "0"]);
        let output = command.stdin(std::fs::File::open(&typed).unwrap()).output().await.unwrap();
        let (status, out, err) = said(output);
        assert_eq!((status, err.as_str()), (0, ""), "{name}");
        assert!(
            out.ends_with("is up: adit0, 172.23.91.1, to 198.51.100.1:4500, ESP in UDP\n"),
            "{name}: {out}"
        );
    }
}

#[tokio::test]
async fn a_failure_says_what_where_who_why_and_what_next() {
    let service = Service::start();
    let (status, out, err) = service.ctl(&["up", "bad"]).await;
    assert_eq!((status, out.as_str()), (11, STEPS));
    assert_eq!(
        err,
        "ctl: bad: the server refused us\n  step  authenticate\n  peer  AUTHENTICATION_FAILED\n  \
         code  authentication-failed (exit status 11)\n  \
         also  error 691 (a password), 13801 (IKEv2), 789 (L2TP, the pre-shared key) on\n        Windows\n  \
         next  check psk-file\n"
    );
    let (status, out, _) = service.ctl(&["up", "bad", "--json"]).await;
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (status, &value["schema"], &value["failure"]["code"]),
        (11, &1.into(), &"authentication-failed".into())
    );
    assert_eq!(value["failure"]["peer"], "AUTHENTICATION_FAILED");
}

#[tokio::test]
async fn reload_says_that_it_is_done() {
    let service = Service::start();
    let (status, out, _) = service.ctl(&["reload"]).await;
    assert_eq!((status, out.as_str()), (0, "the configuration was read again\n"));
}

#[tokio::test]
async fn refusals_keep_their_status() {
    let service = Service::start();
    assert_eq!(service.ctl(&["up", "nobody"]).await.0, 10);
    let (status, _, err) = service.ctl(&["up", "closed"]).await;
    assert_eq!(status, 18);
    assert!(err.contains("not-authorized") && err.contains("join the group adit"), "{err}");
    assert_eq!(service.ctl(&["up"]).await.0, 2);
    let (status, _, err) = service.ctl(&["show", "crop"]).await;
    assert!(status == 10 && err.contains("there are: corp, home"), "{err}");
}

#[tokio::test]
async fn waiting_ends_at_the_timeout_and_not_at_all_without() {
    let service = Service::start();
    let (status, _, err) = service.ctl(&["up", "slow", "--timeout", "1"]).await;
    assert!(status == 3 && err.contains("timed-out (exit status 3)"), "{err}");
    let (status, out, _) = service.ctl(&["up", "slow", "--no-wait"]).await;
    assert_eq!((status, out.as_str()), (0, "slow is on its way up; see ctl status slow\n"));
}

#[tokio::test]
async fn an_interrupt_takes_the_connection_down() {
    let service = Service::start();
    let mut child = command(&service.socket(), &["up", "slow"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while lines.next_line().await.unwrap().unwrap() != "IKEv2: authenticating" {}
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    service.downs.notified().await;
    let (status, _, err) = said(child.wait_with_output().await.unwrap());
    assert_eq!((status, err.as_str()), (130, "interrupted: taking slow down\nslow is down\n"));
}

#[tokio::test]
async fn reads_are_text_and_json() {
    let service = Service::start();
    let (status, out, _) = service.ctl(&["list"]).await;
    assert_eq!(
        (status, out.as_str()),
        (
            0,
            "NAME  STATE      AUTH  TUNNEL  SERVER\ncorp  down       psk   full    vpn.example.com\nhome  connected  psk   full    vpn.example.com\n"
        )
    );
    let (_, out, _) = service.ctl(&["status"]).await;
    assert!(
        out.ends_with("home  client  connected  -      adit0      172.23.91.1  198.51.100.1:4500\n"),
        "{out}"
    );
    let (_, out, _) = service.ctl(&["status", "home"]).await;
    assert!(out.contains("  received    2.00 KiB (3 packets)\n"), "{out}");
    let (_, out, _) = service.ctl(&["status", "home", "--color", "always"]).await;
    assert!(out.contains("\x1b[32mconnected\x1b[0m"), "{out}");
    let (_, out, _) = service.ctl(&["show", "corp"]).await;
    assert_eq!(out, "corp: down\n  server = \"vpn.example.com\"\n  dpd    = \"30s\"  (default)\n");
    for (args, key) in [
        (&["status", "--json"][..], "connections"),
        (&["status", "home", "--json"], "connection"),
        (&["status", "corp", "--json"], "connection"),
        (&["list", "--json"], "profiles"),
        (&["show", "corp", "--json"], "profile"),
        (&["doctor", "corp", "--json"], "checks"),
        (&["wait", "home", "--json"], "connection"),
        (&["log", "home", "--json"], "log"),
        (&["rekey", "home", "--json"], "connection"),
        (&["up", "quick", "--json"], "connection"),
        (&["up", "bad", "--json"], "failure"),
        (&["reload", "--json"], "reloaded"),
        (&["doctor", "--json"], "checks"),
    ] {
        let (_, out, _) = service.ctl(args).await;
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert!(value["schema"] == 1 && value.get(key).is_some(), "{args:?}: {out}");
    }
}

#[tokio::test]
async fn down_waits_for_the_reply() {
    let service = Service::start();
    assert_eq!(service.ctl(&["down", "home"]).await, (0, "home is down\n".into(), String::new()));
    assert_eq!(service.ctl(&["down", "home", "--no-wait"]).await.1, "home is on its way down\n");
    let (status, _, err) = service.ctl(&["down", "corp"]).await;
    assert!(status == 10 && err.contains("it is not up"), "{err}");
}

#[tokio::test]
async fn rekey_waits_until_all_keys_are_replaced_or_the_peer_refuses_one() {
    let service = Service::start();
    assert_eq!(service.ctl(&["rekey", "home"]).await, (0, "home has new keys\n".into(), String::new()));
    assert_eq!(service.ctl(&["rekey", "home", "--no-wait"]).await.1, "home asks for new keys\n");
    let (status, out, err) = service.ctl(&["rekey", "home", "--only", "ike"]).await;
    assert!(status != 0 && out.is_empty(), "{out}");
    assert!(err.contains("the peer refused it") && err.contains("NO_PROPOSAL_CHOSEN"), "{err}");
    assert!(!err.contains("not all of its keys"), "{err}");
    let (status, _, err) = service.ctl(&["rekey", "corp"]).await;
    assert!(status == 10 && err.contains("it is not up"), "{err}");
}

#[tokio::test]
async fn doctor_fails_if_a_check_does() {
    let service = Service::start();
    let (status, out, _) = service.ctl(&["doctor"]).await;
    assert_eq!(status, 1);
    assert_eq!(
        out,
        "ok    the kernel has xfrm interfaces\nFAIL  the kernel has no ESP for IPv6\n      try: modprobe esp6\n\n1 ok, 0 to look at, 1 failed\n"
    );
}

#[tokio::test]
async fn add_writes_a_profile_of_what_answers() {
    let service = Service::start();
    let config = service.directory.path().join("adit");
    std::fs::create_dir(&config).unwrap();
    let config = config.to_str().unwrap();
    let add = async |server: &str, more: &[&str]| {
        service.ctl(&[&["add", server, "--user", "ann", "--config", config], more].concat()).await
    };
    let (status, out, err) = add("vpn.example.com", &[]).await;
    let end = "profiles/vpn.toml; raise it: ctl up vpn\n";
    assert!(status == 0 && err.is_empty() && out.ends_with(end), "{out}{err}");
    let toml = std::fs::read_to_string(format!("{config}/profiles/vpn.toml")).unwrap();
    assert_eq!(toml, "server = \"vpn.example.com\"\ntunnel = [\"ikev2\", \"sstp\"]\nuser = \"ann\"\n");
    let (status, _, err) = add("vpn.example.com", &[]).await;
    assert!(status == 17 && err.contains("is there already"), "{err}");
    assert_eq!(add("vpn.example.com", &["--replace", "--json"]).await.0, 0);
    let (status, _, err) = add("silent.example.com", &[]).await;
    assert!(status == 13 && err.contains("no type of tunnel") && err.contains("--ca FILE"), "{err}");
    let (status, out, _) = add("vpn.example.com", &["--print", "--name", "other", "--weak"]).await;
    assert!(status == 0 && out.contains("\"sstp\", \"pptp\"]\nweak = true\n"), "{out}");
    assert!(!Path::new(&format!("{config}/profiles/other.toml")).exists());
}

#[tokio::test]
async fn doctor_asks_of_a_profile() {
    let service = Service::start();
    let (status, out, _) = service.ctl(&["doctor", "corp"]).await;
    assert_eq!(
        (status, out.as_str()),
        (0, "ok    IKEv2 to 203.0.113.1 answers\n\n1 ok, 0 to look at, 0 failed\n")
    );
    let (status, _, err) = service.ctl(&["doctor", "crop"]).await;
    assert!(status == 10 && err.contains("there is no such profile"), "{err}");
}

#[tokio::test]
async fn without_a_daemon_it_says_what_starts_it() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("none.sock");
    for args in [&["up", "corp"][..], &["status"], &["list"], &["monitor"]] {
        let (status, _, err) = said(command(&socket, args).output().await.unwrap());
        assert!(
            status == 8
                && err.contains("aditd does not run")
                && err.contains("daemon-not-running")
                && err.contains("systemctl start aditd"),
            "{err}"
        );
    }
    let (status, out, _) = said(command(&socket, &["doctor"]).output().await.unwrap());
    assert!(status == 1 && out.starts_with("FAIL  aditd does not run\n") && out.lines().count() > 4, "{out}");
}

#[tokio::test]
async fn a_file_is_checked_here_and_handed_over() {
    let service = Service::start();
    let path = service.directory.path().join("mine.toml");
    let good =
        "server = \"vpn.example.com\"\nauth = \"psk\"\nlocal-id = \"alice\"\npsk-file = \"corp.psk\"\n";
    std::fs::write(&path, good).unwrap();
    let file = path.to_str().unwrap();
    let (status, out, err) = service.ctl(&["up", "--file", file]).await;
    assert!(status == 0 && out.contains("mine is up"), "{out}{err}");
    std::fs::write(&path, good.replace("\"psk\"", "\"spk\"")).unwrap();
    let (status, _, err) = service.ctl(&["up", "--file", file]).await;
    assert!(
        status == 17 && err.contains("2 │ auth = \"spk\"") && err.contains("did you mean \"psk\"?"),
        "{err}"
    );
    std::fs::write(&path, good.replace("psk-file = \"corp.psk\"", "psk = \"swordfish\"")).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let (status, _, err) = service.ctl(&["up", "--file", file]).await;
    assert!(status == 17 && err.contains("everybody on this host") && !err.contains("swordfish"), "{err}");
    assert_eq!(service.ctl(&["up", "--file", "/nowhere/x.toml"]).await.0, 17);
}

#[tokio::test]
async fn monitor_tells_what_is_and_then_what_happens() {
    let service = Service::start();
    for (args, wanted) in [
        (
            &["monitor"][..],
            [
                "home          is connected",
                "home          IKEv2: rekeying",
                "home          connected → failed (peer-lost)",
            ],
        ),
        (
            &["monitor", "--json"],
            [
                r#""event":"state","old":"","new":"connected""#,
                r#""name":"home","event":"progress","step":"child-sa""#,
                r#""new":"failed","reason":"peer-lost""#,
            ],
        ),
    ] {
        let mut child = command(&service.socket(), args).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next_line().await.unwrap().unwrap();
        let daemon = service.latest.lock().await.clone().unwrap();
        let emitter = SignalEmitter::new(&daemon, "/org/adit1/connection/9").unwrap();
        Tunnel::progress(&emitter, "child-sa", "IKEv2: rekeying").await.unwrap();
        Tunnel::transition(&emitter, "connected", "failed", "peer-lost").await.unwrap();
        let (second, third) =
            (lines.next_line().await.unwrap().unwrap(), lines.next_line().await.unwrap().unwrap());
        for (line, part) in [first, second, third].iter().zip(wanted) {
            assert!(line.contains(part), "{line}");
            if args.contains(&"--json") {
                published::conform(line);
            }
        }
        child.kill().await.unwrap();
    }
}

#[tokio::test]
async fn wait_ends_with_what_becomes_of_it() {
    let service = Service::start();
    assert_eq!(service.ctl(&["wait", "home"]).await, (0, "home is up\n".into(), String::new()));
    assert_eq!(service.ctl(&["wait", "corp", "--until", "down"]).await.1, "corp is down\n");
    let (status, _, err) = service.ctl(&["wait", "crop"]).await;
    assert!(status == 10 && err.contains("there are: corp, home"), "{err}");
    for args in
        [&["wait", "corp", "--timeout", "1"][..], &["wait", "home", "--until", "down", "--timeout", "1"]]
    {
        let (status, _, err) = service.ctl(args).await;
        assert!(status == 3 && err.contains("after 1 s") && err.contains("ctl log"), "{err}");
    }
    let service = Service::start();
    let mut child = command(&service.socket(), &["wait", "home", "--until", "down", "--json"]);
    let child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let daemon = service.next().await;
    let tunnel = daemon.object_server().interface::<_, Tunnel>("/org/adit1/connection/9").await.unwrap();
    tunnel.get_mut().await.state = "disconnected";
    Tunnel::transition(tunnel.signal_emitter(), "connected", "disconnected", "asked to").await.unwrap();
    let (status, out, _) = said(child.wait_with_output().await.unwrap());
    assert_eq!(
        (status, out.as_str()),
        (0, "{\"connection\":{\"name\":\"home\",\"state\":\"disconnected\"},\"schema\":1}\n")
    );
}

#[tokio::test]
async fn wait_tells_why_it_failed_and_that_somebody_took_it_down() {
    let why = Failure::new(FailureCode::PeerLost, Step::Established, "the server stopped answering");
    for (state, error, status) in [("failed", Some(why), 13), ("gone", None, 4)] {
        let service = Service::start();
        let mut child = command(&service.socket(), &["wait", "home", "--timeout", "20"]);
        // Not up when it looks first.
        *service.first.lock().await = "connecting";
        let child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let daemon = service.next().await;
        service.looked.notified().await;
        let path = "/org/adit1/connection/9";
        let tunnel = daemon.object_server().interface::<_, Tunnel>(path).await.unwrap();
        if state == "gone" {
            daemon.object_server().remove::<Tunnel, _>(path).await.unwrap();
        } else {
            (tunnel.get_mut().await.state, tunnel.get_mut().await.error) = ("failed", error);
            Tunnel::transition(tunnel.signal_emitter(), "connecting", "failed", "").await.unwrap();
        }
        let (ended, _, err) = said(child.wait_with_output().await.unwrap());
        let said = if state == "gone" { "somebody took it down" } else { "the server stopped answering" };
        assert!(ended == status && err.contains(said), "{err}");
    }
}

#[tokio::test]
async fn log_has_what_happened() {
    let service = Service::start();
    let (status, out, _) = service.ctl(&["log", "home"]).await;
    let text =
        "2026-11-20 11:40:07 UTC  connecting\n2026-11-20 11:40:07 UTC  IKEv2: resolving vpn.example.com\n";
    assert_eq!((status, out.as_str()), (0, text));
    let (_, out, _) = service.ctl(&["log", "home", "-n", "1"]).await;
    assert_eq!(out.lines().count(), 1);
    let (_, out, _) = service.ctl(&["log", "home", "--json"]).await;
    assert!(
        out.starts_with("{\"log\":[{\"at\":1795174807,\"connection\":9,\"event\":\"connecting\""),
        "{out}"
    );
    let (status, out, err) = service.ctl(&["log", "corp"]).await;
    assert_eq!(
        (status, out.as_str(), err.as_str()),
        (0, "", "nothing has happened to corp since aditd started\n")
    );
    assert_eq!(service.ctl(&["log", "crop"]).await.0, 10);
}
