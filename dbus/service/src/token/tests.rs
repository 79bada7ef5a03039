//! With SoftHSM, whose tokens are files. Each test is a process of its own: the module looks for its tokens once, where the
//! environment says, and who has logged in to one is a matter of the whole process.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use adit_core::{FailureCode, Secret};
use adit_pki::{EcdsaEncoding, PkiError, Signer as _};
use adit_profile::{Source, TokenKey, parse_profile};
use rcgen::{CertificateParams, KeyPair};
use ring::rand::SystemRandom;

use super::{Opened, Pin, Refused, Token};
use crate::client::{Asker, Passwords};
use crate::files::Files;
use crate::registry::{Facts, Registry, Role};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "4711-pin-0815";
/// The folder of this process's tokens.
const TOKENS: &str = "ADIT_TEST_TOKENS";

/// What stands in a test's folder.
struct Bench<'a> {
    folder: &'a Path,
}

/// Runs the test of that name, with a token called Staff.
fn with_token(test: &str, body: impl FnOnce(Bench<'_>)) {
    if let Some(folder) = std::env::var_os(TOKENS) {
        let folder = Path::new(&folder);
        std::fs::create_dir_all(folder.join("pkcs11")).unwrap();
        std::os::unix::fs::symlink(MODULE, folder.join("pkcs11/softhsm.so")).unwrap();
        softhsm(&["--init-token", "--free", "--label", "Staff", "--so-pin", "12345678", "--pin", PIN]);
        return body(Bench { folder });
    }
    if !Path::new(MODULE).exists() {
        assert!(std::env::var_os("CI").is_none(), "{MODULE} is missing: apt install softhsm2");
        return eprintln!("skipped: {MODULE} is missing: apt install softhsm2");
    }
    let folder = tempfile::tempdir().unwrap();
    let (tokens, config) = (folder.path().join("tokens"), folder.path().join("softhsm2.conf"));
    std::fs::create_dir(&tokens).unwrap();
    let text = format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display());
    std::fs::write(&config, text).unwrap();
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("token::tests::{test}"), "--nocapture", "--test-threads=1"])
        .env(TOKENS, folder.path())
        .env("SOFTHSM2_CONF", config)
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && stdout.contains("1 passed"), "{stdout}{stderr}");
}

fn softhsm(arguments: &[&str]) {
    let out = Command::new("softhsm2-util").args(arguments).output().unwrap();
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
}

impl Bench<'_> {
    /// Puts a new key into the token, by this label and number; a certificate of it.
    fn key(&self, label: &str, id: &str) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let file = self.folder.join(label);
        std::fs::write(&file, key.serialize_pem()).unwrap();
        let file = file.to_str().unwrap();
        softhsm(&["--import", file, "--token", "Staff", "--label", label, "--id", id, "--pin", PIN]);
        let params = CertificateParams::new([format!("{label}.example.com")]).unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn open(&self, label: &str, pin: &Pin) -> Result<Opened, Refused> {
        let key = TokenKey { object: Some(label.into()), ..TokenKey::default() };
        let token = Token::find(&self.folder.join("pkcs11"), &key).map_err(Refused::Other)?;
        token.open(&key, pin).map(|(_, opened)| opened)
    }
}

fn typed(pin: &str) -> Pin {
    Pin::Typed(Secret::from(pin.as_bytes()))
}

#[test]
fn a_token_that_is_open_lets_in_by_the_pin_that_opened_it_and_by_no_other() {
    with_token("a_token_that_is_open_lets_in_by_the_pin_that_opened_it_and_by_no_other", |bench| {
        bench.key("alice", "01");
        assert!(matches!(bench.open("alice", &typed("guessed")), Err(Refused::Pin(_))));
        let first = bench.open("alice", &typed(PIN)).ok().unwrap();
        let second = bench.open("alice", &typed(PIN)).ok().unwrap();
        for _ in 0..2 {
            match bench.open("alice", &typed("guessed")) {
                Err(Refused::Pin(why)) => assert!(why.text.contains("open with another"), "{why}"),
                Err(Refused::Other(why)) => panic!("{why}"),
                Ok(_) => panic!("any PIN opens it"),
            }
        }
        // The right one is right still.
        assert!(bench.open("alice", &typed(PIN)).is_ok());
        drop(first);
        assert!(matches!(bench.open("alice", &typed("guessed")), Err(Refused::Pin(_))));
        // Nobody uses it any more: the token itself is asked again.
        drop(second);
        match bench.open("alice", &typed("guessed")) {
            Err(Refused::Pin(why)) => assert!(why.text.contains("the token says so"), "{why}"),
            _ => panic!("it is closed"),
        }
        assert!(bench.open("alice", &typed(PIN)).is_ok());
    });
}

