//! The commands that work on files: what they print, what they write, and what they end with. No daemon runs.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

mod published;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const KEYFILE: &str = "[connection]\nid=corp\nuuid=1\ntype=vpn\nautoconnect=true\n\n[vpn]\n\
    service-type=org.freedesktop.NetworkManager.l2tp\ngateway=vpn.example.com\nipsec-enabled=yes\nuser=ann\nnew-key=1\n\n\
    [vpn-secrets]\nipsec-psk=swordfish\npassword=correct horse\n\n[ipv4]\nmethod=auto\n";

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("adit")).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, content: &str) -> String {
        std::fs::write(self.folder.path().join(name), content).unwrap();
        self.path(name)
    }

    /// The command with this configuration; paths in what it says are shortened.
    fn ctl(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ctl"));
        command.args(args).env("ADIT_SOCKET", self.path("no.sock")).env_remove("NO_COLOR");
        let output = command.output().unwrap();
        let folder = self.folder.path().display().to_string();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&folder, "");
        if args.contains(&"--json") {
            published::conform(str::from_utf8(&output.stdout).unwrap());
        }
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn import(&self, args: &[&str]) -> (i32, String, String) {
        let config = self.path("adit");
        self.ctl(&[&["import", "--config", &config], args].concat())
    }

    fn is_there(&self, name: &str) -> bool {
        Path::new(&self.path(name)).exists()
    }
}

/// Without where lines end.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_profile_is_imported_with_the_persons_word_for_what_weakens() {
    let place = Place::new();
    let file = place.write("corp.nmconnection", KEYFILE);
    let (status, out, err) = place.import(&[&file]);
    assert_eq!((status, err.as_str()), (17, ""));
    assert!(out.starts_with("corp  not imported"), "{out}");
    for part in
        ["refused   vpn-secrets.ipsec-psk (group-psk)", "safely: tunnel = \"ikev2\"", "--accept group-psk"]
    {
        assert!(words(&out).contains(&words(part)), "{part}: {out}");
    }
    assert!(!place.is_there("adit/profiles"));

    let (status, out, err) = place.import(&[&file, "--accept", "group-psk"]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert_eq!(
        out,
        "\
corp  imported from \"corp\" of a NetworkManager keyfile
  wrote     /adit/secrets/corp.password
  wrote     /adit/secrets/corp.psk
  wrote     /adit/profiles/corp.toml
  carried   vpn.service-type → tunnel, vpn.gateway → server, vpn.user → user,
            vpn-secrets.password → password-file, vpn.ipsec-enabled → psk-file,
            vpn-secrets.ipsec-psk → psk-file
  left out  connection.autoconnect = true: a profile from elsewhere does not
            connect by itself; afterwards: start = \"boot\"
  left out  connection.uuid = 1: Adit goes by the profile's name
  left out  vpn.new-key: not understood
  taken     vpn-secrets.ipsec-psk (group-psk): everybody who has this pre-shared
            key can pose as the server
  next      ctl up corp
"
    );
    let mode = std::fs::metadata(place.path("adit/secrets/corp.psk")).unwrap().permissions().mode();
    assert_eq!(mode & 0o007, 0);
    assert_eq!(std::fs::read_to_string(place.path("adit/secrets/corp.psk")).unwrap(), "swordfish");
    let toml = std::fs::read_to_string(place.path("adit/profiles/corp.toml")).unwrap();
    assert!(!toml.contains("swordfish") && !toml.contains("correct horse"), "{toml}");

    let (status, _, err) = place.import(&[&file, "--accept", "group-psk"]);
    assert!(status == 17 && err.contains("is there already") && err.contains("--replace"), "{err}");
    assert_eq!(place.import(&[&file, "--accept", "group-psk", "--replace"]).0, 0);

    let profile = place.path("adit/profiles/corp.toml");
    let (status, out, err) = place.ctl(&["check", &profile]);
    assert_eq!((status, out.as_str(), err.as_str()), (0, "ok  /adit/profiles/corp.toml\n", ""));
}

#[test]
fn print_writes_nothing_and_shows_no_secret() {
    let place = Place::new();
    let file = place.write("corp.nmconnection", KEYFILE);
    let (status, out, err) = place.import(&[&file, "--accept", "group-psk", "--print"]);
    assert_eq!(status, 0, "{err}");
    assert_eq!(
        out,
        "# /adit/profiles/corp.toml\nserver = [\"vpn.example.com\"]\ntunnel = \"l2tp\"\npsk-file = \"corp.psk\"\n\
         user = \"ann\"\npassword-file = \"corp.password\"\n# beside it: /adit/secrets/corp.password\n\
         # beside it: /adit/secrets/corp.psk\n"
    );
    assert!(err.starts_with("corp  can be made of \"corp\""), "{err}");
    assert!(!place.is_there("adit/profiles"));
}

#[test]
fn json_has_the_same_facts() {
    let place = Place::new();
    let file = place.write("corp.nmconnection", KEYFILE);
    let (status, out, _) = place.import(&[&file, "--json"]);
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &value["schema"]), (17, &serde_json::json!(1)));
    let profile = &value["import"]["profiles"][0];
    assert_eq!(value["import"]["format"], "networkmanager");
    assert!(profile["toml"].is_null() && profile["wrote"].as_array().unwrap().is_empty());
    assert_eq!(profile["weak"][0]["weakening"], "group-psk");
    assert!(!out.contains("swordfish") && !out.contains("correct horse"));
}

#[test]
fn what_is_no_profile_is_told() {
    let place = Place::new();
    let file = place.write("x.txt", "hello\n");
    let (status, out, err) = place.import(&[&file]);
    assert_eq!((status, out.as_str()), (17, ""));
    assert!(
        err.contains("it is not a profile of any kind that Adit can read") && err.contains("--format"),
        "{err}"
    );
    assert_eq!(place.import(&["/nowhere/x"]).0, 17);
    assert_eq!(place.import(&[&file, "--accept", "pap"]).0, 2);
}

#[test]
fn mistakes_are_found_without_a_daemon() {
    let place = Place::new();
    let good = place.write("good.toml", "server = \"vpn\"\nauth = \"psk\"\nlocal-id = \"a\"\npsk-file = \"x\"\nike = \"aes256-sha256-x25519\"\n");
    let bad = place.write(
        "bad.toml",
        "server = \"vpn\"\nauth = \"psk\"\nlocal-id = \"a\"\npsk = \"swordfish\"\nike = \"aes256-rot13\"\n",
    );
    let (status, out, err) = place.ctl(&["check", &bad, &good]);
    assert_eq!((status, out.as_str()), (17, "ok  /good.toml\n"));
    assert!(err.contains("rot13") && err.contains("5 │ ike") && !err.contains("swordfish"), "{err}");
    let (status, out, _) = place.ctl(&["check", "--json", &bad, &good]);
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (status, &value["checks"][0]["valid"], &value["checks"][1]["valid"]),
        (17, &false.into(), &true.into())
    );
    let server = place.write("server.toml", "version = 2\n");
    assert_eq!(place.ctl(&["check", &server]).0, 17);
}

#[test]
fn a_profile_goes_with_what_only_it_has() {
    let place = Place::new();
    let file = place.write("corp.nmconnection", KEYFILE);
    assert_eq!(place.import(&[&file, "--accept", "group-psk"]).0, 0);
    let other = "server = \"vpn\"\ntunnel = \"l2tp\"\nuser = \"bob\"\npsk-file = \"corp.psk\"\n";
    std::fs::write(place.path("adit/profiles/other.toml"), other).unwrap();
    let config = place.path("adit");
    let (status, out, _) = place.ctl(&["delete", "corp", "--config", &config]);
    assert_eq!(
        (status, out.as_str()),
        (0, "deleted /adit/profiles/corp.toml\ndeleted /adit/secrets/corp.password\n")
    );
    assert!(place.is_there("adit/secrets/corp.psk"));
    let (status, _, err) = place.ctl(&["delete", "corp", "--config", &config]);
    assert!(status == 10 && err.contains("there is no profile corp"), "{err}");
    assert_eq!(place.ctl(&["delete", "../x", "--config", &config]).0, 10);
}