#[test]
fn guesses_at_the_pin_of_an_open_token_are_counted() {
    with_token("guesses_at_the_pin_of_an_open_token_are_counted", |bench| {
        bench.key("alice", "01");
        let open = bench.open("alice", &typed(PIN)).ok().unwrap();
        for guess in ["0000", "0001", "0002"] {
            assert!(matches!(bench.open("alice", &typed(guess)), Err(Refused::Pin(_))), "{guess}");
        }
        match bench.open("alice", &typed(PIN)) {
            Err(Refused::Other(why)) => assert_eq!(why.code, FailureCode::NoSecret, "{why}"),
            _ => panic!("a fourth guess is heard"),
        }
        drop(open);
        assert!(bench.open("alice", &typed(PIN)).is_ok());
    });
}

#[test]
fn a_token_is_not_given_the_pin_of_a_file_again_that_it_has_refused() {
    with_token("a_token_is_not_given_the_pin_of_a_file_again_that_it_has_refused", |bench| {
        bench.key("alice", "01");
        let file = |pin: &str| Pin::File(Secret::from(pin.as_bytes()));
        let said = |pin: &Pin| match bench.open("alice", pin) {
            Ok(_) => String::new(),
            Err(Refused::Pin(why) | Refused::Other(why)) => why.text,
        };
        assert!(said(&file("old")).contains("the token says so"));
        for _ in 0..3 {
            assert!(said(&file("old")).contains("not given it again"));
        }
        // Another one is: the file has been corrected.
        assert_eq!(said(&file(PIN)), "");
        assert!(said(&file("old")).contains("not given it again"));
        // Nor is it compared with the one that opened it, for the guesses that are left.
        let open = bench.open("alice", &typed(PIN)).ok().unwrap();
        assert!(said(&file("older")).contains("open with another"));
        for _ in 0..3 {
            assert!(said(&file("older")).contains("not given it again"));
        }
        assert_eq!(said(&typed(PIN)), "");
        drop(open);
    });
}

#[test]
fn a_token_that_wants_a_pin_is_not_opened_without_one_though_it_is_open() {
    with_token("a_token_that_wants_a_pin_is_not_opened_without_one_though_it_is_open", |bench| {
        bench.key("alice", "01");
        let open = bench.open("alice", &typed(PIN)).ok().unwrap();
        match bench.open("alice", &Pin::None) {
            Err(Refused::Other(why)) => assert!(why.text.contains("wants a PIN"), "{why}"),
            _ => panic!("it lets anybody in"),
        }
        drop(open);
    });
}

#[test]
fn a_signature_is_that_of_the_certificate() {
    with_token("a_signature_is_that_of_the_certificate", |bench| {
        let alice = bench.key("alice", "01");
        let bob = bench.key("bob", "02");
        let sign = |leaf: &[u8]| {
            let signer = bench.open("alice", &typed(PIN)).ok().unwrap().signer(leaf).unwrap();
            let scheme = signer.schemes()[0];
            [EcdsaEncoding::Der, EcdsaEncoding::Fixed]
                .map(|encoding| signer.sign(scheme, b"to be signed", encoding, &SystemRandom::new()))
        };
        assert!(sign(&alice).iter().all(Result::is_ok));
        for refused in sign(&bob) {
            assert!(matches!(refused, Err(PkiError::KeyMismatch(_))), "{refused:?}");
        }
    });
}

#[test]
fn whoever_dials_is_asked_for_the_pin_until_it_is_right_and_then_no_more() {
    with_token("whoever_dials_is_asked_for_the_pin_until_it_is_right_and_then_no_more", |bench| {
        bench.key("alice", "01");
        let own = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["alice.example.com".to_owned()]).unwrap();
        let pem = certificate.self_signed(&own).unwrap().pem();
        std::fs::create_dir(bench.folder.join("certs")).unwrap();
        std::fs::write(bench.folder.join("certs/alice.pem"), pem).unwrap();
        let text = "server = \"192.0.2.1\"\ntunnel = \"pptp\"\nppp-auth = [\"eap\"]\neap-methods = [\"tls\"]\n\
                    certificate = \"alice.pem\"\nkey = \"pkcs11:token=Staff;object=alice\"\n";
        let source = Source { file: "old.toml", text, access: None };
        let profile = parse_profile(&"old".parse().unwrap(), &source, &|_, _| Ok(Vec::new())).unwrap();
        let profile = Arc::new(profile);
        let registry = Registry::new();
        let id = registry.add(Facts::new(Role::Client, "old", "192.0.2.1"));
        let asker = Asker::new(id, &registry);
        let passwords = Arc::new(Passwords::new(&profile, &Files::new(bench.folder), asker));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let asked = Arc::clone(&passwords);
            let opened =
                tokio::spawn(async move { asked.own_certificate(None).await.map(|own| own.is_some()) });
            for pin in ["guessed", PIN] {
                while passwords.asker.provide("pin", Secret::from(pin.as_bytes())).is_err() {
                    assert!(!opened.is_finished(), "nobody is asked");
                    tokio::task::yield_now().await;
                }
            }
            assert!(opened.await.unwrap().unwrap());
            assert!(!passwords.certificate_wants_somebody());
            assert!(passwords.own_certificate(None).await.unwrap().is_some());
        });
    });
}