#[test]
fn what_was_exported_is_imported_again() {
    let place = Place::new();
    let file = place.write("corp.nmconnection", KEYFILE);
    assert_eq!(place.import(&[&file, "--accept", "group-psk"]).0, 0);
    let before = std::fs::read_to_string(place.path("adit/profiles/corp.toml")).unwrap();
    let config = place.path("adit");
    for format in ["networkmanager", "mobileconfig"] {
        let args = ["export", "corp", "--format", format, "--config", &config];
        let (status, out, err) = place.ctl(&args);
        assert!(status == 0 && !out.contains("swordfish") && err.contains("--secrets"), "{out}{err}");
        let (status, out, err) = place.ctl(&[&args[..], &["--secrets"]].concat());
        assert_eq!(status, 0, "{err}");
        let again = place.write("again", &out);
        let (status, out, err) = place.import(&[&again, "--accept", "group-psk", "--replace"]);
        assert_eq!(status, 0, "{out}{err}");
        let after = std::fs::read_to_string(place.path("adit/profiles/corp.toml")).unwrap();
        let plain = |text: &str| {
            text.lines()
                .filter(|l| !l.starts_with("ppp-auth") && !l.starts_with("traffic"))
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert_eq!(plain(&after), plain(&before), "{format}");
        // The plugin is given Base64, which is the same key.
        let psk = std::fs::read_to_string(place.path("adit/secrets/corp.psk")).unwrap();
        assert!(psk == "swordfish" || psk == "0sc3dvcmRmaXNo", "{psk}");
    }
    let (status, _, err) = place.ctl(&["export", "corp", "--format", "sswan", "--config", &config]);
    assert!(status == 17 && err.contains("strongSwan's app has nothing of that kind"), "{err}");
}

#[test]
fn a_connection_of_network_manager_s_is_made_and_becomes_a_profile() {
    let place = Place::new();
    let app = r#"{"uuid":"1","name":"Corp VPN","type":"ikev2-eap","remote":{"addr":"vpn.example.com"},
        "local":{"eap_id":"ann","shared_secret":"correct horse"},"apps":["com.example.mail"]}"#;
    let file = place.write("corp.sswan", app);
    let (status, out, err) = place.import(&["--to-networkmanager", &file]);
    assert!(status == 0 && words(&err).contains("left out apps = com.example.mail"), "{status} {err}");
    assert!(
        out.contains("\nid=Corp VPN\n")
            && out.contains("\nservice-type=org.freedesktop.NetworkManager.adit\n")
    );
    assert!(out.contains("\n[vpn-secrets]\npassword=correct horse\n"), "{out}");
    assert!(!place.is_there("adit/profiles") && !place.is_there("adit/secrets"));

    // It comes in again as another one, and goes out as a profile, which comes in as well.
    let keyfile = place.write("corp.nmconnection", &out);
    let (status, again, _) = place.import(&["--to-networkmanager", &keyfile]);
    let without =
        |text: &str| text.lines().filter(|l| !l.starts_with("uuid=")).collect::<Vec<_>>().join("\n");
    assert!(status == 0 && again != out && without(&again) == without(&out), "{again}");
    let (status, profile, err) = place.ctl(&["export", "--from-networkmanager", &keyfile]);
    assert_eq!(
        (status, profile.as_str(), err.as_str()),
        (0, "server = [\"vpn.example.com\"]\ntunnel = \"ikev2\"\nauth = \"eap\"\nuser = \"ann\"\n", "")
    );
    let profile = place.write("home.toml", &profile);
    assert_eq!(place.ctl(&["check", &profile]).0, 0);
    let (status, out, _) = place.import(&["--to-networkmanager", &profile]);
    assert!(status == 0 && out.contains("\nid=home\n") && out.contains("\npassword-flags=1\n"), "{out}");

    // What weakens takes a word here, too.
    let l2tp = place.write("l2tp.nmconnection", KEYFILE);
    let (status, out, err) = place.import(&["--to-networkmanager", &l2tp]);
    assert!(status == 17 && out.is_empty() && words(&err).contains("--accept group-psk"), "{out}{err}");
    let (status, out, _) = place.import(&["--to-networkmanager", "--accept", "group-psk", &l2tp]);
    assert!(status == 0 && out.contains("\npsk=swordfish\n"), "{out}");
    assert_eq!(place.ctl(&["export", "--from-networkmanager", &l2tp]).0, 17);
}

#[test]
fn certificates_of_a_connection_are_kept_for_whoever_imports_it() {
    let place = Place::new();
    let der = include_bytes!("../../policy/pki/tests/data/revocation/ca.der");
    let base64 = <base64ct::Base64 as base64ct::Encoding>::encode_string(der);
    let app = format!(
        r#"{{"uuid":"1","name":"corp","type":"ikev2-eap","remote":{{"addr":"vpn","cert":"{base64}"}},"local":{{"eap_id":"a"}}}}"#
    );
    let file = place.write("corp.sswan", &app);
    let (status, _, err) = place.import(&["--to-networkmanager", &file]);
    assert!(status == 17 && err.contains("--files-to DIR"), "{err}");
    let folder = place.path("cert/nm-adit");
    let import =
        |name: &str| place.import(&["--to-networkmanager", "--files-to", &folder, "--name", name, &file]);
    let (status, out, err) = import("corp");
    assert!(status == 0 && out.contains("\nca=/cert/nm-adit/corp-ca.pem\n"), "{out}{err}");
    let mode = |name: &str| std::fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("cert/nm-adit"), mode("cert/nm-adit/corp-ca.pem")), (0o700, 0o600));
    // The same again is the same; another one is not written over.
    assert_eq!(import("corp").0, 0);
    place.write("cert/nm-adit/corp-ca.pem", "another");
    let (status, out, err) = import("corp");
    assert!(status == 17 && out.is_empty() && err.contains("is there already, and is another"), "{out}{err}");
    assert_eq!(import("other").0, 0);
}

#[test]
fn only_what_is_valid_is_saved_and_the_old_one_is_kept() {
    let place = Place::new();
    let text = "server = \"vpn\"\nauth = \"psk\"\nlocal-id = \"a\"\npsk-file = \"x\"\n";
    std::fs::create_dir(place.path("adit/profiles")).unwrap();
    place.write("adit/profiles/corp.toml", text);
    let config = place.path("adit");
    let edit = |script: &str| {
        let editor = place.write("editor", script);
        let mut command = Command::new(env!("CARGO_BIN_EXE_ctl"));
        command.args(["edit", "corp", "--config", &config]).env("VISUAL", format!("sh {editor}"));
        let output = command
            .env("ADIT_SOCKET", place.path("no.sock"))
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (
            output.status.code().unwrap(),
            said,
            std::fs::read_to_string(place.path("adit/profiles/corp.toml")).unwrap(),
        )
    };
    let (status, said, now) = edit("sed -i s/psk/spk/ $1");
    assert!(status == 17 && said.contains("did you mean \"psk\"?") && now == text, "{said}");
    assert!(edit("true").1.contains("is as it was"));
    assert!(edit("exit 3").1.contains("nothing was saved"));
    let (status, said, now) = edit("echo 'dpd = \"1m\"' >> $1");
    assert_eq!((status, now.as_str()), (0, format!("{text}dpd = \"1m\"\n").as_str()), "{said}");
    assert_eq!(std::fs::read_to_string(place.path("adit/profiles/corp.toml.before")).unwrap(), text);
}

#[test]
fn a_password_goes_where_the_profile_looks_for_it() {
    let place = Place::new();
    let config = place.path("adit");
    std::fs::create_dir(place.folder.path().join("adit/profiles")).unwrap();
    let profile = "server = \"vpn\"\nauth = \"eap\"\nuser = \"ann\"\ntraffic = \"split\"\nremote-subnets = [\"10.1.0.0/16\"]\n\n[[child]]\nname = \"b\"\nremote-subnets = [\"10.2.0.0/16\"]\n";
    place.write("adit/profiles/corp.toml", profile);
    let give = |name: &str, password: &str| {
        let typed = place.write("typed", &format!("{password}\nmore\n"));
        let script = format!("exec \"$0\" password {name} --config {config} --password-fd 3 3< {typed}");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_ctl")]).env("ADIT_SOCKET", place.path("no.sock"));
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let kept = || std::fs::read_to_string(place.path("adit/secrets/corp.password")).unwrap();
    let (status, said, _) = give("corp", "correct horse");
    assert_eq!((status, kept().as_str()), (Some(0), "correct horse\n"));
    assert!(said.starts_with("corp has its password in ") && !said.contains("correct horse"), "{said}");
    let with_line = std::fs::read_to_string(place.path("adit/profiles/corp.toml")).unwrap();
    assert_eq!(with_line, format!("password-file = \"corp.password\"\n{profile}"));
    let mode = std::fs::metadata(place.path("adit/secrets/corp.password")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7, 0);
    // The line is there now, and stays as it is.
    assert_eq!((give("corp", "another").0, kept().as_str()), (Some(0), "another\n"));
    assert_eq!(std::fs::read_to_string(place.path("adit/profiles/corp.toml")).unwrap(), with_line);
    // One that stands in the profile, or that nobody would look at, is not hidden by a file.
    place.write(
        "adit/profiles/inline.toml",
        "server = \"vpn\"\nauth = \"eap\"\nuser = \"ann\"\npassword = \"x\"\n",
    );
    place.write(
        "adit/profiles/key.toml",
        "server = \"vpn\"\nauth = \"psk\"\nlocal-id = \"a@b\"\npsk = \"correct horse battery\"\n",
    );
    for name in ["inline", "key"] {
        assert_eq!(give(name, "y").0, Some(17), "{name}");
        assert!(!place.is_there(&format!("adit/secrets/{name}.password")));
    }
    assert_eq!(give("nobody", "y").0, Some(10));
}
